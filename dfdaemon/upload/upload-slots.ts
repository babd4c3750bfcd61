// Decides which children send now: a bounded number of slots, one piece each, handed out in turn; few at first, so that pieces end one after another.
import type { Clock, Timer } from '../../shared/clock.ts'

/** One who sends a piece when its turn comes. */
export interface SlotTaker {
  /** The turn: begins to send and keeps the slot until `release`, or returns false if there is nothing to send after all. Must not throw. */
  takeSlot(): boolean
  /** True if its turn comes before that of all for whom this is false. */
  isAhead(): boolean
}

export interface UploadSlotsInit {
  readonly slots: number
  /** True while those that are ahead are expected to come: the others get one slot at a time until then. */
  readonly isReserved?: () => boolean
}

/**
 * Sends younger than `YOUNG_MS` at the same time. A child can pass a piece on only when it has all of it: sixteen pieces that share an uplink
 * all end late and at once, four at a time leave it as full and give the first children something to trade four times sooner. An older send is
 * slowed by its child or by a slow link, and is no reason to let the others wait.
 */
export const YOUNG_SLOTS = 4
export const YOUNG_MS = 2000
/** While slots are kept for those ahead it is looked this often whether they still are, in ms. */
const RESERVED_LOOK_MS = 100

/** At most `slots` takers at the same time, at most `YOUNG_SLOTS` of them young; of those ahead, or if there are none of all, who waits longest is next. A taker waits, and sends, at most once. */
export class UploadSlots {
  readonly slots: number
  readonly #clock: Clock
  readonly #isReserved: () => boolean
  /** When each began, monotonic ms; oldest first. */
  readonly #busy = new Map<SlotTaker, number>()
  /** Of the busy ones, those that were not ahead. */
  readonly #behind = new Set<SlotTaker>()
  readonly #waiting = new Set<SlotTaker>()
  #aging: Timer | undefined

  constructor(components: { clock: Clock }, init: UploadSlotsInit) {
    const { slots, isReserved = () => false } = init
    if (!Number.isInteger(slots) || slots < 1) throw new TypeError(`${slots} slots`)
    this.#clock = components.clock
    this.slots = slots
    this.#isReserved = isReserved
  }

  get busy(): number {
    return this.#busy.size
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** Sends that could begin at once, while nobody waits. */
  get idle(): number {
    if (this.#waiting.size > 0) return 0
    return Math.max(0, Math.min(this.slots - this.#busy.size, YOUNG_SLOTS - this.#young().length))
  }

  /** Joins the end of the line; the turn may come at once. */
  want(taker: SlotTaker): void {
    if (this.#busy.has(taker)) throw new TypeError('has a slot already')
    this.#waiting.add(taker)
    this.#grant()
  }

  /** Leaves the line; a slot already taken is given back by `release`. */
  leave(taker: SlotTaker): void {
    this.#waiting.delete(taker)
    if (this.#waiting.size === 0) this.#stopAging()
  }

  /** Gives a slot back. */
  release(taker: SlotTaker): void {
    if (!this.#busy.delete(taker)) throw new TypeError('no slot is taken')
    this.#behind.delete(taker)
    this.#grant()
  }

  #grant(): void {
    this.#stopAging()
    while (this.#waiting.size > 0 && this.#busy.size < this.slots) {
      const now = this.#clock.monotonic()
      const young = this.#young()
      if (young.length >= YOUNG_SLOTS) {
        this.#aging = this.#clock.after(young[0]! + YOUNG_MS - now, () => this.#grant())
        return
      }
      const next = this.#next()
      if (next === undefined) {
        this.#aging = this.#clock.after(RESERVED_LOOK_MS, () => this.#grant())
        return
      }
      this.#waiting.delete(next)
      // Counted before the turn, since what the turn does may lead back here.
      this.#busy.set(next, now)
      if (!next.isAhead()) this.#behind.add(next)
      if (next.takeSlot()) continue
      this.#busy.delete(next)
      this.#behind.delete(next)
    }
  }

  /** When each of the young sends began, oldest first. */
  #young(): number[] {
    const now = this.#clock.monotonic()
    return [...this.#busy.values()].filter(since => now - since < YOUNG_MS)
  }

  #next(): SlotTaker | undefined {
    for (const taker of this.#waiting) if (taker.isAhead()) return taker
    if (this.#behind.size > 0 && this.#isReserved()) return undefined
    const [first] = this.#waiting
    return first
  }

  #stopAging(): void {
    this.#aging?.cancel()
    this.#aging = undefined
  }
}
