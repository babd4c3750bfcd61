// Questions to the supernode that wait for their answer, by id, each with a deadline.
import type { Clock } from '../../shared/clock.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { Registered, Relayed } from '../../shared/protocol/messages.ts'

/** Questions that may wait at a time. */
export const REQUESTS_MAX = 4096

type Answer = Registered | Relayed

interface Pending {
  resolve(answer: Answer): void
  reject(error: Error): void
}

export class PendingRequests {
  readonly #clock: Clock
  readonly #pending = new Map<number, Pending>()
  #nextId = 1

  constructor(components: { clock: Clock }) {
    this.#clock = components.clock
  }

  /** Sends a question by `send` and waits. @throws PantalaError SUPERNODE_AWAY past the deadline, OVERLOADED, or the signal's reason */
  ask(send: (id: number) => boolean, timeoutMs: number, signal: AbortSignal): Promise<Answer> {
    if (this.#pending.size >= REQUESTS_MAX) return Promise.reject(new PantalaError('OVERLOADED'))
    const id = this.#nextId
    this.#nextId = this.#nextId === 0xffff_ffff ? 1 : this.#nextId + 1
    return new Promise((resolve, reject) => {
      const settle = (then: () => void) => {
        this.#pending.delete(id)
        timer.cancel()
        signal.removeEventListener('abort', onAbort)
        then()
      }
      const onAbort = () => settle(() => reject(signal.reason))
      const timer = this.#clock.after(timeoutMs, () =>
        settle(() => reject(new PantalaError('SUPERNODE_AWAY', { detail: `no answer in ${timeoutMs} ms` }))),
      )
      this.#pending.set(id, {
        resolve: answer => settle(() => resolve(answer)),
        reject: error => settle(() => reject(error)),
      })
      signal.addEventListener('abort', onAbort, { once: true })
      if (!send(id)) settle(() => reject(new PantalaError('SUPERNODE_AWAY')))
    })
  }

  resolve(answer: Answer): void {
    this.#pending.get(answer.id)?.resolve(answer)
  }

  reject(id: number, error: Error): void {
    this.#pending.get(id)?.reject(error)
  }

  rejectAll(error: Error): void {
    for (const pending of [...this.#pending.values()]) pending.reject(error)
  }
}
