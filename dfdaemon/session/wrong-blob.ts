// What is left of a blob that did not match its digest: the hashes of its pieces, so that readers who saw some can tell whether those were right.
import { PantalaError } from '../../shared/errors.ts'
import type { BlobHandle } from '../store/blob-store.ts'

/** Downloads of one blob in a row whose whole digest is wrong, at most; then its readers are cut. */
export const WRONG_TRIES_MAX = 3

export class WrongBlob {
  readonly error: PantalaError
  /** Settles when nothing of it is on disk any more; never rejects. */
  readonly discarded: Promise<void>
  readonly #hashes = new Map<number, Uint8Array>()

  /** Discards what `handle` holds, and closes it. */
  constructor(handle: BlobHandle | undefined, detail: string) {
    this.error = new PantalaError('SOURCE_DIGEST_MISMATCH', { detail })
    for (const piece of handle?.stat.have.pieces() ?? []) {
      const hash = handle?.pieceHash(piece)
      if (hash !== undefined) this.#hashes.set(piece, Uint8Array.from(hash))
    }
    this.discarded = discard(handle)
  }

  hashOf(piece: number): Uint8Array | undefined {
    return this.#hashes.get(piece)
  }
}

async function discard(handle: BlobHandle | undefined): Promise<void> {
  await handle?.discard().catch(() => {})
  await handle?.close().catch(() => {})
}
