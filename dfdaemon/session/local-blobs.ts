// Blobs that are complete on this host, opened without a session: small ones from memory, the others straight from the store.
import type { Logger } from '../../shared/logger.ts'
import { contentOf, type TaskKey } from '../../shared/task-key.ts'
import type { BlobHandle, BlobStore } from '../store/blob-store.ts'
import type { ReadingPlace } from './blob-reader.ts'
import type { OpenBlob } from './blobs.ts'
import type { ReadableBlob } from './readable-blob.ts'
import { KEPT_BLOB_BYTES_MAX, SmallBlobs } from './small-blobs.ts'
import { dropUnreadable, storedPlace } from './stored-place.ts'

export interface LocalBlobsComponents {
  readonly store: BlobStore
  readonly logger: Logger
}

export class LocalBlobs {
  readonly #c: LocalBlobsComponents
  readonly #small = new SmallBlobs()

  constructor(components: LocalBlobsComponents) {
    this.#c = components
  }

  /**
   * Undefined if it is not complete here; `read` makes a reader of one that is not in memory.
   * @throws PantalaError STORE_FAILED, or the signal's reason
   */
  async open(
    key: TaskKey,
    read: (place: ReadingPlace) => OpenBlob,
    signal: AbortSignal,
  ): Promise<OpenBlob | undefined> {
    const kept = this.inMemory(key)
    if (kept !== undefined) return openBytes(kept, 'cache', () => {})
    return this.#openStored(keysFor(key), read, signal)
  }

  /** All bytes of a small blob that was read lately, while the store has it too. */
  inMemory(key: TaskKey): Buffer | undefined {
    for (const each of keysFor(key)) {
      const bytes = this.#small.get(each)
      if (bytes === undefined) continue
      if (this.#c.store.touch(each)) return bytes
      this.#small.forget(each)
    }
    return undefined
  }

  /** For a reader who has begun elsewhere. Undefined if it is not complete here. @throws PantalaError STORE_FAILED, or the signal's reason */
  async openPlace(key: TaskKey, signal: AbortSignal): Promise<ReadingPlace | undefined> {
    const { store } = this.#c
    const handle = store.stat(key)?.complete === true ? await store.open(key, signal) : undefined
    if (handle === undefined || handle.stat.complete) return handle && storedPlace(this.#c, handle)
    await handle.close()
    return undefined
  }

  /** A small blob that just proved right and is read for the first time: it is kept for the next. Undefined if it is not small, or cannot be read. */
  async openFresh(
    key: TaskKey,
    blob: Pick<ReadableBlob, 'geometry' | 'read'>,
    close: () => void,
  ): Promise<OpenBlob | undefined> {
    const { size } = blob.geometry
    if (size > KEPT_BLOB_BYTES_MAX) return undefined
    const bytes = Buffer.allocUnsafeSlow(size)
    try {
      await blob.read(0, bytes)
    } catch {
      // Whoever sends it will meet the same.
      return undefined
    }
    return this.#small.keep(key, bytes) ? openBytes(bytes, 'swarm', close) : undefined
  }

  async #openStored(
    keys: readonly TaskKey[],
    read: (place: ReadingPlace) => OpenBlob,
    signal: AbortSignal,
  ): Promise<OpenBlob | undefined> {
    const { store } = this.#c
    for (const key of keys) {
      if (store.stat(key)?.complete !== true) continue
      const handle = await store.open(key, signal)
      if (handle === undefined) continue
      if (!handle.stat.complete) await handle.close()
      else if (handle.stat.size > KEPT_BLOB_BYTES_MAX) return read(storedPlace(this.#c, handle))
      else {
        const bytes = await this.#readSmall(key, handle)
        if (bytes !== undefined) return openBytes(bytes, 'cache', () => {})
      }
    }
    return undefined
  }

  /** All of a complete blob, kept from here on. Undefined if the disk has spoilt it, or can't give it: then it is not complete any more. */
  async #readSmall(key: TaskKey, handle: BlobHandle): Promise<Buffer | undefined> {
    try {
      const bytes = Buffer.allocUnsafeSlow(handle.stat.size)
      await handle.read(0, bytes)
      if (this.#small.keep(key, bytes)) return bytes
      this.#c.logger.warn({ digest: key }, 'a stored blob is not what it was: it is fetched again')
      for (const piece of [...handle.stat.have.pieces()]) await handle.dropPiece(piece)
      return undefined
    } catch (error) {
      await dropUnreadable(this.#c, handle, { offset: 0, length: handle.stat.size }, error as Error)
      if (handle.stat.complete) throw error
      return undefined
    } finally {
      await handle.close()
    }
  }
}

/** What anyone may have may also be had by who asks under a credential. */
function keysFor(key: TaskKey): readonly TaskKey[] {
  const content = contentOf(key)
  return content === key ? [key] : [key, content]
}

function openBytes(bytes: Buffer, from: OpenBlob['from'], close: () => void): OpenBlob {
  return {
    size: bytes.byteLength,
    from,
    bytes,
    send: (offset, length, take) => take(bytes.subarray(offset, offset + length)),
    close,
  }
}
