// Which pieces a host that no supernode helps takes from the source next, so that all who seek a blob share the source's work. Pure.
import type { Bitfield } from '../../shared/bitfield.ts'
import type { HostId, PieceRun } from '../../shared/protocol/messages.ts'
import { rendezvousWeight } from '../../shared/rendezvous.ts'

/** A blob is shared out in about this many parts; a part has so many pieces at most. */
const PARTS_PER_BLOB = 32
const PART_PIECES_MAX = 16
/** Pieces fetched in one go, so that it is soon seen what others have fetched meanwhile. */
const RUN_PIECES_MAX = 16

export interface SharesInput {
  readonly name: string
  readonly self: HostId
  /** Others that seek the blob now, and can be reached. */
  readonly seekers: Iterable<HostId>
  readonly have: Bitfield
  /** True for pieces that come by another way: a parent has them, or they are being fetched. */
  isElsewhere(piece: number): boolean
  /** How far down its order of hosts a part may be taken: 0 is only what is this host's own; more when others let it wait. */
  readonly rankMax: number
  /** Pieces that readers wait for: a part with one of them goes first. */
  readonly urgent: ReadonlySet<number>
}

/** The next run to fetch, what readers wait for first; undefined if there is nothing for this host to do. */
export function nextShare(input: SharesInput): PieceRun | undefined {
  const { have, urgent } = input
  const partPieces = Math.max(1, Math.min(PART_PIECES_MAX, Math.floor(have.length / PARTS_PER_BLOB)))
  const seekers = [...new Set(input.seekers)].filter(host => host !== input.self)
  const tryPart = (first: number): PieceRun | undefined => {
    const run = missingRun(input, first, Math.min(partPieces, have.length - first))
    return run !== undefined && rankOf(input, seekers, first) <= input.rankMax ? run : undefined
  }
  for (const piece of urgent) {
    const run = piece < have.length ? tryPart(piece - (piece % partPieces)) : undefined
    if (run !== undefined) return run
  }
  let found: PieceRun | undefined
  for (let first = 0; first < have.length; first += partPieces) {
    const run = tryPart(first)
    // Parts in a row make one request.
    if (found === undefined) found = run
    else if (run?.first !== found.first + found.count || found.count + run.count > RUN_PIECES_MAX) break
    else found = { first: found.first, count: found.count + run.count }
  }
  return found
}

/** How many of the others come before this host for the part that begins at `first`. */
function rankOf({ name, self }: SharesInput, seekers: readonly HostId[], first: number): number {
  const part = `${name}/${first}`
  const own = rendezvousWeight(part, self)
  let before = 0
  for (const host of seekers) {
    const weight = rendezvousWeight(part, host)
    if (weight > own || (weight === own && host < self)) before++
  }
  return before
}

/** The first run of pieces within the part that nobody else brings. */
function missingRun(input: SharesInput, first: number, count: number): PieceRun | undefined {
  const isMissing = (piece: number) => !input.have.has(piece) && !input.isElsewhere(piece)
  let start = first
  while (start < first + count && !isMissing(start)) start++
  let end = start
  while (end < first + count && isMissing(end)) end++
  return end > start ? { first: start, count: end - start } : undefined
}
