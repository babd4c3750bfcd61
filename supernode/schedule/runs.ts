// Piece numbers to runs and back, and the cutting of runs into shares.
import type { PieceRun } from '../../shared/protocol/messages.ts'

/** Runs of neighbouring numbers; `pieces` must rise. */
export function toRuns(pieces: readonly number[]): PieceRun[] {
  const runs: PieceRun[] = []
  let first = 0
  let count = 0
  for (const piece of pieces) {
    if (count > 0 && piece === first + count) {
      count++
      continue
    }
    if (count > 0) runs.push({ first, count })
    first = piece
    count = 1
  }
  if (count > 0) runs.push({ first, count })
  return runs
}

/** Cuts rising piece numbers into at most `shares` shares of neighbours, as even as can be. */
export function splitPieces(pieces: readonly number[], shares: number): number[][] {
  const parts: number[][] = []
  let start = 0
  for (let left = Math.min(shares, pieces.length); left > 0; left--) {
    const length = Math.ceil((pieces.length - start) / left)
    parts.push(pieces.slice(start, start + length))
    start += length
  }
  return parts
}
