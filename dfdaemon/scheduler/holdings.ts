// What a host tells the supernode it holds, read off its store.
import type { Digest } from '../../shared/digest.ts'
import type { Holding } from '../../shared/protocol/messages.ts'
import type { BlobStore } from '../store/blob-store.ts'

/** How many blobs are told of, and the smallest of them in bytes. */
const HOT_BLOBS_MAX = 64
const HOT_BYTES_MIN = 1024 * 1024

/** Complete blobs without a bit field, partial ones with theirs, empty ones not at all. */
export function* listHoldings(store: Pick<BlobStore, 'list'>): Generator<Holding> {
  for (const { digest, size, pieceSize, have, complete } of store.list()) {
    if (complete) yield { digest, size, pieceSize }
    else if (have.count > 0) yield { digest, size, pieceSize, have: Uint8Array.from(have.bytes) }
  }
}

/** Blobs worth telling of while no supernode does: the last used ones, the very last at the end; small ones are as easily had elsewhere. */
export function hotBlobs(store: Pick<BlobStore, 'list'>): Digest[] {
  return [...store.list()]
    .filter(({ size, have }) => size >= HOT_BYTES_MIN && have.count > 0)
    .sort((a, b) => a.usedAt - b.usedAt)
    .slice(-HOT_BLOBS_MAX)
    .map(({ digest }) => digest)
}
