// Files in the place of complete blobs that no record vouches for (a lost index, a crash): each is read whole before it counts.
import type { Clock } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import type { Logger } from '../../shared/logger.ts'
import type { Disk } from './disk.ts'
import { readStray, type StrayFile } from './recovery.ts'
import type { StepCounts } from './start-steps.ts'
import type { StoredBlob } from './stored-blob.ts'
import { waitBriefly } from './wait-briefly.ts'

export interface StrayComponents {
  readonly clock: Clock
  readonly disk: Disk
  readonly logger: Logger
  /** Takes a blob whose bytes are right into the store. */
  adopt(blob: StoredBlob): Promise<void>
}

export class StrayFiles {
  readonly #c: StrayComponents
  readonly #files = new Map<Digest, { file: StrayFile; check: Promise<void> | undefined }>()
  readonly #signal: AbortSignal
  /** Of the step that checks all; what was asked for before counts for nothing. */
  #counts: StepCounts = {}

  constructor(components: StrayComponents, init: { signal: AbortSignal }) {
    this.#c = components
    this.#signal = init.signal
  }

  add(files: Iterable<[Digest, StrayFile]>): void {
    for (const [digest, file] of files) this.#files.set(digest, { file, check: undefined })
  }

  /** Undefined if there is no such stray; else settles when it was adopted or removed. */
  settle(digest: Digest): Promise<void> | undefined {
    const stray = this.#files.get(digest)
    if (stray === undefined) return undefined
    stray.check ??= this.#check(digest, stray.file).finally(() => this.#files.delete(digest))
    return stray.check
  }

  /** As `settle`, without waiting longer than the signal lasts. @throws the signal's reason */
  async settleBriefly(digest: Digest, signal: AbortSignal | undefined): Promise<void> {
    const settled = this.settle(digest)
    if (settled !== undefined) await waitBriefly(settled, { clock: this.#c.clock, signal })
  }

  /** Not checked yet. */
  get size(): number {
    return this.#files.size
  }

  /** Checks all, one after another. */
  async settleAll(counts: StepCounts): Promise<void> {
    Object.assign(counts, { files: this.size, read: 0, found: 0, bytes: 0 })
    this.#counts = counts
    for (const digest of [...this.#files.keys()]) {
      if (this.#signal.aborted) break
      await this.settle(digest)
    }
  }

  async #check(digest: Digest, file: StrayFile): Promise<void> {
    const { disk, logger } = this.#c
    try {
      const blob = await readStray(disk, digest, file, this.#signal)
      this.#count('read', 1)
      if (blob === undefined) {
        logger.warn({ digest }, 'a file does not match the digest of its name and is removed')
        await disk.removeFile(file.path)
        return
      }
      await this.#c.adopt(blob)
      this.#count('found', 1)
      this.#count('bytes', blob.size)
    } catch (error) {
      // It stays where it is, unknown until the next start.
      if (!this.#signal.aborted) logger.error({ err: error, digest }, 'a file could not be checked')
    }
  }

  #count(what: string, by: number): void {
    this.#counts[what] = (this.#counts[what] ?? 0) + by
  }
}
