// Length-prefixed frames over one libp2p stream, with bounds in both directions; what the frames mean is the codec's business.
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import { encode } from 'it-length-prefixed'
import { Uint8ArrayList } from 'uint8arraylist'
import { PantalaError } from '../errors.ts'

/** Longest varint that may open a frame, in bytes: lengths up to 32 MiB. */
const LENGTH_BYTES_MAX = 4

export interface FrameLimits {
  /** Largest frame taken, in bytes; a larger one ends the stream before it is read. */
  readonly frameBytesMax: number
  /** Most bytes waiting for a slow receiver; past it the stream is cut. */
  readonly sendQueueBytesMax: number
}

export interface FrameListener {
  /** One frame's content, valid only during the call. A throw ends the stream with that error. */
  onFrame(frame: Uint8Array): void
  /** The stream is over, `error` undefined after a clean end. Called once. */
  onClose(error: Error | undefined): void
}

/** Reads and writes frames on a stream from construction until `close`, `abort` or the remote's end. */
export class FrameStream {
  readonly #stream: Stream
  readonly #limits: FrameLimits
  readonly #listener: FrameListener
  readonly #unread = new Uint8ArrayList()
  #paused = false
  #closed = false
  #reading = false

  constructor(stream: Stream, limits: FrameLimits, listener: FrameListener) {
    this.#stream = stream
    this.#limits = limits
    this.#listener = listener
    stream.addEventListener('message', this.#onMessage)
    stream.addEventListener('close', this.#onClose)
    stream.addEventListener('remoteCloseWrite', this.#onRemoteEnd)
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Bytes that wait for the receiver. */
  get queuedBytes(): number {
    return this.#stream.writeBufferLength
  }

  /** Queues a frame. False if the stream is over, or was cut just now since its receiver is too slow. */
  send(frame: Uint8Array): boolean {
    if (this.#closed) return false
    try {
      this.#stream.send(encode.single(frame))
    } catch (error) {
      this.abort(error as Error)
      return false
    }
    if (this.#stream.writeBufferLength > this.#limits.sendQueueBytesMax) {
      this.abort(new PantalaError('OVERLOADED', { detail: 'the receiver is too slow' }))
      return false
    }
    return true
  }

  /** Stops reading; the muxer's window then stops the remote. */
  pause(): void {
    if (this.#paused || this.#closed) return
    this.#paused = true
    this.#stream.pause()
  }

  resume(): void {
    if (!this.#paused || this.#closed) return
    this.#paused = false
    this.#takeFrames()
    if (!this.#paused && !this.#closed) this.#stream.resume()
  }

  /** Sends what is queued, then ends; cut after `timeoutMs`. */
  async close(timeoutMs: number): Promise<void> {
    if (this.#closed) return
    try {
      await this.#stream.close({ signal: AbortSignal.timeout(timeoutMs) })
    } catch (error) {
      this.#stream.abort(error as Error)
    }
    this.#end(undefined)
  }

  /** Ends at once; both sides see an error. */
  abort(error: Error): void {
    this.#stream.abort(error)
    this.#end(error)
  }

  readonly #onMessage = (event: StreamMessageEvent): void => {
    if (this.#closed) return
    this.#unread.append(event.data)
    this.#takeFrames()
  }

  readonly #onClose = (event: StreamCloseEvent): void => this.#end(event.error)

  readonly #onRemoteEnd = (): void => {
    // Neither side half-closes: an end of one direction is the end of both.
    void this.close(1000)
  }

  #takeFrames(): void {
    // A listener may resume from inside onFrame; the outer loop then goes on.
    if (this.#reading) return
    this.#reading = true
    try {
      while (!this.#paused && !this.#closed && this.#takeFrame());
    } catch (error) {
      this.abort(error as Error)
    } finally {
      this.#reading = false
    }
  }

  #takeFrame(): boolean {
    const unread = this.#unread
    let length = 0
    let prefix = 0
    for (;;) {
      if (prefix === unread.byteLength) return false
      const byte = unread.get(prefix)
      length += (byte & 0x7f) * 2 ** (7 * prefix++)
      if ((byte & 0x80) === 0) break
      if (prefix === LENGTH_BYTES_MAX)
        throw new PantalaError('MESSAGE_INVALID', { detail: 'a frame length of too many bytes' })
    }
    if (length > this.#limits.frameBytesMax)
      throw new PantalaError('MESSAGE_INVALID', {
        detail: `a frame of ${length} bytes, limit ${this.#limits.frameBytesMax}`,
      })
    if (unread.byteLength < prefix + length) return false
    const frame = unread.subarray(prefix, prefix + length)
    unread.consume(prefix + length)
    this.#listener.onFrame(frame)
    return true
  }

  #end(error: Error | undefined): void {
    if (this.#closed) return
    this.#closed = true
    this.#stream.removeEventListener('message', this.#onMessage)
    this.#stream.removeEventListener('close', this.#onClose)
    this.#stream.removeEventListener('remoteCloseWrite', this.#onRemoteEnd)
    this.#unread.consume(this.#unread.byteLength)
    this.#listener.onClose(error)
  }
}
