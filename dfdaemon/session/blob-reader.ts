// Reads a range of a blob in order while its pieces land; holds the blob's last byte back until the whole digest was checked.
import { Readable } from 'node:stream'
import { toPantalaError } from '../../shared/errors.ts'
import { type Geometry, pieceAt, pieceOffset } from '../../shared/piece.ts'
import type { Awaited } from './session-waiters.ts'

/** Bytes handed on at once; large enough that per-chunk costs vanish, small enough that a slow client holds little. */
const CHUNK_BYTES = 512 * 1024

/** What a reader needs of the blob it reads: stored bytes, and word of what lands. */
export interface ReadableBlob {
  readonly geometry: Geometry
  /** True once the piece is stored and verified. */
  has(piece: number): boolean
  /** True once the whole digest was checked and the blob committed. */
  readonly complete: boolean
  read(position: number, into: Uint8Array): Promise<void>
  /** Calls `wake` once when `what` is there, or `fail` once when it never will be; never synchronously. Returns the way to stop waiting. */
  wait(what: Awaited, wake: () => void, fail: (error: Error) => void): () => void
}

export interface ReaderInit {
  readonly offset: number
  readonly length: number
  /** Called when the reader moves on to another piece, so that it is fetched first. */
  onPosition?(piece: number): void
  /** Called once when the reader is done or destroyed. */
  onEnd(): void
}

/** A Node Readable; an error of the blob destroys it, so that the client's socket is cut and never ended cleanly. */
export class BlobReader extends Readable {
  readonly #blob: ReadableBlob
  readonly #end: number
  readonly #init: ReaderInit
  #position: number
  #stopWaiting: (() => void) | undefined
  #reading = false

  constructor(blob: ReadableBlob, init: ReaderInit) {
    super({ highWaterMark: CHUNK_BYTES })
    this.#blob = blob
    this.#init = init
    this.#position = init.offset
    this.#end = init.offset + init.length
  }

  override _read(): void {
    if (this.#reading || this.#stopWaiting !== undefined) return
    if (this.#position >= this.#end) {
      this.push(null)
      return
    }
    const until = this.#readableUntil()
    if (until > this.#position) {
      this.#readChunk(Math.min(until - this.#position, CHUNK_BYTES))
      return
    }
    const piece = pieceAt(this.#blob.geometry, this.#position)
    this.#init.onPosition?.(piece)
    this.#stopWaiting = this.#blob.wait(
      this.#blob.has(piece) ? 'whole' : piece,
      () => {
        this.#stopWaiting = undefined
        this._read()
      },
      error => {
        this.#stopWaiting = undefined
        this.destroy(error)
      },
    )
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#stopWaiting?.()
    this.#stopWaiting = undefined
    this.#init.onEnd()
    callback(error)
  }

  /** End of the bytes that may be handed on from here: stored without a gap, short of the last byte unless complete. */
  #readableUntil(): number {
    const { geometry } = this.#blob
    if (this.#blob.complete) return this.#end
    const limit = Math.min(this.#end, geometry.size - 1)
    let piece = pieceAt(geometry, this.#position)
    let until = this.#position
    while (until < limit && until - this.#position < CHUNK_BYTES && this.#blob.has(piece)) {
      piece++
      until = Math.min(limit, pieceOffset(geometry, piece))
    }
    return until
  }

  #readChunk(bytes: number): void {
    const chunk = Buffer.allocUnsafeSlow(bytes)
    this.#reading = true
    this.#blob.read(this.#position, chunk).then(
      () => {
        this.#reading = false
        if (this.destroyed) return
        this.#position += bytes
        this.push(chunk)
      },
      error => {
        this.#reading = false
        this.destroy(toPantalaError(error, 'STORE_FAILED'))
      },
    )
  }
}
