// An HTTP proxy of a test's own on loopback: CONNECT and whole-URL requests, names resolved from a table, a log of what it was asked.
import { createServer, request as httpRequest, type Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'

export interface ForwardProxyInit {
  /** `host:port` as asked for, to the port on 127.0.0.1 that stands for it. */
  readonly routes: Readonly<Record<string, number>>
  /** The Proxy-Authorization wanted; anything if absent. */
  readonly authorization?: string
}

export class ForwardProxy {
  /** `CONNECT reg.lab:443`, `GET http://reg.lab/v2/`. */
  readonly asked: string[] = []
  /** Headers of whole-URL requests as the origin was to get them. */
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  constructor({ routes, authorization }: ForwardProxyInit) {
    const isKnown = (header: string | undefined) => authorization === undefined || header === authorization
    this.#server = createServer((request, response) => {
      this.asked.push(`${request.method} ${request.url}`)
      const { 'proxy-authorization': credentials, ...headers } = request.headers
      const url = URL.canParse(request.url ?? '') ? new URL(request.url!) : undefined
      const port = url && routes[`${url.hostname}:${url.port || 80}`]
      if (!isKnown(credentials)) return void response.writeHead(407).end()
      if (url === undefined || port === undefined) return void response.writeHead(502).end()
      const path = `${url.pathname}${url.search}`
      const onward = httpRequest(
        { port, host: '127.0.0.1', method: request.method, path, headers },
        answer => {
          response.writeHead(answer.statusCode ?? 502, answer.headers)
          answer.pipe(response)
        },
      )
      onward.on('error', () => response.destroy())
      onward.end()
    })
    this.#server.on('connect', (request, socket: Socket, head: Buffer) => {
      this.asked.push(`CONNECT ${request.url}`)
      const port = routes[request.url ?? '']
      if (!isKnown(request.headers['proxy-authorization']))
        return socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')
      if (port === undefined) return socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n')
      const onward = connect(port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
        onward.write(head)
        onward.pipe(socket).pipe(onward)
      })
      for (const [end, other] of [
        [onward, socket],
        [socket, onward],
      ] as const)
        end.on('error', () => other.destroy()).on('close', () => other.destroy())
    })
    this.#server.on('connection', socket => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
  }

  async start(): Promise<this> {
    await new Promise<void>(resolve => this.#server.listen(0, '127.0.0.1', resolve))
    return this
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }

  /** `127.0.0.1:PORT`. */
  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }
}
