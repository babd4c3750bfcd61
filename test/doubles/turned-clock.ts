// A clock that stands still until it is turned: wall and monotonic time are the same number, timers come due as it passes them.
import type { Clock, Timer } from '../../shared/clock.ts'

export class TurnedClock implements Clock {
  /** Both times, in ms; setting it passes over timers without their coming due. */
  ms: number
  readonly #timers = new Set<{ readonly at: number; readonly task: () => void }>()

  constructor(ms = 0) {
    this.ms = ms
  }

  /** Timers that are set. */
  get timers(): number {
    return this.#timers.size
  }

  now(): number {
    return this.ms
  }

  monotonic(): number {
    return this.ms
  }

  after(delayMs: number, task: () => void): Timer {
    const timer = { at: this.ms + delayMs, task }
    this.#timers.add(timer)
    return { cancel: () => void this.#timers.delete(timer) }
  }

  /** Lets time pass; what comes due meanwhile runs in its turn, also what is set by it. */
  advance(ms: number): void {
    const end = this.ms + ms
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (due === undefined) break
      this.#timers.delete(due)
      this.ms = Math.max(this.ms, due.at)
      due.task()
    }
    this.ms = end
  }
}
