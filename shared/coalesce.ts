// Joins callers that ask the same thing at the same time: the work runs once, and stops when the last of them has gone.
import { PantalaError } from './errors.ts'

interface Shared {
  readonly result: Promise<unknown>
  readonly controller: AbortController
  callers: number
}

export class Coalescer {
  readonly #running = new Map<string, Shared>()
  readonly #distinctMax: number

  constructor(limits: { distinctMax: number }) {
    this.#distinctMax = limits.distinctMax
  }

  get size(): number {
    return this.#running.size
  }

  /** @throws PantalaError OVERLOADED if too many different things run, the work's error, or the signal's reason */
  async join<T>(key: string, work: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted()
    let shared = this.#running.get(key)
    if (shared === undefined) {
      if (this.#running.size >= this.#distinctMax)
        throw new PantalaError('OVERLOADED', { detail: `${this.#distinctMax} source requests are waiting` })
      const controller = new AbortController()
      const started: Shared = { result: work(controller.signal), controller, callers: 0 }
      const forget = () => {
        if (this.#running.get(key) === started) this.#running.delete(key)
      }
      started.result.then(forget, forget)
      this.#running.set(key, started)
      shared = started
    }
    shared.callers++
    try {
      return (await raceAbort(shared.result, signal)) as T
    } finally {
      if (--shared.callers === 0 && this.#running.get(key) === shared) {
        // Nobody waits for it any more; the next to ask starts anew.
        this.#running.delete(key)
        shared.controller.abort(new PantalaError('DEADLINE_PASSED', { detail: 'nobody waits for it' }))
      }
    }
  }
}

function raceAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
