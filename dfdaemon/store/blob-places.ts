// Moves blobs between the place of partial ones, the place of complete ones, and nowhere, in an order that no crash can turn into a lie.
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

  constructor(components: PlacesComponents) {
    this.#c = components
  }

  /** Makes a whole blob a complete one: data first, then the record, then the name. On return all three are on the disk. */
  async promote(blob: StoredBlob): Promise<void> {
    const { disk, files, index, layout } = this.#c
    const fd = await files.use(blob.file)
    try {
      await disk.sync(fd)
    } finally {
      files.release(blob.file)
    }
    blob.complete = true
    try {
      await index.record([blob], true)
      await disk.makeDirectory(layout.finalDir(blob.digest))
      await this.#move(blob, layout.finalPath(blob.digest))
    } catch (error) {
      blob.complete = false
      throw error
    }
  }

  /** Takes trust back: in the index first, then the file leaves the place of complete blobs. */
  async demote(blob: StoredBlob, wasComplete: boolean): Promise<void> {
    const { index, layout } = this.#c
    await index.record([blob], wasComplete)
    if (wasComplete) await this.#move(blob, layout.partialPath(blob.digest))
  }

  /** Removes record, then file: what has no record is a stray that the next start removes. Open handles keep the descriptor. */
  async remove(blob: StoredBlob): Promise<void> {
    const { disk, files, index } = this.#c
    if (blob.handles > 0) {
      await files.use(blob.file)
      blob.file.unnamed = true
      files.release(blob.file)
    }
    await index.forget([blob.digest])
    await disk.removeFile(blob.file.path)
    if (blob.handles === 0) await files.close(blob.file)
  }

  async #move(blob: StoredBlob, path: string): Promise<void> {
    const { disk, layout } = this.#c
    if (blob.file.path === path) return
    await disk.rename(blob.file.path, path)
    blob.file.path = path
    await disk.syncDirectory(layout.finalDir(blob.digest))
    await disk.syncDirectory(layout.partialDir)
  }
}
