// Calls children when upload slots are idle, as many as could be served and in turn, so that they ask here for what waits in another parent's line.
import type { Clock, Timer } from '../../shared/clock.ts'

/** A child that can be called. */
export interface Callable {
  /** True while it may lack what is held here, and waits for nothing here. */
  readonly isCallable: boolean
  call(): void
}

/** Idle slots are looked at this often at most, in ms. */
const LOOK_MS = 40
/** A child that was called is called again after this long, in ms; doubled each time it asked for nothing. */
const AGAIN_MS = 160
const AGAIN_MS_MAX = 2560

interface Called {
  readonly at: number
  readonly againMs: number
}

export class IdleCalls {
  readonly #clock: Clock
  readonly #slots: { readonly idle: number }
  readonly #children: ReadonlySet<Callable>
  /** Those that asked for nothing since they were called, the longest ago first. */
  readonly #called = new Map<Callable, Called>()
  #look: Timer | undefined
  #lookAt = 0

  constructor(components: {
    clock: Clock
    slots: { readonly idle: number }
    children: ReadonlySet<Callable>
  }) {
    this.#clock = components.clock
    this.#slots = components.slots
    this.#children = components.children
  }

  /** A slot may be idle. */
  wake(): void {
    this.#arm(LOOK_MS)
  }

  /** The child asks for something, or is gone. */
  forget(child: Callable): void {
    this.#called.delete(child)
  }

  stop(): void {
    this.#look?.cancel()
    this.#look = undefined
  }

  #arm(ms: number): void {
    const at = this.#clock.monotonic() + ms
    if (this.#look !== undefined && this.#lookAt <= at) return
    this.#look?.cancel()
    this.#lookAt = at
    this.#look = this.#clock.after(ms, () => {
      this.#look = undefined
      this.#callSome()
    })
  }

  #callSome(): void {
    let idle = this.#slots.idle
    // The end of a send looks again.
    if (idle === 0) return
    const now = this.#clock.monotonic()
    const callable = [...this.#children].filter(child => child.isCallable)
    const dueIn = (child: Callable): number => {
      const called = this.#called.get(child)
      return called === undefined ? 0 : called.at + called.againMs - now
    }
    const calledAt = (child: Callable) => this.#called.get(child)?.at ?? 0
    for (const child of callable.filter(one => dueIn(one) <= 0).sort((a, b) => calledAt(a) - calledAt(b))) {
      if (idle-- === 0) break
      const againMs = (this.#called.get(child)?.againMs ?? AGAIN_MS / 2) * 2
      this.#called.set(child, { at: now, againMs: Math.min(againMs, AGAIN_MS_MAX) })
      child.call()
    }
    if (callable.length > 0) this.#arm(Math.max(LOOK_MS, Math.min(...callable.map(dueIn))))
  }
}
