// A libp2p stream as plain bytes in both directions: received ones handed to a callback, sent ones with word of when they left.
// Works over any stream; faster over our own muxer's.
import type { Stream } from '@libp2p/interface'

/** Bytes that must be free before a chunk given to `sendChunk`, for the muxer's header. */
export const CHUNK_ROOM_BYTES = 12

/** Bytes `start` to `end - 1` of `buffer`, which may be overwritten after the call. Throwing aborts the stream with that error. */
export type TakeBytes = (buffer: Uint8Array, start: number, end: number) => void

/** The sending side of a stream. */
export interface ByteSender {
  /** True if a buffer may be used again once its chunk's `onSent` was called; otherwise it must be left to the stream. */
  readonly returnsBuffers: boolean
  /** Bytes given to `sendBytes` and `sendChunk` that have not left for the system yet, as far as the stream knows. */
  readonly queuedBytes: number
  /** Sends a small message; the bytes are the stream's from now on. Does nothing on a stream that is over. */
  sendBytes(bytes: Uint8Array): void
  /**
   * Sends bytes `start` to `end - 1` of `buffer`, whose CHUNK_ROOM_BYTES before `start` may be overwritten. `onSent` is called, never at once,
   * when the next chunk may follow; never if the stream ends before.
   */
  sendChunk(buffer: Uint8Array, start: number, end: number, onSent: () => void): void
}

/** A stream that takes part in this more directly than by events. */
export interface ByteStream extends Stream, ByteSender {
  /** From now on received bytes go to `take` instead of 'message' events, those already received first, in a microtask. */
  takeBytes(take: TakeBytes): void
}

export function isByteStream(stream: Stream): stream is ByteStream {
  return 'takeBytes' in stream && 'sendChunk' in stream
}

/** Hands all received bytes to `take`, in order, without a promise or copy per chunk where the stream allows. */
export function takeBytes(stream: Stream, take: TakeBytes): void {
  if (isByteStream(stream)) {
    stream.takeBytes(take)
    return
  }
  stream.addEventListener('message', event => {
    try {
      if (event.data instanceof Uint8Array) take(event.data, 0, event.data.byteLength)
      else for (const part of event.data) take(part, 0, part.byteLength)
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)))
    }
  })
}

/** The sending side of any stream. One per stream. */
export function byteSender(stream: Stream): ByteSender {
  return isByteStream(stream) ? stream : new EventSender(stream)
}

/** Over a stock stream: what was sent may be kept by reference until who knows when, so buffers are never returned. */
class EventSender implements ByteSender {
  readonly returnsBuffers = false
  readonly #stream: Stream
  #waiting: Array<() => void> = []
  #checkQueued = false

  constructor(stream: Stream) {
    this.#stream = stream
    const check = () => this.#check()
    stream.addEventListener('drain', check)
    stream.addEventListener('idle', check)
  }

  get queuedBytes(): number {
    return this.#stream.writeBufferLength
  }

  sendBytes(bytes: Uint8Array): void {
    if (this.#stream.writeStatus !== 'writable') return
    try {
      this.#stream.send(bytes)
    } catch (error) {
      this.#stream.abort(error instanceof Error ? error : new Error(String(error)))
    }
  }

  sendChunk(buffer: Uint8Array, start: number, end: number, onSent: () => void): void {
    this.#waiting.push(onSent)
    this.sendBytes(buffer.subarray(start, end))
    this.#check()
  }

  /** The stream goes on sending in a microtask after 'drain', so what it still holds is known only after that. */
  #check(): void {
    if (this.#checkQueued || this.#waiting.length === 0) return
    this.#checkQueued = true
    queueMicrotask(() =>
      queueMicrotask(() => {
        this.#checkQueued = false
        const stream = this.#stream
        if (stream.writableNeedsDrain || stream.writeBufferLength > 0 || stream.writeStatus !== 'writable')
          return
        const waiting = this.#waiting
        this.#waiting = []
        for (const onSent of waiting) onSent()
      }),
    )
  }
}
