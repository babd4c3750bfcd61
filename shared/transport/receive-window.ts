// How much the other end of a stream may send before it hears from us: a fixed amount, or as much as comes in a moment at the rate of late. No I/O.
import { YAMUX_WINDOW_BYTES } from './lean-yamux-frames.ts'

/** What an ordinary stream may receive unread, in bytes; also its window. */
export const ORDINARY_WINDOW_BYTES = 1024 * 1024

/**
 * A stream whose bytes are taken at once keeps none of them, so its window is there to fill the way between: what comes in so many ms, longer
 * than any round trip in a cluster. What is more waits in the sender's socket, in front of all that it sends to others later, and a
 * piece that is asked of another meanwhile is sent in vain.
 */
export const WINDOW_MS = 200
/** Bounds of such a window, in bytes, and what it is at first. */
export const TAKEN_WINDOW_BYTES_MIN = YAMUX_WINDOW_BYTES
export const TAKEN_WINDOW_BYTES_FIRST = 512 * 1024
export const TAKEN_WINDOW_BYTES_MAX = 16 * 1024 * 1024
/** The rate is that of at least so many ms, since bytes come in bursts. */
const RATE_OVER_MS = 50

export class ReceiveWindow {
  readonly #now: () => number
  /** Bytes the other end may still announce in frames. */
  #open = YAMUX_WINDOW_BYTES
  /** Bytes of frames that began, and that have not come. */
  #owed = 0
  #target = ORDINARY_WINDOW_BYTES
  #followsRate = false
  #rateFrom = 0
  #rateBytes = 0

  /** @param now monotonic ms */
  constructor(now: () => number) {
    this.#now = now
  }

  /** From now on as much as comes in `WINDOW_MS`. */
  followRate(): void {
    this.#followsRate = true
    this.#target = TAKEN_WINDOW_BYTES_FIRST
    this.#rateFrom = this.#now()
  }

  /** A frame of so many bytes begins; false if it is more than the window. */
  spend(bytes: number): boolean {
    if (bytes > this.#open) return false
    this.#open -= bytes
    this.#owed += bytes
    return true
  }

  /** So many bytes of a frame came. */
  noteReceived(bytes: number): void {
    this.#owed -= bytes
    this.#rateBytes += bytes
  }

  /** Opens the window again by what was read, in steps of a quarter: the bytes to tell the other end of, 0 for none. `unread`: bytes that came and wait for a reader. */
  open(unread: number): number {
    let growth = this.#growth(unread)
    if (growth < this.#target / 4) return 0
    if (this.#followsRate) {
      this.#adapt()
      growth = this.#growth(unread)
      if (growth < this.#target / 4) return 0
    }
    this.#open += growth
    return growth
  }

  #growth(unread: number): number {
    return this.#target - this.#open - this.#owed - unread
  }

  #adapt(): void {
    const now = this.#now()
    const overMs = now - this.#rateFrom
    if (overMs < RATE_OVER_MS) return
    const wanted = (this.#rateBytes / overMs) * WINDOW_MS
    this.#target = Math.round(Math.min(TAKEN_WINDOW_BYTES_MAX, Math.max(TAKEN_WINDOW_BYTES_MIN, wanted)))
    this.#rateFrom = now
    this.#rateBytes = 0
  }
}
