// How long a dial may take: little until the host takes the connection, longer for the handshakes of one that did.
import type { Clock, Timer } from '../../shared/clock.ts'
import { PantalaError } from '../../shared/errors.ts'

export class DialDeadline {
  readonly #clock: Clock
  readonly #beganAt: number
  readonly #openTimeoutMs: number
  readonly #late = new AbortController()
  #timer: Timer
  #isReached = false

  constructor(clock: Clock, init: { readonly dialTimeoutMs: number; readonly openTimeoutMs: number }) {
    this.#clock = clock
    this.#beganAt = clock.monotonic()
    this.#openTimeoutMs = init.openTimeoutMs
    this.#timer = this.#arm(init.dialTimeoutMs)
  }

  get signal(): AbortSignal {
    return this.#late.signal
  }

  get isLate(): boolean {
    return this.#late.signal.aborted
  }

  /** True once the host took the connection. */
  get isReached(): boolean {
    return this.#isReached
  }

  noteReached(): void {
    if (this.#isReached || this.isLate) return
    this.#isReached = true
    this.#timer.cancel()
    this.#timer = this.#arm(Math.max(0, this.#openTimeoutMs - (this.#clock.monotonic() - this.#beganAt)))
  }

  end(): void {
    this.#timer.cancel()
  }

  #arm(ms: number): Timer {
    return this.#clock.after(ms, () =>
      this.#late.abort(new PantalaError('DEADLINE_PASSED', { detail: 'dial' })),
    )
  }
}
