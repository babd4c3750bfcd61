// Runs of consecutive pieces that are not held.
import type { Bitfield } from '../../shared/bitfield.ts'
import type { PieceRun } from '../../shared/protocol/messages.ts'

/** The parts of `within` that `have` lacks, in rising order, each as long as can be; all of it if nothing is known to be held. */
export function* missingRuns(have: Bitfield | undefined, within: PieceRun): Generator<PieceRun> {
  const end = within.first + within.count
  let first: number | undefined
  for (let piece = within.first; piece <= end; piece++) {
    const missing = piece < end && !(have?.has(piece) ?? false)
    if (missing) {
      first ??= piece
    } else if (first !== undefined) {
      yield { first, count: piece - first }
      first = undefined
    }
  }
}

/** The parts of all `runs` that `have` lacks. */
export function missingOf(have: Bitfield | undefined, runs: readonly PieceRun[]): PieceRun[] {
  return runs.flatMap(run => [...missingRuns(have, run)])
}

/** All pieces of the runs. */
export function* piecesOf(runs: Iterable<PieceRun>): Generator<number> {
  for (const { first, count } of runs) for (let piece = first; piece < first + count; piece++) yield piece
}

/** The fewest runs that hold just these pieces; `pieces` must rise. */
export function runsOf(pieces: Iterable<number>): PieceRun[] {
  const runs: { first: number; count: number }[] = []
  for (const piece of pieces) {
    const last = runs.at(-1)
    if (last !== undefined && last.first + last.count === piece) last.count++
    else runs.push({ first: piece, count: 1 })
  }
  return runs
}
