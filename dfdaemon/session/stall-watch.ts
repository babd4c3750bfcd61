// Notices when a session makes no progress, sooner when it is on its own; looks at a fixed interval, decides nothing else.
import type { Clock, Timer } from '../../shared/clock.ts'

/** How often a session looks whether it still makes progress, in ms. */
const WATCH_INTERVAL_MS = 250

/** No progress for this long is a stall, in ms: soon when no supernode helps; late when one does, since it watches the whole swarm. */
const STALL_ALONE_MS = 1000
const STALL_HELPED_MS = 30_000
/** With a supernode's help, no progress for this long is worth a look whether it is still there, in ms; again after as long. */
const QUIET_MS = 1000

export interface StallWatchInit {
  /** True while nobody but the source is left to help. */
  isAlone(): boolean
  onTick(): void
  onStall(): void
  /** Nothing landed for a while, though a supernode helps. */
  onQuiet(): void
}

export class StallWatch {
  readonly #clock: Clock
  readonly #init: StallWatchInit
  #progressAtMs: number
  #quietAtMs: number
  #timer: Timer | undefined

  constructor(components: { clock: Clock }, init: StallWatchInit) {
    this.#clock = components.clock
    this.#init = init
    this.#progressAtMs = components.clock.monotonic()
    this.#quietAtMs = this.#progressAtMs
  }

  start(): void {
    this.noteProgress()
    this.#schedule()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  noteProgress(): void {
    this.#progressAtMs = this.#clock.monotonic()
  }

  #noteQuiet(): void {
    const now = this.#clock.monotonic()
    if (this.#init.isAlone() || now - Math.max(this.#progressAtMs, this.#quietAtMs) < QUIET_MS) return
    this.#quietAtMs = now
    this.#init.onQuiet()
  }

  #schedule(): void {
    this.#timer = this.#clock.after(WATCH_INTERVAL_MS, () => {
      this.#schedule()
      this.#init.onTick()
      this.#noteQuiet()
      const stallMs = this.#init.isAlone() ? STALL_ALONE_MS : STALL_HELPED_MS
      if (this.#clock.monotonic() - this.#progressAtMs < stallMs) return
      this.noteProgress()
      this.#init.onStall()
    })
  }
}
