// Decides which children send now: a fixed number of slots, one piece each, handed out in turn.

/** One who sends a piece when its turn comes. */
export interface SlotTaker {
  /** The turn: begins to send and keeps the slot until `release`, or returns false if there is nothing to send after all. Must not throw. */
  takeSlot(): boolean
}

/** At most `slots` takers at the same time; who waits longest is next. A taker waits at most once. */
export class UploadSlots {
  readonly slots: number
  #busy = 0
  readonly #waiting = new Set<SlotTaker>()

  constructor(slots: number) {
    if (!Number.isInteger(slots) || slots < 1) throw new TypeError(`${slots} slots`)
    this.slots = slots
  }

  get busy(): number {
    return this.#busy
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** Joins the end of the line; the turn may come at once. */
  want(taker: SlotTaker): void {
    this.#waiting.add(taker)
    this.#grant()
  }

  /** Leaves the line; a slot already taken is given back by `release`. */
  leave(taker: SlotTaker): void {
    this.#waiting.delete(taker)
  }

  /** Gives a slot back. */
  release(): void {
    if (this.#busy === 0) throw new TypeError('no slot is taken')
    this.#busy--
    this.#grant()
  }

  #grant(): void {
    while (this.#busy < this.slots) {
      const next = this.#waiting.values().next()
      if (next.done === true) return
      this.#waiting.delete(next.value)
      // Counted before the turn, since the taker may come back into `want` from within it.
      this.#busy++
      if (!next.value.takeSlot()) this.#busy--
    }
  }
}
