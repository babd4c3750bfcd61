// One stream of the lean muxer: an ordinary libp2p stream, that can also hand over and take bytes without events, promises or copies.
import type { AbortOptions, Logger } from '@libp2p/interface'
import { AbstractStream, type AbstractStreamInit, type SendResult } from '@libp2p/utils'
import type { Uint8ArrayList } from 'uint8arraylist'
import { PantalaError } from '../errors.ts'
import type { ByteChannel } from './byte-channel.ts'
import { type ByteStream, CHUNK_ROOM_BYTES, type TakeBytes } from './byte-stream.ts'
import {
  encodeYamuxHeader,
  FLAG,
  writeYamuxHeader,
  YAMUX,
  YAMUX_HEADER_BYTES,
  YAMUX_WINDOW_BYTES,
} from './lean-yamux-frames.ts'
import { ORDINARY_WINDOW_BYTES, ReceiveWindow } from './receive-window.ts'

/** Largest data frame of an ordinary stream, so that streams take turns. */
const ORDINARY_FRAME_BYTES = 64 * 1024

interface Chunk {
  readonly buffer: Uint8Array
  start: number
  readonly end: number
  readonly onSent: (() => void) | undefined
  /** False once a part of it was sent. */
  untouched: boolean
}

export interface LeanStreamInit extends Omit<AbstractStreamInit, 'id'> {
  readonly streamId: number
  readonly channel: ByteChannel
  readonly log: Logger
}

export class LeanStream extends AbstractStream implements ByteStream {
  readonly streamId: number
  readonly #channel: ByteChannel
  #sendWindow = YAMUX_WINDOW_BYTES
  readonly #receiveWindow = new ReceiveWindow(() => performance.now())
  /** Flags that go with the next frame: the stream's beginning. */
  #flags: number
  #take: TakeBytes | undefined
  readonly #chunks: Chunk[] = []
  #chunkBytes = 0
  #unwrittenBytes = 0
  #flushed: PromiseWithResolvers<void> | undefined

  constructor(init: LeanStreamInit) {
    super({ ...init, id: String(init.streamId), maxReadBufferLength: 2 * ORDINARY_WINDOW_BYTES })
    this.streamId = init.streamId
    this.#channel = init.channel
    this.#flags = init.direction === 'outbound' ? FLAG.syn : FLAG.ack
    this.addEventListener('idle', () => this.#sendChunks())
  }

  /** Tells the other end of the stream and of the window; must be the first frame. */
  open(): void {
    this.#growWindow()
  }

  // ---- bytes without events ----

  get returnsBuffers(): boolean {
    return this.#channel.returnsBuffers
  }

  get queuedBytes(): number {
    return this.#chunkBytes + this.#unwrittenBytes
  }

  takeBytes(take: TakeBytes): void {
    this.#take = take
    this.#receiveWindow.followRate()
    queueMicrotask(() => {
      for (const part of this.readBuffer) this.#callTake(part, 0, part.byteLength)
      this.readBuffer.consume(this.readBuffer.byteLength)
      this.#growWindow()
    })
  }

  sendBytes(bytes: Uint8Array): void {
    const buffer = new Uint8Array(CHUNK_ROOM_BYTES + bytes.byteLength)
    buffer.set(bytes, CHUNK_ROOM_BYTES)
    this.#queueChunk({
      buffer,
      start: CHUNK_ROOM_BYTES,
      end: buffer.byteLength,
      onSent: undefined,
      untouched: true,
    })
  }

  sendChunk(buffer: Uint8Array, start: number, end: number, onSent: () => void): void {
    if (start < CHUNK_ROOM_BYTES) throw new TypeError('no room for the header')
    this.#queueChunk({ buffer, start, end, onSent, untouched: true })
  }

  #queueChunk(chunk: Chunk): void {
    if (this.writeStatus !== 'writable') return
    this.#chunks.push(chunk)
    this.#chunkBytes += chunk.end - chunk.start
    this.#sendChunks()
  }

  /** Sends what window and connection allow. */
  #sendChunks(): void {
    // What was sent in the ordinary way before comes first.
    if (this.writeBuffer.byteLength > 0) return
    while (this.#chunks.length > 0 && this.#channel.canWrite && this.#sendWindow > 0) {
      const chunk = this.#chunks[0]!
      const count = Math.min(chunk.end - chunk.start, this.#sendWindow)
      const whole = chunk.start + count === chunk.end
      this.#sendWindow -= count
      this.#chunkBytes -= count
      this.#unwrittenBytes += count
      if (whole) this.#chunks.shift()
      this.#writePart(chunk, count, () => {
        this.#unwrittenBytes -= count
        if (whole) chunk.onSent?.()
      })
      chunk.start += count
      chunk.untouched = false
    }
    if (this.#chunks.length === 0 && this.#flushed !== undefined) this.#flushed.resolve()
  }

  #writePart(chunk: Chunk, count: number, onWritten: () => void): void {
    const { buffer, start } = chunk
    const flags = this.#takeFlags()
    if (chunk.untouched) {
      // The header goes right before its bytes in the same buffer, which saves a copy and a write.
      const head = start - YAMUX_HEADER_BYTES
      writeYamuxHeader(buffer, head, YAMUX.data, flags, this.streamId, count)
      this.#channel.write(buffer.subarray(head, start + count), onWritten)
    } else {
      // The bytes before belong to a part that may still be on its way.
      this.#channel.write(encodeYamuxHeader(YAMUX.data, flags, this.streamId, count))
      this.#channel.write(buffer.subarray(start, start + count), onWritten)
    }
  }

  #callTake(buffer: Uint8Array, start: number, end: number): void {
    try {
      this.#take!(buffer, start, end)
    } catch (error) {
      this.abort(error instanceof Error ? error : new Error(String(error)))
    }
  }

  // ---- from the muxer ----

  /**
   * Bytes of data frames; the buffer may be overwritten after the call.
   * @throws PantalaError MESSAGE_INVALID if the other end sends more than its window
   */
  receive(buffer: Uint8Array, start: number, end: number): void {
    this.#receiveWindow.noteReceived(end - start)
    if (this.#take === undefined) this.onData(Uint8Array.prototype.slice.call(buffer, start, end))
    else if (this.status === 'open') this.#callTake(buffer, start, end)
    this.#growWindow()
  }

  /** A data frame of this length begins. @throws PantalaError MESSAGE_INVALID if it is more than the window */
  spendWindow(count: number): void {
    if (!this.#receiveWindow.spend(count))
      throw new PantalaError('MESSAGE_INVALID', { detail: `stream ${this.id} sent past its window` })
  }

  /** @throws PantalaError MESSAGE_INVALID if the window grows beyond what its counter holds */
  growSendWindow(count: number): void {
    this.#sendWindow += count
    if (this.#sendWindow > 0xffffffff)
      throw new PantalaError('MESSAGE_INVALID', { detail: `stream ${this.id} has too large a window` })
    this.onChannelReady()
  }

  /** The connection or the window takes bytes again. */
  onChannelReady(): void {
    if (this.writableNeedsDrain && this.#channel.canWrite && this.#sendWindow > 0)
      this.safeDispatchEvent('drain')
    this.#sendChunks()
  }

  // ---- the ordinary way ----

  override sendData(data: Uint8ArrayList): SendResult {
    let sentBytes = 0
    while (sentBytes < data.byteLength && this.#sendWindow > 0 && this.#channel.canWrite) {
      const count = Math.min(data.byteLength - sentBytes, this.#sendWindow, ORDINARY_FRAME_BYTES)
      const frame = new Uint8Array(YAMUX_HEADER_BYTES + count)
      writeYamuxHeader(frame, 0, YAMUX.data, this.#takeFlags(), this.streamId, count)
      frame.set(data.subarray(sentBytes, sentBytes + count), YAMUX_HEADER_BYTES)
      this.#sendWindow -= count
      sentBytes += count
      this.#channel.write(frame)
    }
    return { sentBytes, canSendMore: this.#sendWindow > 0 && this.#channel.canWrite }
  }

  /** As the interface says; the one inherited (@libp2p/utils 7.4) resolves at once after its first time. */
  override async onDrain(options?: AbortOptions): Promise<void> {
    if (!this.writableNeedsDrain) return
    options?.signal?.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const onDrain = () => resolve()
    const onClose = () => reject(new PantalaError('PARENT_GONE', { detail: 'the stream closed' }))
    const onAbort = () => reject(options?.signal?.reason)
    this.addEventListener('drain', onDrain)
    this.addEventListener('close', onClose)
    options?.signal?.addEventListener('abort', onAbort)
    try {
      await promise
    } finally {
      this.removeEventListener('drain', onDrain)
      this.removeEventListener('close', onClose)
      options?.signal?.removeEventListener('abort', onAbort)
    }
  }

  override async close(options?: AbortOptions): Promise<void> {
    if (this.#chunks.length > 0 && this.writeStatus === 'writable') {
      this.#flushed ??= Promise.withResolvers()
      const { promise, reject } = this.#flushed
      const onAbort = () => reject(options?.signal?.reason)
      options?.signal?.addEventListener('abort', onAbort)
      await promise.finally(() => options?.signal?.removeEventListener('abort', onAbort))
    }
    await super.close(options)
  }

  override sendReset(): void {
    this.#dropChunks()
    this.#channel.write(encodeYamuxHeader(YAMUX.windowUpdate, this.#takeFlags() | FLAG.rst, this.streamId, 0))
  }

  override async sendCloseWrite(): Promise<void> {
    this.#channel.write(encodeYamuxHeader(YAMUX.windowUpdate, this.#takeFlags() | FLAG.fin, this.streamId, 0))
  }

  /** Yamux has no word for it. */
  override async sendCloseRead(): Promise<void> {}

  /** The window is not opened again, which stops the other end. */
  override sendPause(): void {}

  override sendResume(): void {
    this.#growWindow()
  }

  override onTransportClosed(error?: Error): void {
    this.#dropChunks()
    super.onTransportClosed(error)
  }

  override onRemoteReset(): void {
    this.#dropChunks()
    super.onRemoteReset()
  }

  protected override dispatchReadBuffer(): void {
    super.dispatchReadBuffer()
    this.#growWindow()
  }

  #dropChunks(): void {
    this.#chunks.length = 0
    this.#chunkBytes = 0
    this.#flushed?.resolve()
  }

  /** Opens the receive window again by what was read. */
  #growWindow(): void {
    if (this.status !== 'open' || this.remoteWriteStatus !== 'writable') return
    const growth = this.#receiveWindow.open(this.readBuffer.byteLength)
    if (growth === 0 && this.#flags === 0) return
    this.#channel.write(encodeYamuxHeader(YAMUX.windowUpdate, this.#takeFlags(), this.streamId, growth))
  }

  #takeFlags(): number {
    const flags = this.#flags
    this.#flags = 0
    return flags
  }
}
