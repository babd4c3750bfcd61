// Opens a blob in the store, and keeps room for all of it once a reader of the whole comes, where it was not kept from the start.
import { abortable } from '../../shared/abortable.ts'
import type { Digest } from '../../shared/digest.ts'
import type { Geometry } from '../../shared/piece.ts'
import type { BlobHandle, BlobStore, KeptRoom } from '../store/blob-store.ts'

/** As `create`, waiting no longer than the signal lasts. @throws PantalaError STORE_FULL | STORE_FAILED, or the signal's reason */
export async function createBlob(
  store: BlobStore,
  { digest, geometry, room }: { digest: Digest; geometry: Geometry; room: KeptRoom | undefined },
  signal: AbortSignal,
): Promise<BlobHandle> {
  const creating = store.create(digest, geometry, signal, room)
  return abortable(creating, signal).catch(error => {
    creating.then(handle => handle.close()).catch(() => {})
    throw error
  })
}

export class WholeRoom {
  readonly #store: BlobStore
  #kept: Promise<BlobHandle> | undefined

  constructor(components: { store: BlobStore }) {
    this.#store = components.store
  }

  /** Settles when there is room; a failure does not stand in the way of another try. @throws PantalaError STORE_FULL | STORE_FAILED */
  async keep(digest: Digest, geometry: Geometry, signal: AbortSignal): Promise<void> {
    this.#kept ??= this.#store.create(digest, geometry, signal)
    const kept = this.#kept
    kept.catch(() => {
      if (this.#kept === kept) this.#kept = undefined
    })
    await abortable(kept, signal)
  }

  async release(): Promise<void> {
    const kept = await this.#kept?.catch(() => undefined)
    await kept?.close()
  }
}
