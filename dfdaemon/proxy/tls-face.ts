// HTTP/1.1 and HTTP/2 over TLS, for connections it is handed or listens for; knows nothing of what is asked.
import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import { PantalaError } from '../../shared/errors.ts'
import { plainRequest, plainResponse } from './http2-exchange.ts'

/** A handshake must be done within this, and headers of a request be there, in ms. */
const HANDSHAKE_MS = 10_000
const REQUEST_HEADERS_MS = 10_000
const HEADER_BYTES_MAX = 32 * 1024
const KEEP_ALIVE_MS = 30_000
/** A connection of HTTP/2 on which nothing moves is closed after this, if nothing is asked on it, in ms. */
const SESSION_IDLE_MS = 60_000
const STREAMS_PER_CONNECTION_MAX = 100
/** Streams that a client may reset at once, and per second in the long run; beyond it the connection is closed (CVE-2023-44487). */
const RESET_STREAMS_MAX = 200
const RESET_STREAMS_PER_SECOND_MAX = 20
const REJECTED_STREAMS_MAX = 100
const SESSION_MEMORY_MB_MAX = 128

export interface TlsFaceInit {
  /** The one name clients may ask for by SNI; any if undefined. */
  readonly servername?: string
  serve(request: IncomingMessage, response: ServerResponse): void
  readonly handshakeMs?: number
  readonly headersMs?: number
  /** Connections it takes where it listens; more are closed at once. Unbounded if absent: whoever hands connections over counts them. */
  readonly connectionsMax?: number | undefined
}

export class TlsFace {
  readonly #server: Http2SecureServer
  readonly #sockets = new Set<Socket>()
  #certificate: string | undefined
  #isChecking = false

  constructor(init: TlsFaceInit) {
    const headersTimeout = init.headersMs ?? REQUEST_HEADERS_MS
    const http1 = {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout,
      requestTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: Math.min(5_000, headersTimeout),
      noDelay: true,
    }
    this.#server = createSecureServer({
      allowHTTP1: true,
      minVersion: 'TLSv1.2',
      handshakeTimeout: init.handshakeMs ?? HANDSHAKE_MS,
      settings: {
        maxConcurrentStreams: STREAMS_PER_CONNECTION_MAX,
        maxHeaderListSize: HEADER_BYTES_MAX,
        enablePush: false,
      },
      maxSessionMemory: SESSION_MEMORY_MB_MAX,
      maxSessionInvalidFrames: REJECTED_STREAMS_MAX,
      maxSessionRejectedStreams: REJECTED_STREAMS_MAX,
      streamResetBurst: RESET_STREAMS_MAX,
      streamResetRate: RESET_STREAMS_PER_SECOND_MAX,
      ...http1,
      http1Options: http1,
      SNICallback: (name, callback) => {
        const isAsked = init.servername === undefined || name.toLowerCase() === init.servername
        // Undefined: the certificate that is set.
        callback(isAsked ? null : new Error('certificate of another name asked for'), undefined)
      },
    })
    const server = this.#server
    if (init.connectionsMax !== undefined) server.maxConnections = init.connectionsMax
    const take = (
      request: IncomingMessage | Http2ServerRequest,
      response: ServerResponse | Http2ServerResponse,
    ) => init.serve(plainRequest(request), plainResponse(response))
    server.on('request', take)
    // Leave to send a body is given by whoever takes it.
    server.on('checkContinue', take)
    server.on('checkExpectation', take)
    server.on('session', session => this.#watch(session))
    server.on('tlsClientError', (_error, socket) => socket.destroy())
    server.on('sessionError', () => {})
    server.on('clientError', (_error, socket) => {
      if (socket.writable)
        socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
      ;(socket as Socket).destroySoon()
    })
    server.on('connection', (socket: Socket) => this.#keep(socket))
  }

  /** Connections there are, those that shake hands included. */
  get size(): number {
    return this.#sockets.size
  }

  /** What new handshakes are answered with. @throws PantalaError CONFIG_INVALID for what is no certificate and its key */
  setCertificate({ certificate, key }: { readonly certificate: string; readonly key: string }): void {
    if (this.#certificate === certificate) return
    try {
      this.#server.setSecureContext({ cert: certificate, key, minVersion: 'TLSv1.2' })
    } catch (error) {
      throw new PantalaError('CONFIG_INVALID', {
        detail: `no certificate and key: ${(error as Error).message}`,
        cause: error,
      })
    }
    this.#certificate = certificate
  }

  /** Takes over a connection that its client begins TLS on. */
  accept(socket: Socket): void {
    if (!this.#server.listening && !this.#isChecking) {
      // Time limits of requests are checked by what a server begins when it listens, which this one need not.
      this.#isChecking = true
      this.#server.emit('listening')
    }
    // As on a TLS server's own sockets: a client that hung up while it had to wait would not be noticed.
    socket.allowHalfOpen = false
    this.#server.emit('connection', socket)
  }

  /** @throws the error of listening */
  listen(host: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ host, port, backlog: 1024 }, () => {
        this.#server.off('error', reject)
        resolve()
      })
    })
  }

  address(): AddressInfo | string | null {
    return this.#server.address()
  }

  /** Takes no more connections, and lets go of those nothing is asked on. */
  stopListening(): void {
    this.#server.close()
  }

  /** Cuts every connection. */
  destroy(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => this.#sockets.delete(socket))
  }

  #watch(session: ServerHttp2Session): void {
    let streams = 0
    session.on('error', () => {})
    session.on('stream', stream => {
      streams++
      stream.once('close', () => {
        streams--
      })
    })
    session.setTimeout(SESSION_IDLE_MS)
    session.on('timeout', () => {
      if (streams === 0) session.close()
    })
  }
}
