// Moves blobs between the place of partial ones, the place of complete ones, and nowhere, in an order that no crash can turn into a lie.
import { dirname } from 'node:path'
import { PantalaError } from '../../shared/errors.ts'
import type { Disk } from './disk.ts'
import type { StoreLayout } from './layout.ts'
import type { OpenFiles } from './open-files.ts'
import type { PieceIndex } from './piece-index.ts'
import type { StoredBlob } from './stored-blob.ts'

export interface PlacesComponents {
  readonly disk: Disk
  readonly layout: StoreLayout
  readonly index: PieceIndex
  readonly files: OpenFiles
}

export class BlobPlaces {
  readonly #c: PlacesComponents
  /** Fan-out directories known to be on the disk: 512 at most. */
  readonly #made = new Set<string>()

  constructor(components: PlacesComponents) {
    this.#c = components
  }

  /** Makes a whole blob a complete one: data first, then the record, then the name. On return all three are on the disk. */
  async promote(blob: StoredBlob): Promise<void> {
    const { files, index, layout } = this.#c
    if (blob.doubtful)
      throw new PantalaError('STORE_FAILED', { detail: 'its bytes could not be synced before' })
    if (!blob.have.isFull) return
    const { drops } = blob
    await files.sync(blob.file).catch(error => {
      blob.doubtful = true
      throw error
    })
    // A piece dropped meanwhile may have been written again after the sync passed it.
    if (blob.drops !== drops) return
    blob.trusted = true
    try {
      await index.record([blob], true)
      await this.#makeDir(layout.finalDir(blob.digest))
      await this.#move(blob, layout.finalPath(blob.digest))
    } catch (error) {
      blob.trusted = false
      throw error
    }
    // A piece may have been dropped meanwhile: then the demotion is already asked for.
    if (blob.trusted && !blob.forgotten) blob.complete = true
  }

  /** Takes trust back: in the index first, then the file leaves the place of complete blobs. */
  async demote(blob: StoredBlob): Promise<void> {
    const { index, layout } = this.#c
    await index.record([blob], true)
    await this.#move(blob, layout.partialPath(blob.digest))
  }

  /**
   * Removes record and file. A crash between the two leaves a stray, which the next start looks into. The file goes even if the index takes
   * no more: a full disk must get its room back, and the next start drops a record without a file. Open handles keep the descriptor.
   */
  async remove(blob: StoredBlob): Promise<void> {
    const { disk, files, index } = this.#c
    if (blob.handles > 0) {
      blob.file.unnamed = true
      await Promise.resolve(files.use(blob.file)).then(
        () => files.release(blob.file),
        () => {},
      )
    }
    const forgotten = index.forget([blob.digest])
    await forgotten.catch(() => {})
    await disk.removeFile(blob.file.path)
    if (blob.handles === 0) await files.close(blob.file)
    await forgotten
  }

  /** A directory made now must outlive a power cut as surely as the name in it: once per run, each is synced into the one above. */
  async #makeDir(dir: string): Promise<void> {
    const { disk, layout } = this.#c
    if (dir === layout.dataDir || this.#made.has(dir)) return
    await this.#makeDir(dirname(dir))
    await disk.makeDirectory(dir)
    await disk.syncDirectory(dirname(dir))
    this.#made.add(dir)
  }

  /** Only the new name must be on the disk: an old one that a power cut brings back is known for what it is by the record. */
  async #move(blob: StoredBlob, path: string): Promise<void> {
    const { disk, files } = this.#c
    const { file } = blob
    if (file.path !== path) {
      // Held open, so that no reader looks for it under a name it just lost.
      await files.use(file)
      try {
        await disk.rename(file.path, path)
        file.path = path
      } finally {
        files.release(file)
      }
    }
    await disk.syncDirectory(dirname(path))
  }
}
