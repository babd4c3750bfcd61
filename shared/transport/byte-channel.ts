// A secured connection as plain bytes, for the muxer: over our own TLS straight on its socket, over anything else by its events.
import type { TLSSocket } from 'node:tls'
import type { MessageStream } from '@libp2p/interface'
import type { TakeBytes } from './byte-stream.ts'
import { nativeSocketOf } from './native-tls.ts'
import { canReuseBuffer, readIntoBuffer } from './reused-buffer.ts'

export interface ByteChannel {
  /** True if a buffer may be used again once its `onWritten` was called. */
  readonly returnsBuffers: boolean
  /** False while the connection holds more than it likes; `onDrain` tells when that is over. */
  readonly canWrite: boolean
  /** Bytes accepted and not yet passed to the system. */
  readonly queuedBytes: number
  /** Accepts bytes even if `canWrite` is false. `onWritten` is called, never at once, when they left; not after the end of the connection. */
  write(bytes: Uint8Array, onWritten?: () => void): void
}

/** What a channel tells its muxer. */
export interface ChannelOwner {
  readonly take: TakeBytes
  onDrain(): void
}

export interface ByteChannelInit {
  /** Read into one buffer of our own, where Node lets us. */
  readonly reuseBuffer?: boolean
}

/** As much as a TLS record brings at once, some times over. */
const RECEIVE_BUFFER_BYTES = 64 * 1024

/** Starts reading; bytes that were received before come first, in a microtask. `take` must not throw. */
export function openByteChannel(
  connection: MessageStream,
  owner: ChannelOwner,
  init: ByteChannelInit = {},
): ByteChannel {
  const socket = nativeSocketOf(connection)
  return socket === undefined
    ? new MessageChannel(connection, owner)
    : new SocketChannel(connection, socket, owner, init.reuseBuffer !== false)
}

class SocketChannel implements ByteChannel {
  readonly returnsBuffers = true
  readonly #socket: TLSSocket

  constructor(connection: MessageStream, socket: TLSSocket, owner: ChannelOwner, reuseBuffer: boolean) {
    this.#socket = socket
    for (const listener of socket.listeners('data'))
      socket.removeListener('data', listener as (chunk: Buffer) => void)
    socket.on('drain', () => owner.onDrain())
    socket.pause()
    // What the connection or the socket holds already. A listener makes the connection give up its own.
    connection.addEventListener('message', event => {
      for (const part of event.data instanceof Uint8Array ? [event.data] : event.data)
        owner.take(part, 0, part.byteLength)
    })
    queueMicrotask(() =>
      queueMicrotask(() => {
        if (socket.destroyed) return
        for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read())
          owner.take(chunk, 0, chunk.byteLength)
        if (reuseBuffer && canReuseBuffer(socket)) {
          const buffer = Buffer.allocUnsafeSlow(RECEIVE_BUFFER_BYTES)
          readIntoBuffer(socket, buffer, length => owner.take(buffer, 0, length))
        } else {
          socket.on('data', (chunk: Buffer) => owner.take(chunk, 0, chunk.byteLength))
          socket.resume()
        }
      }),
    )
  }

  get canWrite(): boolean {
    return !this.#socket.writableNeedDrain
  }

  get queuedBytes(): number {
    return this.#socket.writableLength
  }

  write(bytes: Uint8Array, onWritten?: () => void): void {
    if (!this.#socket.writable) return
    if (onWritten === undefined) this.#socket.write(bytes)
    else
      this.#socket.write(bytes, error => {
        if (error === undefined || error === null) onWritten()
      })
  }
}

class MessageChannel implements ByteChannel {
  readonly returnsBuffers = false
  readonly #connection: MessageStream
  #waiting: Array<() => void> = []

  constructor(connection: MessageStream, owner: ChannelOwner) {
    this.#connection = connection
    connection.addEventListener('message', event => {
      for (const part of event.data instanceof Uint8Array ? [event.data] : event.data)
        owner.take(part, 0, part.byteLength)
    })
    connection.addEventListener('drain', () =>
      // The connection passes on what it still holds in a microtask after this event.
      queueMicrotask(() =>
        queueMicrotask(() => {
          if (!this.canWrite) return
          this.#release()
          owner.onDrain()
        }),
      ),
    )
  }

  get canWrite(): boolean {
    return !this.#connection.writableNeedsDrain
  }

  get queuedBytes(): number {
    return this.#connection.writeBufferLength
  }

  write(bytes: Uint8Array, onWritten?: () => void): void {
    if (this.#connection.status !== 'open') return
    if (onWritten !== undefined) this.#waiting.push(onWritten)
    if (this.#connection.send(bytes)) queueMicrotask(() => this.#release())
  }

  #release(): void {
    if (!this.canWrite) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const onWritten of waiting) onWritten()
  }
}
