// Time as a dependency, so that tests turn the hands: wall clock for people, monotonic for waits.

/** A timer that can be taken back; taking it back twice does no harm. */
export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Wall time, in ms since 1970; only for logs, records and expiry dates. */
  now(): number
  /** Never goes back, in ms from an arbitrary start; for waits and rates. */
  monotonic(): number
  /** Runs `task` once after `delayMs`; the timer does not keep the process alive. */
  after(delayMs: number, task: () => void): Timer
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, task) {
    const timeout = setTimeout(task, delayMs)
    timeout.unref()
    return { cancel: () => clearTimeout(timeout) }
  },
}
