// Who wants to hear of which blob; tells them synchronously, in the order in which they came.
import type { Digest } from '../../shared/digest.ts'
import type { BlobListener } from './blob-store.ts'

export class BlobWatchers {
  readonly #byDigest = new Map<Digest, Set<{ readonly listener: BlobListener }>>()

  /** Returns the way to stop; stopping twice does no harm. */
  add(digest: Digest, listener: BlobListener): () => void {
    const seat = { listener }
    const seats = this.#byDigest.get(digest) ?? new Set()
    this.#byDigest.set(digest, seats.add(seat))
    return () => {
      seats.delete(seat)
      if (seats.size === 0 && this.#byDigest.get(digest) === seats) this.#byDigest.delete(digest)
    }
  }

  tellPiece(digest: Digest, piece: number): void {
    const seats = this.#byDigest.get(digest)
    if (seats !== undefined) for (const seat of [...seats]) seat.listener.onPiece(piece)
  }

  tellGone(digest: Digest): void {
    const seats = this.#byDigest.get(digest)
    if (seats !== undefined) for (const seat of [...seats]) seat.listener.onGone()
  }
}
