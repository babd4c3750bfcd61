// Sends written bytes on to the disk while more are coming, so that a commit at the end has little left to wait for.
import type { OpenFiles } from './open-files.ts'
import type { StoredBlob } from './stored-blob.ts'

export class WriteBack {
  readonly #files: OpenFiles
  readonly #unsyncedBytesMax: number
  #isRunning = false

  /** `unsyncedBytesMax`: bytes of one blob that may be written before a sync is started, one at a time for the whole store. */
  constructor(components: { files: OpenFiles }, init: { unsyncedBytesMax: number }) {
    this.#files = components.files
    this.#unsyncedBytesMax = init.unsyncedBytesMax
  }

  noteWritten(blob: StoredBlob, bytes: number): void {
    blob.unsyncedBytes += bytes
    if (this.#isRunning || blob.unsyncedBytes < this.#unsyncedBytesMax) return
    this.#isRunning = true
    blob.unsyncedBytes = 0
    this.#files
      .sync(blob.file)
      .catch(() => {
        blob.doubtful = true
      })
      .finally(() => {
        this.#isRunning = false
      })
  }
}
