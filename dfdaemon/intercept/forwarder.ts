// Sends a client's request on to the host it names, and the answer back, both as they are: what an HTTP proxy does with all that is no registry's content.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { isIP } from 'node:net'
import { Agent, type buildConnector, type Dispatcher, errors, ProxyAgent } from 'undici'
import { isPantalaError, PantalaError, toPantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { HttpProxies } from '../../shared/source/reach/http-proxy.ts'
import { passStream } from '../proxy/body-sender.ts'
import { answerError } from '../proxy/oci-error.ts'
import { hasBody, readRequestBody } from '../proxy/request-body.ts'
import { passBackHeaders, passOnHeaders } from './message-headers.ts'
import type { Dialler } from './outbound/dialler.ts'
import { readTarget, showTarget, type Target } from './outbound/host-name.ts'
import type { OutboundGuard } from './outbound/outbound-guard.ts'

/** Requests forwarded at the same time; more get 503. */
const FORWARDS_MAX = 512

/** Until the headers of an answer, and between two pieces of its body, in ms. */
const ANSWER_MS = 60_000
const STALLED_ANSWER_MS = 30_000
/** A request of whose body nothing moves for this long is given up, in ms. */
const STALLED_BODY_MS = 60_000
const ANSWER_HEADER_BYTES_MAX = 64 * 1024
/** A connection, TLS included, must be there within this, in ms. */
const CONNECT_MS = 10_000
const IDLE_CONNECTION_MS = 10_000
const CONNECTIONS_PER_ORIGIN_MAX = 64
const ORIGINS_MAX = 256

export interface ForwarderComponents {
  readonly guard: OutboundGuard
  readonly dialler: Dialler
  /** Under which this proxy is named in Via headers; no other has it. */
  readonly self: string
  readonly proxies: Pick<HttpProxies, 'proxyFor'>
  readonly logger: Logger
}

export interface ForwarderInit {
  /** A client that takes no byte for this long is cut, in ms. */
  readonly stalledSendMs: number
  readonly answerMs?: number
  readonly stalledBodyMs?: number
}

/** Where a request goes: as a client names it, in the spelling it uses. */
export interface Destination {
  readonly scheme: 'http' | 'https'
  readonly target: Target
  /** The Host header. */
  readonly authority: string
  /** Path and query, as they came. */
  readonly path: string
}

export class Forwarder {
  readonly #c: ForwarderComponents
  readonly #init: ForwarderInit
  readonly #agent: Agent
  #proxyAgent: ProxyAgent | undefined
  #running = 0

  constructor(components: ForwarderComponents, init: ForwarderInit) {
    this.#c = components
    this.#init = init
    this.#agent = new Agent({
      connect: this.#connect,
      connections: CONNECTIONS_PER_ORIGIN_MAX,
      maxOrigins: ORIGINS_MAX,
      keepAliveTimeout: IDLE_CONNECTION_MS,
      maxHeaderSize: ANSWER_HEADER_BYTES_MAX,
      headersTimeout: init.answerMs ?? ANSWER_MS,
      bodyTimeout: STALLED_ANSWER_MS,
    })
  }

  /** Requests on their way. */
  get running(): number {
    return this.#running
  }

  /** Answers the request with what the destination answers, or with an error; an answer that breaks off is cut. Never rejects. */
  async forward(request: IncomingMessage, response: ServerResponse, destination: Destination): Promise<void> {
    const gone = new AbortController()
    const onClose = (): void =>
      gone.abort(new PantalaError('DEADLINE_PASSED', { detail: 'the client went away' }))
    response.once('close', onClose)
    this.#running++
    try {
      if (this.#running > FORWARDS_MAX)
        throw new PantalaError('OVERLOADED', { detail: `${FORWARDS_MAX} requests are being forwarded` })
      // The client waits for leave to send its body; what the host says to that can't be waited for.
      if (request.headers.expect !== undefined) response.writeContinue()
      const answer = await this.#send(request, destination, gone)
      try {
        response.writeHead(answer.statusCode, passBackHeaders(answer.headers))
      } catch (error) {
        answer.body.destroy()
        throw error
      }
      await passStream(answer.body, response, {
        stalledSendMs: this.#init.stalledSendMs,
        signal: gone.signal,
      })
    } catch (error) {
      this.#fail(request, response, destination, error)
    } finally {
      response.off('close', onClose)
      // A body that was not wanted to its end is not read on: Node tells nothing more of a request that is answered.
      gone.abort(new PantalaError('DEADLINE_PASSED', { detail: 'the request is over' }))
      this.#running--
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#agent.destroy(), this.#proxyAgent?.destroy()])
  }

  /** Plain HTTP through another proxy is asked of it by whole URL: few let CONNECT through to other ports than 443. */
  #agentFor(scheme: 'http' | 'https', target: Target): Dispatcher {
    const { proxies, guard } = this.#c
    const proxy = scheme === 'http' ? proxies.proxyFor(new URL(`http://${showTarget(target)}/`)) : undefined
    if (proxy === undefined) return this.#agent
    if (isIP(target.host) !== 0) guard.checkAddress(target, target.host)
    this.#proxyAgent ??= new ProxyAgent({
      uri: proxy.url,
      ...(proxy.token === undefined ? {} : { token: proxy.token }),
      proxyTunnel: false,
      connections: CONNECTIONS_PER_ORIGIN_MAX,
      headersTimeout: this.#init.answerMs ?? ANSWER_MS,
      bodyTimeout: STALLED_ANSWER_MS,
    })
    return this.#proxyAgent
  }

  async #send(
    request: IncomingMessage,
    { scheme, target, authority, path }: Destination,
    gone: AbortController,
  ): Promise<Dispatcher.ResponseData> {
    const { signal } = gone
    this.#c.guard.check(target)
    const headers = passOnHeaders(request.rawHeaders, authority, this.#c.self)
    try {
      const answer = await this.#agentFor(scheme, target).request({
        origin: `${scheme}://${showTarget(target)}`,
        path,
        method: request.method as Dispatcher.HttpMethod,
        headers,
        // Undici takes what can be iterated; its type says streams only.
        body: (hasBody(request) ? this.#readBody(request, gone) : null) as unknown as null,
        signal,
      })
      // A body that breaks after its reader went away must not end the process.
      answer.body.on('error', () => {})
      return answer
    } catch (error) {
      if (signal.aborted) throw signal.reason
      throw explain(error, showTarget(target))
    }
  }

  /** Undici waits for a body without end. */
  async *#readBody(request: IncomingMessage, gone: AbortController): AsyncGenerator<Uint8Array> {
    const ms = this.#init.stalledBodyMs ?? STALLED_BODY_MS
    const stalled = (): void =>
      gone.abort(new PantalaError('DEADLINE_PASSED', { detail: `nothing of the body moved for ${ms} ms` }))
    const timer = setTimeout(stalled, ms)
    try {
      yield* readRequestBody(request, { signal: gone.signal, onChunk: () => timer.refresh() })
    } finally {
      clearTimeout(timer)
    }
  }

  readonly #connect = (
    { protocol, hostname, port }: buildConnector.Options,
    callback: buildConnector.Callback,
  ): void => {
    const isTls = protocol === 'https:'
    const host = hostname.includes(':') && !hostname.startsWith('[') ? `[${hostname}]` : hostname
    const target = readTarget(port === '' ? host : `${host}:${port}`, isTls ? 443 : 80)!
    const deadline = AbortSignal.timeout(CONNECT_MS)
    const { dialler } = this.#c
    const connecting = isTls
      ? dialler.dialTls(target, deadline)
      : dialler.dial(target, deadline, { scheme: 'http' })
    connecting.then(
      socket => callback(null, socket),
      (error: Error) => callback(error, null),
    )
  }

  #fail(request: IncomingMessage, response: ServerResponse, { target }: Destination, thrown: unknown): void {
    const facts = { err: thrown, host: showTarget(target), method: request.method }
    if (response.destroyed || response.headersSent) {
      response.destroy()
      if (!isPantalaError(thrown, 'DEADLINE_PASSED')) this.#c.logger.warn(facts, 'forwarded answer cut')
      return
    }
    sendError(request, response, thrown)
    this.#c.logger.debug(facts, 'not forwarded')
  }
}

/** Answers with an error, as the registry's own are; the connection ends where a body may still be on its way. */
export function sendError(request: IncomingMessage, response: ServerResponse, thrown: unknown): void {
  const { status, headers, body } = answerError(thrown)
  response.writeHead(status, {
    ...headers,
    'content-length': Buffer.byteLength(body),
    ...(hasBody(request) ? { connection: 'close' } : {}),
  })
  response.end(request.method === 'HEAD' ? undefined : body)
}

/** Undici's and Node's texts name hosts and ports, never header values. */
function explain(error: unknown, host: string): PantalaError {
  if (isPantalaError(error)) return error
  if (error instanceof errors.HeadersTimeoutError || error instanceof errors.BodyTimeoutError)
    return new PantalaError('SOURCE_STALLED', { detail: `${host} stalled`, cause: error })
  const { code } = error as NodeJS.ErrnoException
  return toPantalaError(error, 'SOURCE_AWAY', `${host} (${code ?? 'network error'})`)
}
