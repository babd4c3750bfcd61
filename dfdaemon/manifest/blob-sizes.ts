// Lengths of blobs as manifests claim them and the source confirms them; where claims differ, nothing is believed until it is asked.
import type { Digest } from '../../shared/digest.ts'

const SIZES_MAX = 50_000

/** A claim, a confirmed length, or claims that contradict each other. */
interface Known {
  readonly bytes: number
  readonly standing: 'claimed' | 'confirmed' | 'disputed'
}

export class BlobSizes {
  /** Least recently noted first. */
  readonly #sizes = new Map<Digest, Known>()

  /** Length in bytes; undefined if unknown or disputed. */
  sizeOf(digest: Digest): number | undefined {
    const known = this.#sizes.get(digest)
    return known === undefined || known.standing === 'disputed' ? undefined : known.bytes
  }

  /** A manifest says so. Anyone may write one, so that a claim never replaces another. True if this was news. */
  claim(digest: Digest, bytes: number): boolean {
    const known = this.#sizes.get(digest)
    if (known?.standing === 'confirmed' || known?.standing === 'disputed') return false
    if (known !== undefined && known.bytes !== bytes) {
      this.#set(digest, { bytes, standing: 'disputed' })
      return true
    }
    this.#set(digest, { bytes, standing: 'claimed' })
    return known === undefined
  }

  /** The source itself says so. */
  confirm(digest: Digest, bytes: number): void {
    this.#set(digest, { bytes, standing: 'confirmed' })
  }

  #set(digest: Digest, known: Known): void {
    this.#sizes.delete(digest)
    this.#sizes.set(digest, known)
    if (this.#sizes.size > SIZES_MAX) this.#sizes.delete(this.#sizes.keys().next().value!)
  }
}
