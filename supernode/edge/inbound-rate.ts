// How much one host may send: a bucket of messages and one of bytes; tells how long to stop reading when either is empty.

/** Messages per second, lasting and at once. */
export const MESSAGES_PER_SEC_MAX = 1000
export const MESSAGES_BURST_MAX = 2000
/** Bytes per second, lasting and at once; the burst is an announce of 20,000 holdings. */
export const BYTES_PER_SEC_MAX = 2 * 1024 * 1024
export const BYTES_BURST_MAX = 8 * 1024 * 1024

export class InboundRate {
  #messages = MESSAGES_BURST_MAX
  #bytes = BYTES_BURST_MAX
  #at: number

  constructor(now: number) {
    this.#at = now
  }

  /** Counts one message; how long to wait before the next is read, in ms, 0 for not at all. */
  take(bytes: number, now: number): number {
    const elapsedSec = Math.max(0, now - this.#at) / 1000
    this.#at = now
    this.#messages = Math.min(MESSAGES_BURST_MAX, this.#messages + elapsedSec * MESSAGES_PER_SEC_MAX) - 1
    this.#bytes = Math.min(BYTES_BURST_MAX, this.#bytes + elapsedSec * BYTES_PER_SEC_MAX) - bytes
    const waitSec = Math.max(-this.#messages / MESSAGES_PER_SEC_MAX, -this.#bytes / BYTES_PER_SEC_MAX)
    return waitSec > 0 ? Math.ceil(waitSec * 1000) : 0
  }
}
