// What a host tells the supernode it holds, read off its store.
import type { Holding } from '../../shared/protocol/messages.ts'
import type { BlobStore } from '../store/blob-store.ts'

/** Complete blobs without a bit field, partial ones with theirs, empty ones not at all. */
export function* listHoldings(store: Pick<BlobStore, 'list'>): Generator<Holding> {
  for (const { digest, size, pieceSize, have, complete } of store.list()) {
    if (complete) yield { digest, size, pieceSize }
    else if (have.count > 0) yield { digest, size, pieceSize, have: Uint8Array.from(have.bytes) }
  }
}
