// Lengths of blobs as a registry's manifests claim them and the registry itself confirms them, each registry's apart: any of them may lie.
// Where claims differ, nothing is believed until it is asked.
import type { Digest } from '../../shared/digest.ts'
import { canonicalRegistry } from '../../shared/source/upstreams.ts'

const SIZES_MAX = 50_000

/** A claim, a confirmed length, or claims that contradict each other. */
interface Known {
  readonly bytes: number
  readonly standing: 'claimed' | 'confirmed' | 'disputed'
}

export class BlobSizes {
  /** By registry and digest, least recently noted first. */
  readonly #sizes = new Map<string, Known>()

  /** Length in bytes; undefined if unknown or disputed. */
  sizeOf(registry: string, digest: Digest): number | undefined {
    const known = this.#sizes.get(keyOf(registry, digest))
    return known === undefined || known.standing === 'disputed' ? undefined : known.bytes
  }

  /** A manifest says so. Anyone may write one, so that a claim never replaces another. True if this was news. */
  claim(registry: string, digest: Digest, bytes: number): boolean {
    const key = keyOf(registry, digest)
    const known = this.#sizes.get(key)
    if (known?.standing === 'confirmed' || known?.standing === 'disputed') return false
    if (known !== undefined && known.bytes !== bytes) {
      this.#set(key, { bytes, standing: 'disputed' })
      return true
    }
    this.#set(key, { bytes, standing: 'claimed' })
    return known === undefined
  }

  /** The source itself says so. */
  confirm(registry: string, digest: Digest, bytes: number): void {
    this.#set(keyOf(registry, digest), { bytes, standing: 'confirmed' })
  }

  #set(key: string, known: Known): void {
    this.#sizes.delete(key)
    this.#sizes.set(key, known)
    if (this.#sizes.size > SIZES_MAX) this.#sizes.delete(this.#sizes.keys().next().value!)
  }
}

function keyOf(registry: string, digest: Digest): string {
  return `${canonicalRegistry(registry)} ${digest}`
}
