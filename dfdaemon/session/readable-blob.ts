// What can be read of a blob while its pieces land, and how far; the last piece is held back until the whole digest was checked.
import { type Geometry, pieceAt, pieceCount, pieceOffset } from '../../shared/piece.ts'
import type { LentPiece } from './recent-pieces.ts'
import type { Awaited } from './session-waiters.ts'

/** Stored bytes, and word of what lands. */
export interface ReadableBlob {
  readonly geometry: Geometry
  /** True once the piece is stored and verified. */
  has(piece: number): boolean
  /** True once every piece is stored, checked as a whole or not. */
  readonly full: boolean
  /** True once the whole digest was checked and the blob committed. */
  readonly complete: boolean
  read(position: number, into: Uint8Array): Promise<void>
  /** A piece that is in memory, or is being read into it for others as well; `all`: all of it is wanted. Undefined: it is to be read. */
  lend?(piece: number, all: boolean): LentPiece | Promise<LentPiece | undefined> | undefined
  /** Calls `wake` once when `what` is there, or `fail` once when it never will be; never synchronously. Returns the way to stop waiting. */
  wait(what: Awaited, wake: () => void, fail: (error: Error) => void): () => void
}

/**
 * End of the bytes that may be handed on from `position`, looking no further than `limit`: without a gap, and short of the last piece until
 * the whole digest was checked. Only a reader of a part (`whole` false) may have the last piece of a blob that is not all here. One byte would
 * do to keep a wrong blob from being whole; a piece costs no time, and who got none of it goes on where only that piece came wrong.
 */
export function readableUntil(blob: ReadableBlob, position: number, limit: number, whole: boolean): number {
  if (blob.complete) return limit
  const { geometry } = blob
  const lastPiece = Math.max(0, pieceCount(geometry) - 1)
  const end = whole || blob.full ? Math.min(limit, pieceOffset(geometry, lastPiece)) : limit
  let until = position
  for (let piece = pieceAt(geometry, position); until < end && blob.has(piece); ) {
    piece++
    until = Math.min(end, pieceOffset(geometry, piece))
  }
  return until
}

/** Waits until there is something to read at `position`. @throws the blob's error, or the signal's reason */
export function waitForBytes(blob: ReadableBlob, position: number, signal: AbortSignal): Promise<void> {
  const piece = pieceAt(blob.geometry, position)
  return waitFor(blob, blob.has(piece) ? 'whole' : piece, signal)
}

/** @throws the blob's error, or the signal's reason */
export function waitFor(blob: Pick<ReadableBlob, 'wait'>, what: Awaited, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.reject(signal.reason)
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      stopWaiting()
      reject(signal.reason)
    }
    const settle = (act: () => void): void => {
      signal.removeEventListener('abort', onAbort)
      act()
    }
    const stopWaiting = blob.wait(
      what,
      () => settle(resolve),
      error => settle(() => reject(error)),
    )
    signal.addEventListener('abort', onAbort, { once: true })
  })
}
