// Fills the machine's page cache before a run, as it is on one that has been in service: memory that a virtual machine gave back to its host costs up to ten times as much to write to.
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'

const READ_BYTES = 4 * 2 ** 20
const FILLED_BYTES_MAX = 32 * 2 ** 30

export class PageCache {
  readonly #directory: string

  private constructor(directory: string) {
    this.#directory = directory
  }

  static async make(): Promise<PageCache> {
    return new PageCache(await mkdtemp(join(tmpdir(), 'pantala-page-cache-')))
  }

  /** Reads a file of holes as large as the memory, within a bound: clean pages, which give way to whoever needs them, and no byte on the disk. */
  async fill(): Promise<void> {
    const file = await open(join(this.#directory, 'holes'), 'a+')
    try {
      const bytes = Math.min(totalmem(), FILLED_BYTES_MAX)
      await file.truncate(bytes)
      const into = Buffer.allocUnsafeSlow(READ_BYTES)
      for (let at = 0; at < bytes; at += READ_BYTES) await file.read(into, 0, READ_BYTES, at)
    } finally {
      await file.close()
    }
  }

  async remove(): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true })
  }
}
