// Small blobs kept in memory once their bytes were checked: whoever reads one again costs no file. Keeps no blob alive: the store says what is held.
import { ByteLru } from '../../shared/byte-lru.ts'
import { digestAlgorithm, digestOf } from '../../shared/digest.ts'
import { contentOf, type TaskKey } from '../../shared/task-key.ts'

/** Blobs up to this many bytes are kept: configs, signatures, attestations, the smallest layers. */
export const KEPT_BLOB_BYTES_MAX = 64 * 1024
/** All of them together, in bytes, and how many. */
const KEPT_BYTES_MAX = 16 * 1024 * 1024
const KEPT_MAX = 16_384

export class SmallBlobs {
  readonly #bytes = new ByteLru<TaskKey, Buffer>({ bytesMax: KEPT_BYTES_MAX, entriesMax: KEPT_MAX })

  /** All bytes of the blob; not to be changed. */
  get(key: TaskKey): Buffer | undefined {
    return this.#bytes.get(key)
  }

  /** Keeps bytes that nobody else will change; false, and nothing is kept, if they are not what the key names. */
  keep(key: TaskKey, bytes: Buffer): boolean {
    const content = contentOf(key)
    if (digestOf(bytes, digestAlgorithm(content)) !== content) return false
    this.#bytes.set(key, bytes, bytes.byteLength)
    return true
  }

  forget(key: TaskKey): void {
    this.#bytes.delete(key)
  }
}
