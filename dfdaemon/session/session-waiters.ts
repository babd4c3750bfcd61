// Those who wait for a piece, or for the end, of one session; woken in the order they came.

/** A piece by number, any piece at all, or the whole blob checked and committed. */
export type Awaited = number | 'any' | 'whole'

interface Waiter {
  readonly wake: () => void
  readonly fail: (error: Error) => void
}

export class SessionWaiters {
  readonly #byWish = new Map<Awaited, Set<Waiter>>()
  #end: { readonly error: Error | undefined } | undefined

  /** Calls `wake` once when `what` is there, or `fail` once when it never will be; never synchronously. Returns the way to stop. */
  add(what: Awaited, wake: () => void, fail: (error: Error) => void): () => void {
    const waiter = { wake, fail }
    if (this.#end !== undefined) {
      let waiting = true
      const { error } = this.#end
      queueMicrotask(() => {
        if (!waiting) return
        if (error === undefined) wake()
        else fail(error)
      })
      return () => {
        waiting = false
      }
    }
    const others = this.#byWish.get(what)
    if (others === undefined) this.#byWish.set(what, new Set([waiter]))
    else others.add(waiter)
    return () => {
      const left = this.#byWish.get(what)
      left?.delete(waiter)
      if (left?.size === 0) this.#byWish.delete(what)
    }
  }

  /** A piece landed. */
  wake(piece: number): void {
    for (const what of [piece, 'any'] as const) {
      const waiters = this.#byWish.get(what)
      this.#byWish.delete(what)
      for (const waiter of waiters ?? []) waiter.wake()
    }
  }

  complete(): void {
    this.#finish(undefined)
  }

  fail(error: Error): void {
    this.#finish(error)
  }

  #finish(error: Error | undefined): void {
    if (this.#end !== undefined) return
    this.#end = { error }
    const all = [...this.#byWish.values()]
    this.#byWish.clear()
    for (const waiters of all) {
      for (const waiter of waiters) {
        if (error === undefined) waiter.wake()
        else waiter.fail(error)
      }
    }
  }
}
