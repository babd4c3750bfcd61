// Gathers blobs whose record lags behind and writes them to the index together, so that no piece costs a write of its own.
import type { Clock, Timer } from '../../shared/clock.ts'
import type { Logger } from '../../shared/logger.ts'
import type { PieceIndex } from './piece-index.ts'
import type { StoredBlob } from './stored-blob.ts'

export interface PieceRecorderComponents {
  readonly index: PieceIndex
  readonly clock: Clock
  readonly logger: Logger
}

export class PieceRecorder {
  readonly #c: PieceRecorderComponents
  readonly #flushMs: number
  readonly #behind = new Set<StoredBlob>()
  #timer: Timer | undefined
  #stopped = false

  /** `flushMs`: longest time that a change waits to be recorded. */
  constructor(components: PieceRecorderComponents, init: { flushMs: number }) {
    this.#c = components
    this.#flushMs = init.flushMs
  }

  /** A blob's record is to be written again soon. */
  note(blob: StoredBlob): void {
    if (this.#stopped || blob.forgotten) return
    this.#behind.add(blob)
    this.#timer ??= this.#c.clock.after(this.#flushMs, () => void this.#flush())
  }

  drop(blob: StoredBlob): void {
    this.#behind.delete(blob)
  }

  /** Writes what is behind, and takes no more. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await this.#flush()
  }

  async #flush(): Promise<void> {
    this.#timer = undefined
    const blobs = [...this.#behind]
    this.#behind.clear()
    try {
      await this.#c.index.record(blobs, false)
    } catch (error) {
      this.#c.logger.error({ err: error, blobs: blobs.length }, 'index not written')
      // The pieces are on the disk all the same, and are recorded with the next change.
      for (const blob of blobs) if (!blob.forgotten) this.#behind.add(blob)
    }
  }
}
