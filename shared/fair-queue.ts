// Those that wait for a place: first come, first served within a line, and the lines in turns; bounded in number and in time.
import type { Clock, Timer } from './clock.ts'
import { PantalaError } from './errors.ts'

export interface FairQueueInit {
  readonly waitingMax: number
  readonly waitMsMax: number
  /** What is waited for, as errors say it. */
  readonly what: string
}

interface Waiter {
  readonly line: string
  /** Takes the place; false if it could not be used. */
  take(): boolean
  fail(error: Error): void
}

export class FairQueue {
  readonly #clock: Clock
  readonly #init: FairQueueInit
  /** The line whose turn it is comes first. */
  readonly #lines = new Map<string, Set<Waiter>>()
  #waiting = 0

  constructor(components: { readonly clock: Clock }, init: FairQueueInit) {
    this.#clock = components.clock
    this.#init = init
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting
  }

  /**
   * Waits at the end of `line`. Once a place is free, `take` is called at once, in the call of `next`, and what it gives or throws is the outcome.
   * @throws PantalaError OVERLOADED when too many wait, or it takes too long; or the signal's reason
   */
  wait<T>(line: string, take: () => T | Promise<T>, signal: AbortSignal): Promise<T> {
    if (signal.aborted) return Promise.reject(signal.reason)
    const { waitingMax, waitMsMax, what } = this.#init
    if (this.#waiting >= waitingMax)
      return Promise.reject(new PantalaError('OVERLOADED', { detail: `${waitingMax} wait for ${what}` }))
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        timer.cancel()
        signal.removeEventListener('abort', onAbort)
        this.#remove(waiter)
      }
      const waiter: Waiter = {
        line,
        take: () => {
          leave()
          try {
            resolve(take())
            return true
          } catch (error) {
            reject(error)
            return false
          }
        },
        fail: error => {
          leave()
          reject(error)
        },
      }
      const onAbort = (): void => waiter.fail(signal.reason)
      const timer: Timer = this.#clock.after(waitMsMax, () =>
        waiter.fail(new PantalaError('OVERLOADED', { detail: `${waitMsMax} ms without ${what}` })),
      )
      signal.addEventListener('abort', onAbort, { once: true })
      this.#add(waiter)
    })
  }

  /** Gives a place to the one whose turn it is; false if nobody took it. */
  next(): boolean {
    for (;;) {
      const [first] = this.#lines
      if (first === undefined) return false
      const [line, waiters] = first
      const [waiter] = waiters
      // Its turn comes again after all others.
      this.#lines.delete(line)
      this.#lines.set(line, waiters)
      if (waiter!.take()) return true
    }
  }

  /** All that wait fail. */
  rejectAll(error: Error): void {
    for (const waiters of [...this.#lines.values()]) for (const waiter of [...waiters]) waiter.fail(error)
  }

  #add(waiter: Waiter): void {
    const waiters = this.#lines.get(waiter.line)
    if (waiters === undefined) this.#lines.set(waiter.line, new Set([waiter]))
    else waiters.add(waiter)
    this.#waiting++
  }

  #remove(waiter: Waiter): void {
    const waiters = this.#lines.get(waiter.line)
    if (waiters?.delete(waiter) !== true) return
    this.#waiting--
    if (waiters.size === 0) this.#lines.delete(waiter.line)
  }
}
