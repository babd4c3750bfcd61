// Hands a blob on straight from the source when the store can't take it, or can't give the rest of it; nothing is kept or shared, the
// digest is still checked before the end of the blob is handed on.
import { DigestCheck } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { Geometry } from '../../shared/piece.ts'
import { contentOf } from '../../shared/task-key.ts'
import type { SourceFetcher, SourceRange } from '../fetch/source-fetcher.ts'
import { type ChunkLoan, lendChunk } from './blob-sending.ts'
import type { TakeChunk } from './blobs.ts'
import type { BufferPool } from './buffer-pool.ts'
import { SentPieces } from './sent-pieces.ts'
import type { SessionMetrics } from './session-components.ts'
import { WRONG_TRIES_MAX } from './wrong-blob.ts'

export interface PassComponents {
  readonly source: SourceFetcher
  /** Buffers for the end of a blob, which is held back. */
  readonly sendPool: BufferPool
  readonly metrics: Pick<SessionMetrics, 'countBlobBytes' | 'countPieceRejected' | 'countRefetched'>
}

/** What is known of a blob whose first part a reader was sent as pieces. */
export interface BegunBlob {
  readonly geometry: Geometry
  /** The digest over the first bytes, as many as it says; undefined if it has to be begun anew. */
  readonly hashed: DigestCheck | undefined
  /** BLAKE3 of the pieces that were sent. */
  hashOf(piece: number): Uint8Array | undefined
}

/**
 * A whole blob, or all that is left of one that was begun, is checked against its digest; its end comes only if it matches. If it does not, it is
 * fetched again, three times in all, and goes on only if what was handed on comes again. A part of a blob can't be checked here, the
 * runtime does that. @throws the source's PantalaError, SOURCE_DIGEST_MISMATCH, what `take` rejected with, or the signal's reason
 */
export async function passThrough(
  components: PassComponents,
  range: SourceRange,
  take: TakeChunk,
  signal: AbortSignal,
  begun?: BegunBlob,
): Promise<void> {
  const isChecked = range.offset + range.length === range.size && (range.offset === 0 || begun !== undefined)
  if (isChecked) {
    const pass = new CheckedPass(components, range, begun)
    await pass.run(take, signal).finally(() => pass.end())
    return
  }
  const counted = (chunk: Uint8Array): Promise<void> => {
    components.metrics.countBlobBytes('source', chunk.byteLength)
    return take(chunk)
  }
  await components.source.fetch(range, counted, signal)
}

class CheckedPass {
  readonly #c: PassComponents
  readonly #range: SourceRange
  readonly #begun: BegunBlob | undefined
  readonly #loan: ChunkLoan
  /** The end of the blob, from `#tailStart` on: handed on when the whole digest is right. */
  readonly #tail: Buffer
  readonly #tailStart: number
  /** The digest over what comes, from `#at` on. */
  #check: DigestCheck
  #at = 0
  #sentPieces: SentPieces | undefined
  /** The digest of all that was handed on by a try that came wrong. */
  #handedOn: string | undefined

  constructor(components: PassComponents, range: SourceRange, begun: BegunBlob | undefined) {
    this.#c = components
    this.#range = range
    this.#begun = begun
    this.#loan = lendChunk(components.sendPool)
    this.#tailStart = Math.max(range.offset, range.size - this.#loan.buffer.byteLength)
    this.#tail = this.#loan.buffer.subarray(0, range.size - this.#tailStart)
    this.#check = new DigestCheck(contentOf(range.digest))
  }

  async run(take: TakeChunk, signal: AbortSignal): Promise<void> {
    for (let tries = 1; ; tries++) {
      if (await this.#isRight(tries, take, signal)) break
      this.#c.metrics.countPieceRejected('digest')
      if (tries >= WRONG_TRIES_MAX) throw this.#wrong()
      this.#c.metrics.countRefetched()
    }
    if (this.#tail.byteLength > 0) await take(this.#tail)
  }

  end(): void {
    this.#loan.giveBack()
  }

  /** Fetches all that is not hashed yet. @throws PantalaError SOURCE_DIGEST_MISMATCH if it is not what was handed on */
  async #isRight(tries: number, take: TakeChunk, signal: AbortSignal): Promise<boolean> {
    const { size, offset } = this.#range
    this.#beginCheck()
    const rest = { ...this.#range, offset: this.#at, length: size - this.#at, passOver: tries - 1 }
    const isFirst = this.#handedOn === undefined
    const takeOn = (chunk: Uint8Array): Promise<void> | undefined => {
      this.#c.metrics.countBlobBytes('source', chunk.byteLength)
      const from = this.#at
      this.#follow(chunk)
      const wanted = chunk.subarray(Math.max(0, offset - from), Math.max(0, this.#tailStart - from))
      return isFirst && wanted.byteLength > 0 ? take(wanted) : undefined
    }
    if (rest.length > 0) await this.#c.source.fetch(rest, takeOn, signal)
    this.#passTailStart()
    this.#check.update(this.#tail)
    return this.#check.matches()
  }

  #beginCheck(): void {
    const { digest, offset } = this.#range
    const begun = this.#begun
    const hashed = begun?.hashed
    // What was hashed ahead of the reader is of no use to it: it is not here.
    const isOfUse = hashed !== undefined && hashed.bytes <= offset
    this.#check = isOfUse ? hashed.copy() : new DigestCheck(contentOf(digest))
    this.#at = this.#check.bytes
    this.#sentPieces =
      begun &&
      new SentPieces({
        geometry: begun.geometry,
        start: this.#at,
        end: offset,
        hashOf: piece => begun.hashOf(piece),
      })
  }

  /** Hashes what comes before the tail, and keeps the tail. */
  #follow(chunk: Uint8Array): void {
    const from = this.#at
    this.#at += chunk.byteLength
    if (this.#sentPieces?.takes(from, chunk) === false) throw this.#wrong()
    const before = chunk.subarray(0, Math.max(0, this.#tailStart - from))
    if (before.byteLength > 0) this.#check.update(before)
    if (before.byteLength < chunk.byteLength)
      this.#tail.set(chunk.subarray(before.byteLength), from + before.byteLength - this.#tailStart)
  }

  /** All before the tail was hashed: a second try must have brought what the first one did. */
  #passTailStart(): void {
    const handedOn = this.#check.copy().sum()
    if (this.#handedOn !== undefined && this.#handedOn !== handedOn) throw this.#wrong()
    this.#handedOn = handedOn
  }

  #wrong(): PantalaError {
    return new PantalaError('SOURCE_DIGEST_MISMATCH', { detail: this.#range.digest })
  }
}
