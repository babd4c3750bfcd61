// Lets a bounded number of tasks run at once; the others wait in order, a bounded number of them too.
import { PantalaError } from '../../shared/errors.ts'

export class Gate {
  readonly #runningMax: number
  readonly #waitingMax: number
  readonly #waiting: Array<() => void> = []
  #running = 0

  constructor(limits: { runningMax: number; waitingMax: number }) {
    this.#runningMax = limits.runningMax
    this.#waitingMax = limits.waitingMax
  }

  /** @throws PantalaError OVERLOADED, or what `task` throws */
  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#runningMax) {
      if (this.#waiting.length >= this.#waitingMax) throw new PantalaError('OVERLOADED')
      // Who leaves passes the place on, so the count does not change.
      await new Promise<void>(resolve => this.#waiting.push(resolve))
    } else this.#running++
    try {
      return await task()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#running--
      else next()
    }
  }
}
