// Reads a complete blob straight from the store.
import type { BlobHandle } from '../store/blob-store.ts'
import type { ReadingPlace } from './blob-reader.ts'

/** Closes `handle` when the reader leaves. */
export function storedPlace(handle: BlobHandle): ReadingPlace {
  return {
    blob: {
      geometry: handle.stat,
      full: true,
      complete: true,
      has: () => true,
      hashOf: piece => handle.pieceHash(piece),
      read: (position, into) => handle.read(position, into),
      wait: () => () => {},
    },
    from: 'cache',
    moveTo() {},
    leave: () => {
      handle.close().catch(() => {})
    },
  }
}
