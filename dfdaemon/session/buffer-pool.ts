// Piece buffers that are used again and again, bounded in bytes; waiting in line when all are out, giving memory back when idle.
import type { Clock, Timer } from '../../shared/clock.ts'
import { freeBuffer } from '../../shared/free-buffer.ts'

/** Piece buffers on loan at the same time, all sessions together, in bytes. */
const PIECE_BUFFER_BYTES_MAX = 40 * 1024 * 1024
/** Those kept beside them, for digests and readers. */
const KEPT_PIECE_BYTES_MAX = 24 * 1024 * 1024
/** A host's piece buffers. */
export const PIECE_BUFFERS = { bytesMax: PIECE_BUFFER_BYTES_MAX, keptBytesMax: KEPT_PIECE_BYTES_MAX }

/** A buffer on loan; give it back exactly once. */
export interface Loan {
  readonly buffer: Buffer
  giveBack(): void
  /**
   * Keeps what is in the buffer, also after it was given back, until the answer is called, once; undefined where no more is to be kept. What is kept
   * does not count as lent.
   */
  keep(): (() => void) | undefined
}

interface Waiter {
  readonly bytes: number
  readonly resolve: (loan: Loan) => void
}

/** Lends at most `bytesMax` bytes of buffers, and keeps `keptBytesMax` besides; idle ones fill what is left of both, and are let go after `idleMs`. */
export class BufferPool {
  readonly #bytesMax: number
  readonly #keptBytesMax: number
  readonly #idleMs: number
  readonly #clock: Clock
  readonly #idle = new Map<number, Buffer[]>()
  readonly #waiters: Waiter[] = []
  #idleBytes = 0
  #lentBytes = 0
  #keptBytes = 0
  #idleTimer: Timer | undefined

  constructor(
    components: { clock: Clock },
    init: { bytesMax: number; keptBytesMax?: number; idleMs?: number },
  ) {
    this.#clock = components.clock
    this.#bytesMax = init.bytesMax
    this.#keptBytesMax = init.keptBytesMax ?? 0
    this.#idleMs = init.idleMs ?? 2000
  }

  get lentBytes(): number {
    return this.#lentBytes
  }

  get keptBytes(): number {
    return this.#keptBytes
  }

  /** How many buffers of `bytes` could be lent now. One is always possible while nothing is lent, however large. */
  roomFor(bytes: number): number {
    if (this.#waiters.length > 0) return 0
    const fit = Math.floor((this.#bytesMax - this.#lentBytes) / bytes)
    return this.#lentBytes === 0 ? Math.max(1, fit) : Math.max(0, fit)
  }

  /** Lends a buffer now, or undefined if the bound is reached. */
  tryLend(bytes: number): Loan | undefined {
    if (this.roomFor(bytes) === 0) return undefined
    return this.#lend(bytes)
  }

  /** Lends a buffer, waiting in line for it. The line is as long as there are callers; each session has a bounded number of them. */
  lend(bytes: number, signal: AbortSignal): Promise<Loan> {
    const loan = this.tryLend(bytes)
    if (loan !== undefined) return Promise.resolve(loan)
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        bytes,
        resolve: granted => {
          signal.removeEventListener('abort', onAbort)
          resolve(granted)
        },
      }
      const onAbort = (): void => {
        const index = this.#waiters.indexOf(waiter)
        if (index >= 0) this.#waiters.splice(index, 1)
        reject(signal.reason)
        this.#serveWaiters()
      }
      if (signal.aborted) {
        reject(signal.reason)
        return
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiters.push(waiter)
    })
  }

  #lend(bytes: number): Loan {
    const shelf = this.#idle.get(bytes)
    let buffer = shelf?.pop()
    if (buffer === undefined) {
      this.#dropIdle(bytes)
      buffer = Buffer.allocUnsafeSlow(bytes)
    } else {
      this.#idleBytes -= bytes
    }
    this.#lentBytes += bytes
    const lent = buffer
    let isOut = true
    let keepers = 0
    return {
      buffer: lent,
      giveBack: () => {
        if (!isOut) return
        isOut = false
        this.#lentBytes -= bytes
        if (keepers === 0) this.#shelve(lent)
        this.#serveWaiters()
      },
      keep: () => {
        if (this.#keptBytes + bytes > this.#keptBytesMax) return undefined
        this.#keptBytes += bytes
        keepers++
        let isKept = true
        return () => {
          if (!isKept) return
          isKept = false
          this.#keptBytes -= bytes
          keepers--
          if (keepers === 0 && !isOut) this.#shelve(lent)
        }
      },
    }
  }

  #shelve(buffer: Buffer): void {
    const bytes = buffer.byteLength
    const shelf = this.#idle.get(bytes)
    if (shelf === undefined) this.#idle.set(bytes, [buffer])
    else shelf.push(buffer)
    this.#idleBytes += bytes
    this.#dropIdle(0)
    this.#idleTimer?.cancel()
    this.#idleTimer = this.#clock.after(this.#idleMs, () => this.#dropIdle(Number.POSITIVE_INFINITY))
  }

  #serveWaiters(): void {
    while (this.#waiters.length > 0) {
      const next = this.#waiters[0]!
      if (this.#lentBytes > 0 && this.#lentBytes + next.bytes > this.#bytesMax) return
      this.#waiters.shift()
      next.resolve(this.#lend(next.bytes))
    }
  }

  /** Lets idle buffers go until so many bytes more fit beside them, those lent and those kept. */
  #dropIdle(bytes: number): void {
    const bytesMax = this.#bytesMax + this.#keptBytesMax
    for (const [size, shelf] of this.#idle) {
      while (shelf.length > 0 && this.#idleBytes + this.#lentBytes + this.#keptBytes + bytes > bytesMax) {
        // As garbage it would lie beside what is lent in its stead.
        freeBuffer(shelf.pop()!)
        this.#idleBytes -= size
      }
      if (shelf.length === 0) this.#idle.delete(size)
    }
  }
}
