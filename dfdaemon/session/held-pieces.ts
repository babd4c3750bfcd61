// Tells the supernode the hashes of pieces held already, as if they had just been cut: they cost the source nothing.
import type { Bitfield } from '../../shared/bitfield.ts'
import type { SchedulerClient } from '../scheduler/scheduler-client.ts'
import type { BlobHandle } from '../store/blob-store.ts'

/** Reports those of `pieces` that are held. */
export function reportHeld(
  scheduler: Pick<SchedulerClient, 'report'>,
  handle: Pick<BlobHandle, 'stat' | 'pieceHash'>,
  pieces: Iterable<number>,
): void {
  const { digest } = handle.stat
  for (const piece of pieces) {
    const hashes = handle.pieceHash(piece)
    if (hashes !== undefined)
      scheduler.report({ digest, pieces: [piece], hashes, fromSourceBytes: 0, parents: [] })
  }
}

/** Reports the pieces that are held and not in `hashed`. */
export function reportUntold(
  scheduler: Pick<SchedulerClient, 'report'>,
  handle: Pick<BlobHandle, 'stat' | 'pieceHash'>,
  hashed: Bitfield,
): void {
  const untold = [...handle.stat.have.pieces()].filter(piece => !hashed.has(piece))
  reportHeld(scheduler, handle, untold)
}

/** The set of pieces held, to be sent; undefined if it is empty. */
export function heldBits(handle: Pick<BlobHandle, 'stat'> | undefined): Uint8Array | undefined {
  const have = handle?.stat.have
  return have === undefined || have.count === 0 ? undefined : Uint8Array.from(have.bytes)
}
