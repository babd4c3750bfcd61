// Piece buffers that are used again and again, bounded in bytes; waiting in line when all are out, giving memory back when idle.
import type { Clock, Timer } from '../../shared/clock.ts'
import { freeBuffer } from '../../shared/free-buffer.ts'

/** A buffer on loan; give it back exactly once. */
export interface Loan {
  readonly buffer: Buffer
  giveBack(): void
}

interface Waiter {
  readonly bytes: number
  readonly resolve: (loan: Loan) => void
}

/** Keeps at most `bytesMax` bytes of buffers, lent and idle together; idle ones are let go after `idleMs`. */
export class BufferPool {
  readonly #bytesMax: number
  readonly #idleMs: number
  readonly #clock: Clock
  readonly #idle = new Map<number, Buffer[]>()
  readonly #waiters: Waiter[] = []
  #idleBytes = 0
  #lentBytes = 0
  #idleTimer: Timer | undefined

  constructor(components: { clock: Clock }, init: { bytesMax: number; idleMs?: number }) {
    this.#clock = components.clock
    this.#bytesMax = init.bytesMax
    this.#idleMs = init.idleMs ?? 2000
  }

  get lentBytes(): number {
    return this.#lentBytes
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
      this.#dropIdle(this.#lentBytes + bytes)
      buffer = Buffer.allocUnsafeSlow(bytes)
    } else {
      this.#idleBytes -= bytes
    }
    this.#lentBytes += bytes
    const lent = buffer
    let out = true
    return {
      buffer: lent,
      giveBack: () => {
        if (!out) return
        out = false
        this.#takeBack(lent)
      },
    }
  }

  #takeBack(buffer: Buffer): void {
    const bytes = buffer.byteLength
    this.#lentBytes -= bytes
    const shelf = this.#idle.get(bytes)
    if (shelf === undefined) this.#idle.set(bytes, [buffer])
    else shelf.push(buffer)
    this.#idleBytes += bytes
    this.#serveWaiters()
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

  /** Lets idle buffers go until they fit beside `lentBytes` of lent ones. */
  #dropIdle(lentBytes: number): void {
    for (const [bytes, shelf] of this.#idle) {
      while (shelf.length > 0 && this.#idleBytes + lentBytes > this.#bytesMax) {
        // As garbage it would lie beside what is lent in its stead.
        freeBuffer(shelf.pop()!)
        this.#idleBytes -= bytes
      }
      if (shelf.length === 0) this.#idle.delete(bytes)
    }
  }
}
