// One listener of the registry that runtimes pull from: takes connections, and gives each request to the desk with the face it came by.
import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { isPantalaError } from '../../shared/errors.ts'
import { baseUrlOf, explainListenFailure } from '../../shared/http-face.ts'
import type { Face, ForwardProxy } from './proxy-context.ts'
import type { RequestDesk } from './request-desk.ts'
import { TlsPort, type TlsPortInit } from './tls-port.ts'

export interface ProxyInit {
  readonly host: string
  readonly port: number
  /** Option and value, as errors name them; `proxy.address` unless given. */
  readonly setting?: string
  readonly face: Face
  /** TLS instead of plain HTTP. */
  readonly tls?: TlsPortInit | undefined
  readonly connectionsMax?: number
}

type TakeRequest = (request: IncomingMessage, response: ServerResponse) => void

/** A port, whatever is spoken there. */
interface OpenPort {
  address(): AddressInfo | string | null
  /** @throws the error of listening, or PantalaError */
  listen(host: string, port: number): Promise<void>
  stopListening(): void
  /** Cuts what is open. */
  close(): Promise<void>
}

/** Time a client has for its request headers, in ms, and their size in bytes. */
const REQUEST_HEADERS_MS = 10_000
const HEADER_BYTES_MAX = 32 * 1024
/** How often connections are held against that time, in ms. */
const HEADERS_LOOK_MS = 5_000
const KEEP_ALIVE_MS = 30_000
const httpLimits = {
  requestTimeout: 0,
  headersTimeout: REQUEST_HEADERS_MS,
  connectionsCheckingInterval: HEADERS_LOOK_MS,
  keepAliveTimeout: KEEP_ALIVE_MS,
  maxHeaderSize: HEADER_BYTES_MAX,
  noDelay: true,
} as const
/** Connections to one listener, tunnels and those that idle included; more are closed at once, so that files and peers still find room. */
const CONNECTIONS_MAX = 8_192

export class ProxyServer {
  readonly #desk: RequestDesk
  readonly #forwardProxy: ForwardProxy | undefined
  readonly #init: ProxyInit
  readonly #port: OpenPort

  /** `forwardProxy`: takes what is for an HTTP proxy; without it such requests are refused. It is not offered over TLS. */
  constructor(
    components: { readonly desk: RequestDesk; readonly forwardProxy?: ForwardProxy },
    init: ProxyInit,
  ) {
    const { desk, forwardProxy } = components
    this.#desk = desk
    this.#forwardProxy = forwardProxy
    this.#init = init
    const toDesk = (request: IncomingMessage, response: ServerResponse): void =>
      void desk.serve(request, response, init.face)
    const connectionsMax = init.connectionsMax ?? CONNECTIONS_MAX
    const toEither: TakeRequest = (request, response) => {
      if (forwardProxy !== undefined && isAbsolute(request)) forwardProxy.forward(request, response)
      else toDesk(request, response)
    }
    this.#port =
      init.tls === undefined
        ? openPlainPort({ serve: toEither, forwardProxy, connectionsMax })
        : new TlsPort(toDesk, { ...init.tls, connectionsMax })
  }

  /** Base URL; known once started. */
  get url(): string {
    const url = baseUrlOf(this.#port.address())
    return this.#init.tls === undefined ? url : url.replace(/^http:/, 'https:')
  }

  /** @throws PantalaError ADDRESS_IN_USE | CONFIG_INVALID */
  async start(): Promise<void> {
    const { host, port, setting = `proxy.address ${host}:${port}` } = this.#init
    try {
      await this.#port.listen(host, port)
    } catch (error) {
      if (isPantalaError(error)) throw error
      throw explainListenFailure(setting, error)
    }
  }

  /** Takes no more connections, lets the desk's requests finish within `graceMs`, then cuts them. */
  async stop(graceMs: number): Promise<void> {
    // A closed port sends runtimes elsewhere at once; an error would cost some of them the pull.
    this.#port.stopListening()
    await Promise.all([this.#desk.close(graceMs), this.#forwardProxy?.drain(graceMs)])
    // Connections that were handed on keep the port's server from ending.
    await this.#forwardProxy?.close()
    await this.#port.close()
  }
}

/** Plain HTTP, without a router: there is one route. `localhost` is every address that it stands for, as clients may take any of them. */
function openPlainPort({
  serve,
  forwardProxy,
  connectionsMax,
}: {
  readonly serve: TakeRequest
  readonly forwardProxy: ForwardProxy | undefined
  readonly connectionsMax: number
}): OpenPort {
  const servers: Server[] = []
  const makeServer = (): Server => {
    const server = createServer(httpLimits, serve)
    server.maxConnections = connectionsMax
    server.on('clientError', (_error, socket) => refuseNonsense(socket as Socket))
    if (forwardProxy !== undefined)
      server.on('connect', (request, socket, head) => forwardProxy.connect(request, socket as Socket, head))
    // Who waits with a body for leave to send it gets it only once the registry takes the request.
    server.on('checkContinue', serve)
    servers.push(server)
    return server
  }
  const stopListening = (): void => {
    for (const server of servers) server.close()
  }
  const portOf = (server: Server): number => (server.address() as AddressInfo).port
  const listen = async (host: string, port: number): Promise<void> => {
    const [first, ...others] = await addressesOf(host)
    const main = makeServer()
    await listenAt(main, first!, port)
    for (const other of others) {
      await listenAt(makeServer(), other, portOf(main)).catch(error => {
        // Named in the hosts file, and not there.
        if (error.code === 'EADDRNOTAVAIL' || error.code === 'EAFNOSUPPORT') return
        stopListening()
        throw error
      })
    }
  }
  return {
    address: () => servers[0]?.address() ?? null,
    listen,
    stopListening,
    close: async () => {
      stopListening()
      for (const server of servers) server.closeAllConnections()
    },
  }
}

async function addressesOf(host: string): Promise<readonly string[]> {
  if (host !== 'localhost') return [host]
  return [...new Set((await lookup(host, { all: true })).map(({ address }) => address))]
}

async function listenAt(server: Server, host: string, port: number): Promise<void> {
  await once(server.listen({ host, port, backlog: 1024 }), 'listening')
}

/** A TLS ClientHello, or any other nonsense, is refused at once: docker and podman try TLS first and wait for the refusal. */
function refuseNonsense(socket: Socket): void {
  if (socket.writable)
    socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
  // Its own end is not waited for.
  socket.destroySoon()
}

/** True for `GET http://host/…`, as an HTTP proxy is asked. */
function isAbsolute(request: IncomingMessage): boolean {
  return /^[a-z][a-z0-9+.-]*:/i.test(request.url ?? '')
}
