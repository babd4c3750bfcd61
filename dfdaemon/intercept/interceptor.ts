// The dfdaemon as HTTP(S) proxy: decides for each CONNECT whether it is intercepted, tunnelled or refused, and for each plain request who answers it.
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { PantalaError, toPantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { answerError } from '../proxy/oci-error.ts'
import { quoteAsked } from '../proxy/oci-path.ts'
import type { ForwardProxy } from '../proxy/proxy-context.ts'
import type { RequestDesk } from '../proxy/request-desk.ts'
import type { LeafCertificates } from './authority/leaf-certificates.ts'
import { type Forwarder, sendError } from './forwarder.ts'
import { InterceptedHost } from './intercepted-host.ts'
import type { Dialler } from './outbound/dialler.ts'
import { readTarget, registryName, showTarget, type Target } from './outbound/host-name.ts'
import type { TlsProbe } from './outbound/tls-probe.ts'
import { Tunnels } from './tunnels.ts'

/** Connections by CONNECT, intercepted and tunnelled together; more get 503. */
const CONNECTIONS_MAX = 1024
/** Of these, tunnels, each with a connection to the upstream. */
const TUNNELS_MAX = 512
/** How long a CONNECT may take to be answered, in ms: the upstream is asked, then connected to. */
const CONNECT_ANSWER_MS = 15_000

/** A client that was refused has this long to hang up, in ms. */
const REFUSED_MS = 2_000

export type ConnectResult = 'intercepted' | 'tunnelled' | 'refused' | 'failed'

export interface InterceptorComponents {
  readonly desk: Pick<RequestDesk, 'serve' | 'takes'>
  readonly dialler: Pick<Dialler, 'dial'>
  readonly forwarder: Forwarder
  readonly probe: Pick<TlsProbe, 'ask'>
  /** Undefined where nothing is intercepted. */
  readonly leaves: LeafCertificates | undefined
  readonly logger: Logger
  readonly metrics: { countConnect(result: ConnectResult): void; countForwarded(): void }
}

export interface InterceptorInit {
  readonly hosts: readonly Target[]
  /** True for a registry that is configured to be spoken to over plain HTTP. */
  isPlain(registry: string): boolean
  /** True for a registry whose content can be had elsewhere while it is away. */
  hasMirrors(registry: string): boolean
  readonly tunnelsMax?: number
  readonly tunnelIdleMs?: number
}

export class Interceptor implements ForwardProxy {
  readonly #c: InterceptorComponents
  readonly #init: InterceptorInit
  readonly #hosts = new Map<string, InterceptedHost>()
  readonly #tunnels: Tunnels
  readonly #tunnelsMax: number
  /** Clients of CONNECTs that are not answered yet, or were refused and have not hung up. */
  readonly #pending = new Set<Socket>()
  /** Hosts for which it was said why they are not intercepted. */
  readonly #explained = new Set<string>()
  #dialling = 0
  #stopping = false

  constructor(components: InterceptorComponents, init: InterceptorInit) {
    this.#c = components
    this.#init = init
    this.#tunnels = new Tunnels(init.tunnelIdleMs === undefined ? {} : { idleMs: init.tunnelIdleMs })
    this.#tunnelsMax = init.tunnelsMax ?? TUNNELS_MAX
    const { desk, forwarder, leaves } = components
    if (leaves === undefined) return
    for (const target of init.hosts)
      this.#hosts.set(showTarget(target), new InterceptedHost({ desk, forwarder, leaves }, target))
  }

  get tunnels(): number {
    return this.#tunnels.size
  }

  /** Intercepted connections there are. */
  get intercepted(): number {
    let size = 0
    for (const host of this.#hosts.values()) size += host.size
    return size
  }

  /** `GET http://host/…`: a registry that is spoken to over plain HTTP is answered for, everything else is forwarded. */
  forward(request: IncomingMessage, response: ServerResponse): void {
    // The URL's own parts, byte for byte: what a parser would make of the path might mean something else to the host.
    const parts = /^http:\/\/([^/?#]*)([^#]*)/i.exec(request.url ?? '')
    const target = parts === null ? undefined : readTarget(parts[1]!, 80)
    if (parts === null || target === undefined) {
      const detail = `${request.method} ${quoteAsked((request.url ?? '').replace(/[?#].*$/s, '')).slice(0, 100)}`
      sendError(request, response, new PantalaError('PROXY_REQUEST_INVALID', { detail }))
      return
    }
    const path = parts[2]!.startsWith('/') ? parts[2]! : `/${parts[2]}`
    request.url = path
    const registry = [registryName(target, 80), showTarget(target)].find(name => this.#init.isPlain(name))
    const face = registry === undefined ? undefined : { registry, isFixed: true }
    if (face !== undefined && this.#c.desk.takes(request, face)) {
      void this.#c.desk.serve(request, response, face)
      return
    }
    this.#c.metrics.countForwarded()
    void this.#c.forwarder.forward(request, response, { scheme: 'http', target, authority: parts[1]!, path })
  }

  /** `CONNECT host:port`. */
  connect(request: IncomingMessage, socket: Socket, head: Uint8Array): void {
    socket.on('error', () => socket.destroy())
    this.#pending.add(socket)
    this.#answer(request, socket, head).then(
      ({ target, result }) => {
        this.#pending.delete(socket)
        this.#c.metrics.countConnect(result)
        this.#c.logger.debug({ host: showTarget(target), result }, 'CONNECT')
      },
      (error: unknown) => {
        socket.once('close', () => this.#pending.delete(socket))
        if (socket.closed) this.#pending.delete(socket)
        this.#refuse(request, socket, error)
      },
    )
  }

  /** Takes no more connections, lets tunnels end within `graceMs` and cuts those that do not. */
  async drain(graceMs: number): Promise<void> {
    this.#stopping = true
    await this.#tunnels.close(graceMs)
  }

  /** Cuts everything; the desk is to be closed before. */
  async close(): Promise<void> {
    await this.drain(0)
    for (const host of this.#hosts.values()) host.destroy()
    for (const socket of this.#pending) socket.destroy()
    await this.#c.forwarder.close()
  }

  async #answer(
    request: IncomingMessage,
    socket: Socket,
    head: Uint8Array,
  ): Promise<{ target: Target; result: ConnectResult }> {
    const target = readTarget(request.url ?? '')
    if (target === undefined)
      throw new PantalaError('PROXY_REQUEST_INVALID', {
        detail: `CONNECT ${quoteAsked(request.url ?? '').slice(0, 100)}`,
      })
    if (this.#stopping) throw new PantalaError('SHUTTING_DOWN')
    if (this.#pending.size + this.#tunnels.size + this.intercepted > CONNECTIONS_MAX)
      throw new PantalaError('OVERLOADED', { detail: `${CONNECTIONS_MAX} connections are open` })
    const gone = new AbortController()
    const onClose = (): void =>
      gone.abort(new PantalaError('DEADLINE_PASSED', { detail: 'the client went away' }))
    socket.once('close', onClose)
    const deadline = AbortSignal.timeout(CONNECT_ANSWER_MS)
    try {
      const host = await this.#chooseHost(target)
      gone.signal.throwIfAborted()
      if (host === undefined) {
        const through = request.headers.via ?? ''
        const upstream = await this.#dial(target, through, AbortSignal.any([gone.signal, deadline]))
        acceptConnect(socket)
        this.#tunnels.join(socket, upstream, head)
        return { target, result: 'tunnelled' }
      }
      acceptConnect(socket)
      if (head.byteLength > 0) socket.unshift(head)
      host.accept(socket)
      return { target, result: 'intercepted' }
    } finally {
      socket.off('close', onClose)
    }
  }

  /** Who answers in the host's name; undefined if nobody does, and it is tunnelled. @throws PantalaError where the host is away and nothing is known of it */
  async #chooseHost(target: Target): Promise<InterceptedHost | undefined> {
    const name = showTarget(target)
    const host = this.#hosts.get(name)
    if (host === undefined) return undefined
    if (this.#init.isPlain(registryName(target, 443)))
      return this.#explain(name, 'it is configured as plain HTTP')
    if (this.#c.leaves?.vouchesFor(target.host) !== true)
      return this.#explain(
        name,
        'the authority does not vouch for it; make a new one with pantala ca init --force',
      )
    const verdict = await this.#c.probe.ask(target)
    switch (verdict.kind) {
      case 'tls':
        await host.prepare()
        return host
      case 'plain':
        return this.#explain(name, `it does not speak TLS (${verdict.reason})`)
      case 'untrusted':
        // The client is shown the certificate that is really there, and judges by itself.
        return this.#explain(name, `its certificate does not hold (${verdict.reason}); set its caFile`)
      case 'away':
        if (verdict.error.entry.blame !== 'source' || !this.#init.hasMirrors(registryName(target, 443)))
          throw verdict.error
        await host.prepare()
        return host
    }
  }

  #explain(name: string, reason: string): undefined {
    const said = `${name} ${reason}`
    if (this.#explained.has(said)) return
    if (this.#explained.size < CONNECTIONS_MAX) this.#explained.add(said)
    this.#c.logger.warn({ host: name, reason }, 'not intercepted: tunnelled')
  }

  /** The other end of a tunnel; places are counted while it is dialled, too. */
  async #dial(target: Target, through: string, signal: AbortSignal): Promise<Socket> {
    if (this.#tunnels.size + this.#dialling >= this.#tunnelsMax)
      throw new PantalaError('OVERLOADED', { detail: `${this.#tunnelsMax} tunnels are open` })
    this.#dialling++
    try {
      const upstream = await this.#c.dialler.dial(target, signal, { through })
      if (!this.#stopping && !signal.aborted) return upstream
      upstream.destroy()
      throw signal.aborted ? signal.reason : new PantalaError('SHUTTING_DOWN')
    } finally {
      this.#dialling--
    }
  }

  #refuse(request: IncomingMessage, socket: Socket, thrown: unknown): void {
    const error = toPantalaError(thrown, 'SOURCE_AWAY', 'the connection failed')
    this.#c.metrics.countConnect(error.entry.blame === 'caller' ? 'refused' : 'failed')
    this.#c.logger.debug(
      { err: error, asked: quoteAsked(request.url ?? '').slice(0, 100) },
      'CONNECT refused',
    )
    if (socket.destroyed) return
    const { status, headers, body } = answerError(error)
    const lines = Object.entries({
      ...headers,
      'content-length': Buffer.byteLength(body),
      connection: 'close',
    })
    const text = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${text}\r\n${body}`)
    // What the client still sends is thrown away, so that it is not reset before it has read the answer.
    socket.resume()
    const timer = setTimeout(() => socket.destroy(), REFUSED_MS).unref()
    socket.once('close', () => clearTimeout(timer))
    socket.once('end', () => socket.destroySoon())
  }
}

function acceptConnect(socket: Socket): void {
  socket.write('HTTP/1.1 200 Connection Established\r\n\r\n')
}
