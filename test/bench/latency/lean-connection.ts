// A kept-alive HTTP/1.1 connection that costs next to nothing: requests as bytes made before, answers with a Content-Length. So that a lab measures the server.
import { connect, type Socket } from 'node:net'

export interface LeanAnswer {
  readonly status: number
  readonly body: Buffer
}

/** A request that may be sent again and again. */
export function leanRequest(origin: string, path: string, accept: string): Buffer {
  return Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${new URL(origin).host}\r\nAccept: ${accept}\r\n\r\n`)
}

export class LeanConnection {
  readonly #socket: Socket
  #held: Buffer = Buffer.alloc(0)
  /** Bytes of the answer, head included; 0 before its head is here. */
  #wanted = 0
  #headBytes = 0
  #status = 0
  #waiting: PromiseWithResolvers<LeanAnswer> | undefined

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
    socket.on('error', error => this.#fail(error))
    socket.on('close', () => this.#fail(new Error('the server closed the connection')))
  }

  /** @throws the system's error */
  static async open(origin: string): Promise<LeanConnection> {
    const { hostname, port } = new URL(origin)
    const socket = connect({ host: hostname, port: Number(port), noDelay: true })
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    return new LeanConnection(socket)
  }

  /** Sends one request; the next only when this one is answered. @throws Error when the connection ends, or on an answer without a length */
  ask(request: Buffer): Promise<LeanAnswer> {
    this.#waiting = Promise.withResolvers()
    this.#socket.write(request)
    return this.#waiting.promise
  }

  close(): void {
    this.#waiting = undefined
    this.#socket.destroy()
  }

  #take(chunk: Buffer): void {
    const held = this.#held.byteLength === 0 ? chunk : Buffer.concat([this.#held, chunk])
    this.#held = held
    if (this.#wanted === 0) {
      const end = held.indexOf('\r\n\r\n')
      if (end < 0) return
      const head = held.toString('latin1', 0, end)
      const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
      if (length === undefined) {
        this.#fail(new Error(`an answer without a length: ${head}`))
        return
      }
      this.#status = Number(head.slice(9, 12))
      this.#headBytes = end + 4
      this.#wanted = this.#headBytes + Number(length)
    }
    if (held.byteLength < this.#wanted) return
    const answer = { status: this.#status, body: held.subarray(this.#headBytes, this.#wanted) }
    this.#held = Buffer.alloc(0)
    this.#wanted = 0
    this.#waiting?.resolve(answer)
  }

  #fail(error: Error): void {
    this.#waiting?.reject(error)
    this.#socket.destroy()
  }
}
