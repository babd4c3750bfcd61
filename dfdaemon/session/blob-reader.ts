// One reader's way through a blob: in a session or in the store, and in the next one where the blob is fetched anew; it goes on only if what it was sent is the same there.
import type { DigestCheck } from '../../shared/digest.ts'
import { isPantalaError, type PantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { pieceAt } from '../../shared/piece.ts'
import { sendBlob } from './blob-sending.ts'
import type { ByteSpan, OpenBlob, TakeChunk } from './blobs.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { BegunBlob } from './pass-through.ts'
import { type ReadableBlob, waitFor } from './readable-blob.ts'
import { WRONG_TRIES_MAX } from './wrong-blob.ts'

/** Where a reader reads. */
export interface ReadingPlace {
  readonly blob: ReadableBlob & {
    /** The BLAKE3 hash of a piece that is held, or was until the blob turned out wrong. */
    hashOf(piece: number): Uint8Array | undefined
    /** The digest over the first pieces, all of them stored; undefined if it is not to be had. */
    hashedPrefix?(): DigestCheck | undefined
  }
  readonly from: OpenBlob['from']
  /** See Seat. */
  moveTo(piece: number): void
  /** A second call does nothing. */
  leave(): void
}

export interface BlobReaderComponents {
  readonly pool: BufferPool
  readonly logger: Logger
  /** See BlobStore. */
  readonly stuck: () => AbortSignal
}

export interface BlobReaderInit {
  readonly place: ReadingPlace
  /** True for a reader of the whole, whose last piece waits for the check of the digest. */
  readonly whole: boolean
  /** Where the blob is read from now on, by a reader of the whole; undefined if it is not fetched anew. @throws PantalaError, or the signal's reason */
  findNext(signal: AbortSignal): Promise<ReadingPlace | undefined>
  /** Hands on what the store failed to; `begun`: what is known of a blob that is read as a whole. */
  readonly passOn: PassOn
}

/** @throws as `passThrough` */
export type PassOn = (
  span: ByteSpan,
  take: TakeChunk,
  signal: AbortSignal,
  begun: BegunBlob | undefined,
) => Promise<void>

export class BlobReader implements OpenBlob {
  readonly #c: BlobReaderComponents
  readonly #logger: Logger
  readonly #init: BlobReaderInit
  readonly #sent: { readonly offset: number; length: number }[] = []
  #place: ReadingPlace
  #whole: boolean
  #moves = 0

  constructor(components: BlobReaderComponents, init: BlobReaderInit) {
    this.#c = components
    this.#logger = components.logger
    this.#init = init
    this.#place = init.place
    this.#whole = init.whole
  }

  get size(): number {
    return this.#place.blob.geometry.size
  }

  get from(): OpenBlob['from'] {
    return this.#place.from
  }

  async send(offset: number, length: number, take: TakeChunk, signal: AbortSignal): Promise<void> {
    const sent = { offset, length: 0 }
    this.#sent.push(sent)
    const takeOn: TakeChunk = chunk => {
      sent.length += chunk.byteLength
      return take(chunk)
    }
    for (;;) {
      try {
        await this.#sendRest({ offset: offset + sent.length, length: length - sent.length }, takeOn, signal)
        return
      } catch (error) {
        if (isStoreFault(error)) {
          this.#logger.warn({ err: error.message, sent: sent.length }, storeFaultLine)
          const rest = { offset: offset + sent.length, length: length - sent.length }
          return this.#init.passOn(rest, takeOn, signal, this.#whole ? begunAt(this.#place) : undefined)
        }
        await this.#moveOn(error, signal)
      }
    }
  }

  close(): void {
    this.#place.leave()
  }

  #sendRest({ offset, length }: ByteSpan, take: TakeChunk, signal: AbortSignal): Promise<void> {
    const whole = this.#whole
    const { blob } = this.#place
    const move = (piece: number): void => this.#place.moveTo(piece)
    return sendBlob(
      { ...this.#c, blob },
      { offset, length, whole, ...(whole ? { onPosition: move } : { onEnter: move }) },
      take,
      signal,
    )
  }

  /** After `error`: to where the blob is fetched anew. @throws `error` if that is nowhere, or if what was sent is not what is there */
  async #moveOn(error: unknown, signal: AbortSignal): Promise<void> {
    const before = this.#place
    for (let failure = error; ; ) {
      if (!isPantalaError(failure, 'SOURCE_DIGEST_MISMATCH') || ++this.#moves >= WRONG_TRIES_MAX)
        throw failure
      signal.throwIfAborted()
      const next = await this.#init.findNext(signal)
      if (next === undefined) throw failure
      this.#place.leave()
      this.#place = next
      // Who resumed a pull must not complete a blob that is known to have come wrong before, unless it is right now.
      this.#whole = true
      try {
        await this.#compare(before, next, signal)
        return
      } catch (compared) {
        if (compared instanceof Differs) {
          this.#logger.warn(
            { piece: compared.piece },
            'a reader is cut: it was sent bytes that are not the blob’s',
          )
          throw failure
        }
        failure = compared
      }
    }
  }

  /** Waits for the pieces that were sent. @throws Differs at the first that is not the same, or what ended the waiting */
  async #compare(before: ReadingPlace, next: ReadingPlace, signal: AbortSignal): Promise<void> {
    const { geometry } = next.blob
    for (const { offset, length } of this.#sent) {
      if (length === 0) continue
      const last = pieceAt(geometry, offset + length - 1)
      for (let piece = pieceAt(geometry, offset); piece <= last; piece++) {
        next.moveTo(piece)
        if (!next.blob.has(piece)) await waitFor(next.blob, piece, signal)
        const sent = before.blob.hashOf(piece)
        const found = next.blob.hashOf(piece)
        if (sent === undefined || found === undefined || Buffer.compare(sent, found) !== 0)
          throw new Differs(piece)
      }
    }
  }
}

/** What the log says of a reader whom the source serves from here on. */
const storeFaultLine = 'the store failed while a blob was read; the rest is passed through'

/** True for what ails this host's own disk. */
export function isStoreFault(error: unknown): error is PantalaError {
  return isPantalaError(error, 'STORE_FULL') || isPantalaError(error, 'STORE_FAILED')
}

function begunAt({ blob }: ReadingPlace): BegunBlob {
  return {
    geometry: blob.geometry,
    hashed: blob.hashedPrefix?.(),
    hashOf: piece => blob.hashOf(piece),
  }
}

/** Never leaves this file. */
class Differs extends Error {
  readonly piece: number

  constructor(piece: number) {
    super(`piece ${piece} differs`)
    this.piece = piece
  }
}
