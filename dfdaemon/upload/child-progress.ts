// When a child last got on: how long nothing was given to it, and whether that is long for its line.
import type { Clock } from '../../shared/clock.ts'

/** A child that takes nothing of what it is sent for so long, and so many times what it took for a part of late, stands still, in ms. */
const STANDSTILL_MS = 700
const STANDSTILL_TIMES = 4
/** What it is told may wait behind what it was given in the last so many ms. */
const GIVEN_MS = 2500

export class ChildProgress {
  readonly #clock: Clock
  /** When a part of a piece last left for the child or it last had nothing to wait for, monotonic ms. */
  #at: number
  /** What it takes for a part of late, in ms. */
  #partMs = 0
  #givenAt = Number.NEGATIVE_INFINITY

  constructor(components: { readonly clock: Clock }) {
    this.#clock = components.clock
    this.#at = components.clock.monotonic()
  }

  /** It has nothing to wait for. */
  noteIdle(): void {
    this.#at = this.#clock.monotonic()
  }

  /** A part of a piece left for it. */
  noteGiven(): void {
    const now = this.#clock.monotonic()
    this.#partMs += (now - this.#at - this.#partMs) / 4
    this.#at = now
    this.#givenAt = now
  }

  /** How long nothing was given to it while it waited, in ms. */
  get quietMs(): number {
    return this.#clock.monotonic() - this.#at
  }

  /** True if it takes nothing for longer than its line explains. */
  get isStill(): boolean {
    return this.quietMs > Math.max(STANDSTILL_MS, STANDSTILL_TIMES * this.#partMs)
  }

  /** True if a word to it may still be on its way, behind pieces. */
  get wasGivenLately(): boolean {
    return this.#clock.monotonic() - this.#givenAt < GIVEN_MS
  }
}
