// A registry of a test's own: a bare HTTP server whose answers are a function, with a log of what it was asked. No OCI logic.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

export type Answer = (request: IncomingMessage, response: ServerResponse) => void

export interface Asked {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
}

export class FakeRegistry {
  readonly asked: Asked[] = []
  /** Exact paths (query left out) or prefixes ending in `*`, first match wins; 404 without one. */
  readonly #routes = new Map<string, Answer>()
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #name = ''

  constructor() {
    this.#server = createServer((request, response) => {
      const path = request.url ?? ''
      this.asked.push({ method: request.method ?? '', path, headers: request.headers })
      const bare = path.split('?', 1)[0]!
      for (const [route, answer] of this.#routes)
        if (route === bare || (route.endsWith('*') && bare.startsWith(route.slice(0, -1))))
          return answer(request, response)
      response.writeHead(404).end()
    })
    this.#server.on('connection', socket => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
  }

  static async start(): Promise<FakeRegistry> {
    const registry = new FakeRegistry()
    await new Promise<void>(resolve => registry.#server.listen(0, '127.0.0.1', resolve))
    registry.#name = `127.0.0.1:${(registry.#server.address() as AddressInfo).port}`
    return registry
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }

  /** `127.0.0.1:PORT`, as a registry's name. */
  get name(): string {
    return this.#name
  }

  get url(): string {
    return `http://${this.name}`
  }

  on(route: string, answer: Answer): this {
    this.#routes.set(route, answer)
    return this
  }

  /** Requests for a path, query left out. */
  askedFor(path: string): readonly Asked[] {
    return this.asked.filter(asked => asked.path.split('?', 1)[0] === path)
  }
}

/** Sends a body with its length, and nothing for HEAD. */
export function sendBytes(body: Uint8Array, headers: Record<string, string> = {}, status = 200): Answer {
  return (request, response) => {
    response.writeHead(status, { 'content-length': String(body.byteLength), ...headers })
    response.end(request.method === 'HEAD' ? undefined : body)
  }
}

/** Serves a body with single ranges, as registries do. */
export function sendRanged(body: Buffer): Answer {
  return (request, response) => {
    const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
    if (match === null) return sendBytes(body)(request, response)
    const first = Number(match[1])
    const last = Math.min(match[2] === '' ? body.byteLength - 1 : Number(match[2]), body.byteLength - 1)
    if (first >= body.byteLength) return sendBytes(Buffer.alloc(0), {}, 416)(request, response)
    const range = `bytes ${first}-${last}/${body.byteLength}`
    sendBytes(body.subarray(first, last + 1), { 'content-range': range }, 206)(request, response)
  }
}

/** Answers in turn; the last answer repeats. */
export function inTurn(...answers: Answer[]): Answer {
  let next = 0
  return (request, response) => answers[Math.min(next++, answers.length - 1)]!(request, response)
}
