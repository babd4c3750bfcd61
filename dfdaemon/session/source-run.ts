// Fetches a run of pieces from the source: cuts the stream into pieces, hashes each, hands it on to be stored. Decides nothing.
import type { Digest } from '../../shared/digest.ts'
import { type Geometry, pieceLength, pieceOffset } from '../../shared/piece.ts'
import type { PieceRun, SourceRef } from '../../shared/protocol/messages.ts'
import type { SourceFetcher } from '../fetch/source-fetcher.ts'
import type { BufferPool, Loan } from './buffer-pool.ts'

/** Pieces of one run that may be on their way to the disk while the next is being filled. */
const PIECES_LANDING_MAX = 3

/** What a source that ignores Range may send in vain before a run, in bytes. */
const SKIP_BYTES_MAX = 4 * 1024 * 1024

export interface SourceRunInit {
  readonly digest: Digest
  readonly geometry: Geometry
  readonly source: SourceRef
  readonly run: PieceRun
  /** See SourceRange. */
  readonly passOver?: number
}

/** Stores one piece, whose bytes are the first of the loan's buffer; that belongs to the callee until the promise settles. */
export type LandPiece = (piece: number, bytes: Buffer, loan: Loan) => Promise<void>

/**
 * Fetches all pieces of the run, in order. Backpressure: no more than PIECES_LANDING_MAX pieces wait for the disk.
 * @throws the source's PantalaError, what `land` throws, or the signal's reason
 */
export async function fetchSourceRun(
  components: {
    source: SourceFetcher
    pool: BufferPool
    land: LandPiece
    /** What another piece has to wait for, if anything; nothing is read from the source meanwhile, and no buffer held. */
    hold?: () => Promise<void> | undefined
  },
  init: SourceRunInit,
  signal: AbortSignal,
): Promise<void> {
  const { geometry, run } = init
  const { pool, land, hold = () => undefined } = components
  const offset = pieceOffset(geometry, run.first)
  const length = Math.min(run.count * geometry.pieceSize, geometry.size - offset)
  const stop = new AbortController()
  const both = AbortSignal.any([signal, stop.signal])

  let piece = run.first
  let filled = 0
  let loan: Loan | undefined
  const landing = new Set<Promise<void>>()

  const landFull = (full: Loan, number: number, bytes: Buffer): void => {
    const done = land(number, bytes, full)
      .catch(error => stop.abort(error))
      .finally(() => {
        full.giveBack()
        landing.delete(done)
      })
    landing.add(done)
  }

  /** Copies as much as fits; undefined when the chunk is used up, else what must be waited for before going on. */
  const take = (chunk: Uint8Array, from = 0): Promise<void> | undefined => {
    let at = from
    while (at < chunk.byteLength) {
      if (loan === undefined) {
        const isFree = landing.size < PIECES_LANDING_MAX && hold() === undefined
        loan = isFree ? pool.tryLend(geometry.pieceSize) : undefined
        if (loan === undefined) return waitAndTake(chunk, at)
      }
      const wanted = pieceLength(geometry, piece)
      const bytes = Math.min(chunk.byteLength - at, wanted - filled)
      loan.buffer.set(chunk.subarray(at, at + bytes), filled)
      at += bytes
      filled += bytes
      if (filled === wanted) {
        landFull(loan, piece, loan.buffer.subarray(0, wanted))
        loan = undefined
        filled = 0
        piece++
      }
    }
    return undefined
  }

  const waitAndTake = async (chunk: Uint8Array, at: number): Promise<void> => {
    while (landing.size >= PIECES_LANDING_MAX) await Promise.race(landing)
    await hold()
    both.throwIfAborted()
    loan = await pool.lend(geometry.pieceSize, both)
    await take(chunk, at)
  }

  try {
    const { source, digest, passOver = 0 } = init
    const { size } = geometry
    const range = { source, digest, size, offset, length, skipBytesMax: SKIP_BYTES_MAX, passOver }
    await components.source.fetch(range, chunk => take(chunk), both)
    await Promise.all(landing)
    both.throwIfAborted()
  } catch (error) {
    await Promise.allSettled(landing)
    throw stop.signal.aborted ? stop.signal.reason : error
  } finally {
    const left = loan as Loan | undefined
    left?.giveBack()
  }
}
