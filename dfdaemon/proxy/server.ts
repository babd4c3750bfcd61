// One listener of the registry that runtimes pull from: takes connections, and gives each request to the desk with the face it came by.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { type FastifyReply, type FastifyRequest, fastify } from 'fastify'
import { isPantalaError } from '../../shared/errors.ts'
import { baseUrlOf, explainListenFailure, noSchemas } from '../../shared/http-face.ts'
import type { Face, ForwardProxy } from './proxy-context.ts'
import { PATH_CHARS_MAX, type RequestDesk } from './request-desk.ts'
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

/** Takes requests as they come, routes none. */
function openPlainPort({
  serve,
  forwardProxy,
  connectionsMax,
}: {
  readonly serve: TakeRequest
  readonly forwardProxy: ForwardProxy | undefined
  readonly connectionsMax: number
}): OpenPort {
  const take = (request: FastifyRequest, reply: FastifyReply): void => {
    reply.hijack()
    serve(request.raw, reply.raw)
  }
  const server = fastify({
    logger: false,
    schemaController: noSchemas,
    // What the framework itself objects to (escapes in the path) is refused in the registry's own words, too.
    frameworkErrors: (_error, request, reply) => take(request, reply),
    routerOptions: { maxParamLength: PATH_CHARS_MAX },
    bodyLimit: 1,
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: true,
    return503OnClosing: false,
    http: {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: REQUEST_HEADERS_MS,
      connectionsCheckingInterval: HEADERS_LOOK_MS,
      noDelay: true,
    },
    // A TLS ClientHello, or any other nonsense, is refused at once: docker and podman try TLS first and wait for the refusal.
    clientErrorHandler: (_error, socket) => {
      if (socket.writable)
        socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
      socket.destroySoon?.()
    },
  })
  server.server.maxConnections = connectionsMax
  // Bodies of pushes are left unread: the desk passes them on as they come.
  server.removeAllContentTypeParsers()
  server.addContentTypeParser('*', (_request, _payload, done) => done(null))
  server.setErrorHandler((_error, request, reply) => take(request, reply))
  server.setNotFoundHandler(take)
  if (forwardProxy !== undefined)
    server.server.on('connect', (request, socket, head) =>
      forwardProxy.connect(request, socket as Socket, head),
    )
  const method = ['GET', 'HEAD', 'POST', 'PATCH', 'PUT', 'DELETE']
  server.route({ method, url: '/v2/*', handler: take })
  // Who waits with a body for leave to send it gets it only once the registry takes the request.
  server.server.on('checkContinue', serve)
  return {
    address: () => server.server.address(),
    listen: async (host, port) => void (await server.listen({ host, port, backlog: 1024 })),
    stopListening: () => void server.server.close(),
    close: () => server.close(),
  }
}

/** True for `GET http://host/…`, as an HTTP proxy is asked. */
function isAbsolute(request: IncomingMessage): boolean {
  return /^[a-z][a-z0-9+.-]*:/i.test(request.url ?? '')
}
