// Keeps room for all of a blob once a reader of the whole comes, where it was not kept from the start.
import type { Digest } from '../../shared/digest.ts'
import type { Geometry } from '../../shared/piece.ts'
import type { BlobHandle, BlobStore } from '../store/blob-store.ts'

export class WholeRoom {
  readonly #store: BlobStore
  #kept: Promise<BlobHandle> | undefined

  constructor(components: { store: BlobStore }) {
    this.#store = components.store
  }

  /** Settles when there is room; a failure does not stand in the way of another try. @throws PantalaError STORE_FULL | STORE_FAILED */
  async keep(digest: Digest, geometry: Geometry, signal: AbortSignal): Promise<void> {
    this.#kept ??= this.#store.create(digest, geometry, signal)
    await this.#kept.catch(error => {
      this.#kept = undefined
      throw error
    })
  }

  async release(): Promise<void> {
    const kept = await this.#kept?.catch(() => undefined)
    await kept?.close()
  }
}
