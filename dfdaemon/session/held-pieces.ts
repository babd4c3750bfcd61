// Tells the supernode the hashes of pieces held already, as if they had just been cut: they cost the source nothing.
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
