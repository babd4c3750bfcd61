// Buffers that pieces are read into on their way to children: reused, bounded, let go when unused for a while.
import type { Clock, Timer } from '../../shared/clock.ts'
import { freeBuffer } from '../../shared/free-buffer.ts'

const IDLE_MS = 10_000

/** A pool of equal buffers. It never waits: its takers are bounded by the upload slots, `bufferCountMax` only says how many are kept. */
export class ReadBuffers {
  readonly bufferBytes: number
  readonly #clock: Clock
  readonly #bufferCountMax: number
  readonly #free: Buffer[] = []
  #trim: Timer | undefined

  constructor(components: { clock: Clock }, init: { bufferBytes: number; bufferCountMax: number }) {
    this.#clock = components.clock
    this.bufferBytes = init.bufferBytes
    this.#bufferCountMax = init.bufferCountMax
  }

  get freeCount(): number {
    return this.#free.length
  }

  take(): Buffer {
    // Outside Node's small-buffer pool, so that letting go of one frees its memory.
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.bufferBytes)
  }

  give(buffer: Buffer): void {
    if (this.#free.length >= this.#bufferCountMax) return
    this.#free.push(buffer)
    this.#trim?.cancel()
    this.#trim = this.#clock.after(IDLE_MS, () => {
      for (const unused of this.#free.splice(0)) freeBuffer(unused)
    })
  }
}
