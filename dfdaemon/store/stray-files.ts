// Files in the place of complete blobs that no record vouches for (a lost index, a crash): each is read whole before it counts.
import type { Digest } from '../../shared/digest.ts'
import type { Logger } from '../../shared/logger.ts'
import type { Disk } from './disk.ts'
import { readStray } from './recovery.ts'
import type { StoredBlob } from './stored-blob.ts'

export interface StrayComponents {
  readonly disk: Disk
  readonly logger: Logger
  /** Takes a blob whose bytes are right into the store. */
  adopt(blob: StoredBlob): Promise<void>
}

export class StrayFiles {
  readonly #c: StrayComponents
  readonly #files = new Map<Digest, { path: string; check: Promise<void> | undefined }>()
  readonly #signal: AbortSignal
  #found = 0

  constructor(components: StrayComponents, init: { signal: AbortSignal }) {
    this.#c = components
    this.#signal = init.signal
  }

  add(files: Iterable<[Digest, string]>): void {
    for (const [digest, path] of files) this.#files.set(digest, { path, check: undefined })
  }

  /** Undefined if there is no such stray; else settles when it was adopted or removed. */
  settle(digest: Digest): Promise<void> | undefined {
    const stray = this.#files.get(digest)
    if (stray === undefined) return undefined
    stray.check ??= this.#check(digest, stray.path).finally(() => this.#files.delete(digest))
    return stray.check
  }

  /** Checks all, one after another. Returns how many were right. */
  async settleAll(): Promise<number> {
    for (const digest of [...this.#files.keys()]) {
      if (this.#signal.aborted) break
      await this.settle(digest)
    }
    return this.#found
  }

  async #check(digest: Digest, path: string): Promise<void> {
    const { disk, logger } = this.#c
    try {
      const blob = await readStray(disk, digest, path, this.#signal)
      if (blob === undefined) {
        logger.warn({ digest }, 'a file does not match the digest of its name and is removed')
        await disk.removeFile(path)
        return
      }
      await this.#c.adopt(blob)
      this.#found++
    } catch (error) {
      // It stays where it is, unknown until the next start.
      if (!this.#signal.aborted) logger.error({ err: error, digest }, 'a file could not be checked')
    }
  }
}
