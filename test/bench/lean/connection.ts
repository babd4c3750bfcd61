// A kept-alive HTTP/1.1 connection that costs next to nothing: requests as bytes made before, answers with a Content-Length, read into one buffer. So that a lab measures the server.
import { connect, type Socket } from 'node:net'

export interface LeanAnswer {
  readonly status: number
  /** Lines of the head, without the empty one. */
  readonly head: string
  /** Empty if `take` had it. */
  readonly body: Buffer
}

/** Takes a part of a body; its bytes are there during the call only. */
export type TakePart = (part: Buffer) => void

export interface LeanConnectionInit {
  /** Of the one buffer that all is read into; as much as a socket can give at once, unless many connections are open. */
  readonly bufferBytes?: number
  /** Ends the connection. */
  readonly signal?: AbortSignal
}

const BUFFER_BYTES = 256 * 1024
const HEAD_BYTES_MAX = 16 * 1024
/** Of a body that nobody takes part by part. */
const BODY_BYTES_MAX = 4 * 2 ** 20

/** A request that may be sent again and again. */
export function leanRequest(origin: string, path: string, accept = '*/*'): Buffer {
  return Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${new URL(origin).host}\r\nAccept: ${accept}\r\n\r\n`)
}

/** A header's value; undefined if it is not there. */
export function leanHeader({ head }: LeanAnswer, name: string): string | undefined {
  return new RegExp(`\\r\\n${name}: *([^\\r]*)`, 'i').exec(head)?.[1]
}

/** The answer that is being read. */
interface Reading {
  readonly status: number
  readonly head: string
  readonly bodyBytes: number
  /** Gathers the body; undefined if `take` has it. */
  readonly held: Buffer | undefined
}

export class LeanConnection {
  readonly #socket: Socket
  readonly #signal: AbortSignal | undefined
  /** Of a head that came in parts. */
  #headPart: Buffer | undefined
  #reading: Reading | undefined
  #bodyBytes = 0
  #take: TakePart | undefined
  #waiting: PromiseWithResolvers<LeanAnswer> | undefined
  readonly #opened = Promise.withResolvers<void>()
  #isClosed = false
  readonly #onAbort = () => this.#fail(this.#signal!.reason as Error)

  private constructor(origin: string, { bufferBytes = BUFFER_BYTES, signal }: LeanConnectionInit) {
    const { hostname, port } = new URL(origin)
    const buffer = Buffer.allocUnsafeSlow(bufferBytes)
    const callback = (length: number): boolean => {
      this.#read(buffer.subarray(0, length))
      return true
    }
    this.#socket = connect({
      host: hostname,
      port: Number(port),
      noDelay: true,
      onread: { buffer, callback },
    })
    this.#socket.once('connect', () => this.#opened.resolve())
    this.#signal = signal
    signal?.addEventListener('abort', this.#onAbort, { once: true })
    this.#socket.on('error', error => this.#fail(error))
    this.#socket.on('close', () => this.#fail(new Error(`the server closed the connection${this.#place()}`)))
  }

  /** @throws the system's error, or the signal's reason */
  static async open(origin: string, init: LeanConnectionInit = {}): Promise<LeanConnection> {
    init.signal?.throwIfAborted()
    const connection = new LeanConnection(origin, init)
    await connection.#opened.promise
    return connection
  }

  /** False when either side has closed it. */
  get isOpen(): boolean {
    return !this.#isClosed
  }

  /**
   * Sends one request; the next only when this one is answered.
   * @param take has the body if the status is 200; what it throws ends the connection
   * @throws Error when the connection ends before the answer does, or on an answer without a length; the signal's reason
   */
  ask(request: Buffer, take?: TakePart): Promise<LeanAnswer> {
    if (this.#isClosed) return Promise.reject(new Error('the connection is closed'))
    this.#take = take
    this.#waiting = Promise.withResolvers()
    this.#socket.write(request)
    return this.#waiting.promise
  }

  close(): void {
    this.#fail(new Error('the connection is closed'))
  }

  #read(bytes: Buffer): void {
    try {
      if (this.#waiting === undefined) throw new Error('bytes that nobody asked for')
      const body = this.#reading === undefined ? this.#readHead(bytes) : bytes
      if (body !== undefined) this.#readBody(body)
    } catch (error) {
      this.#fail(error as Error)
    }
  }

  /** What comes after the head, or undefined if the head is not whole. @throws Error for a head that is of no use */
  #readHead(bytes: Buffer): Buffer | undefined {
    const all = this.#headPart === undefined ? bytes : Buffer.concat([this.#headPart, bytes])
    const end = all.indexOf('\r\n\r\n')
    if (end < 0) {
      if (all.byteLength > HEAD_BYTES_MAX) throw new Error(`a head of more than ${HEAD_BYTES_MAX} bytes`)
      this.#headPart = this.#headPart === undefined ? Buffer.from(bytes) : all
      return undefined
    }
    this.#headPart = undefined
    const head = all.toString('latin1', 0, end)
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
    if (length === undefined)
      throw new Error(`an answer without a length: ${all.toString('latin1', 0, 1000)}`)
    const status = Number(head.slice(9, 12))
    const bodyBytes = Number(length)
    const isTaken = status === 200 && this.#take !== undefined
    if (!isTaken && bodyBytes > BODY_BYTES_MAX)
      throw new Error(`a body of ${bodyBytes} bytes with status ${status}`)
    this.#bodyBytes = 0
    this.#reading = { status, head, bodyBytes, held: isTaken ? undefined : Buffer.allocUnsafe(bodyBytes) }
    return all.subarray(end + 4)
  }

  #readBody(part: Buffer): void {
    const { status, head, bodyBytes, held } = this.#reading!
    if (this.#bodyBytes + part.byteLength > bodyBytes)
      throw new Error(`more than the ${bodyBytes} bytes that were announced`)
    if (held !== undefined) part.copy(held, this.#bodyBytes)
    else if (part.byteLength > 0) this.#take!(part)
    this.#bodyBytes += part.byteLength
    if (this.#bodyBytes < bodyBytes) return
    this.#reading = undefined
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting!.resolve({ status, head, body: held ?? Buffer.alloc(0) })
    if (/\r\nconnection: *close/i.test(head)) this.close()
  }

  /** Where an answer was cut. */
  #place(): string {
    const { bodyBytes } = this.#reading ?? {}
    return bodyBytes === undefined ? '' : ` after ${this.#bodyBytes} of ${bodyBytes} bytes`
  }

  #fail(error: Error): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#socket.destroy()
    this.#opened.reject(error)
    this.#waiting?.reject(error)
    this.#waiting = undefined
  }
}
