// How a seed gives out fresh pieces: each is dealt to one child, over all tasks no more at a time than the uplink can begin soon, and offered to
// others only when first copies are out and the children have had time to trade.
import type { Clock, Timer } from '../../shared/clock.ts'
import { ChildPaces } from './child-paces.ts'
import type { Reveal } from './piece-reveal.ts'

export interface DealingInit {
  /** When a piece went out, the others hear of it after this long, in ms, so that they get it from the child that has it. */
  readonly tradeMs: number
  /** They hear no sooner while first copies go out, until this long after it went out, or was dealt and did not, in ms. */
  readonly holdMsMax: number
}

export const SEED_DEALING: DealingInit = { tradeMs: 1000, holdMsMax: 10_000 }

/**
 * Pieces dealt and not sent, in all: enough that slots always find one that was asked for. Those beyond wait here rather than in the children's
 * queues, where they would take requests from other parents and go out in no good order.
 */
const DEALT_MAX = 12
/** A piece dealt this long ago and not sent does not count as one of those, in ms: its child is slow, and others need not wait for that. */
const DEALT_AGED_MS = 3000
/** Pieces dealt to one child and not sent. */
const DEALT_CHILD_MAX = 4

/**
 * A child that was dealt a piece and for so long asks for none, or takes nothing of what it asked for, does not want it or cannot take it, in ms:
 * it came back with pieces from before, or is frozen. The piece is dealt to another. On a slow line words wait behind pieces: then it is some times
 * what pieces take.
 */
const IDLE_MS = 1200
const IDLE_TIMES = 3
/** As for `tradeMs`: it is so many times what pieces take, if that is longer. */
const TRADE_TIMES = 2
/** While pieces go out, one that was dealt to nobody waits for a child; this long after the last it is told to all, in ms. */
const UNDEALT_MS = 4000

/**
 * Of the children that have not heard of a piece so many hear of it first, and twice as many each time `tradeMs` later: told all at once, all
 * whose other parents are busy would ask for what one or two more copies bring to them.
 */
const RELEASED_FIRST = 2

/** What a seed has to give out for the first time, over all its tasks. */
export class FirstCopies {
  readonly #clock: Clock
  /** When each dealt piece that was not sent was dealt, monotonic ms, by an object that stands for it; oldest first. */
  readonly #dealt = new Map<object, number>()
  readonly #dealers = new Set<() => boolean>()
  #aging: Timer | undefined
  #waiting = 0
  #freshAt = Number.NEGATIVE_INFINITY
  #sentAt = Number.NEGATIVE_INFINITY

  constructor(components: { clock: Clock }) {
    this.#clock = components.clock
  }

  /** True while first copies wait, or fresh pieces came in the last `forMs`: until then none is offered a second time. */
  isBusy(forMs: number): boolean {
    return this.#waiting > 0 || this.#clock.monotonic() - this.#freshAt < forMs
  }

  /** How long ago a piece last went out, in ms. */
  get idleForMs(): number {
    return this.#clock.monotonic() - this.#sentAt
  }

  noteFresh(): void {
    this.#waiting++
    this.#freshAt = this.#clock.monotonic()
  }

  /** A piece that was fresh is out, or is not held back any more. */
  noteOut(): void {
    this.#waiting--
  }

  noteSent(): void {
    this.#sentAt = this.#clock.monotonic()
  }

  noteDealt(piece: object): void {
    this.#dealt.set(piece, this.#clock.monotonic())
  }

  noteUndealt(piece: object): void {
    this.#dealt.delete(piece)
  }

  /** `dealOne` is called when there is room: it deals one piece, or returns false if it can't. In turn with those of other tasks. */
  addDealer(dealOne: () => boolean): void {
    this.#dealers.add(dealOne)
  }

  removeDealer(dealOne: () => boolean): void {
    this.#dealers.delete(dealOne)
    if (this.#dealers.size === 0) this.#stopAging()
  }

  /** Deals while there is room. */
  deal(): void {
    this.#stopAging()
    let idle = 0
    while (this.#dealers.size > 0 && idle < this.#dealers.size) {
      const now = this.#clock.monotonic()
      const young = [...this.#dealt.values()].filter(at => now - at < DEALT_AGED_MS)
      if (young.length >= DEALT_MAX) {
        this.#aging = this.#clock.after(young[0]! + DEALT_AGED_MS - now, () => this.deal())
        return
      }
      const [dealOne] = this.#dealers
      this.#dealers.delete(dealOne!)
      this.#dealers.add(dealOne!)
      idle = dealOne!() ? 0 : idle + 1
    }
  }

  #stopAging(): void {
    this.#aging?.cancel()
    this.#aging = undefined
  }
}

interface Held<Child> {
  /** When it became readable, was dealt, or went out, whichever was last, monotonic ms. */
  at: number
  /** Whom it was dealt to. */
  first: Child | undefined
  /** Those that have not heard of it. */
  readonly rest: Set<Child>
  timer: Timer
  /** False while no child has it and it is held back. */
  out: boolean
  /** Children told at once when it is released. */
  batch: number
}

export class SeedDealing<Child> implements Reveal<Child> {
  readonly #clock: Clock
  readonly #copies: FirstCopies
  readonly #isTaking: (child: Child) => boolean
  readonly #init: DealingInit
  readonly #tell: (piece: number, to: Iterable<Child>) => void
  readonly #held = new Map<number, Held<Child>>()
  readonly #undealt = new Set<number>()
  /** Pieces dealt and not sent, by child, oldest first. */
  readonly #dealt = new Map<Child, Set<Held<Child>>>()
  /** A slow child is dealt one piece at a time, and what it was dealt is offered to others soon: it will not pass it on soon. */
  readonly #paces = new ChildPaces<Child>()
  #turn = 0

  constructor(
    components: {
      clock: Clock
      copies: FirstCopies
      /** True while a child waits for pieces it asked for, and takes what it is sent. */
      isTaking: (child: Child) => boolean
    },
    init: DealingInit,
    tell: (piece: number, to: Iterable<Child>) => void,
  ) {
    this.#clock = components.clock
    this.#copies = components.copies
    this.#isTaking = components.isTaking
    this.#init = init
    this.#tell = tell
  }

  onFresh(piece: number, children: readonly Child[]): void {
    // A piece that came anew after it was withdrawn.
    this.#forget(piece)
    const held: Held<Child> = {
      at: this.#clock.monotonic(),
      first: undefined,
      rest: new Set(children),
      timer: this.#watch(piece),
      out: false,
      batch: RELEASED_FIRST,
    }
    this.#held.set(piece, held)
    this.#copies.noteFresh()
    this.#addUndealt(piece)
    this.#copies.deal()
  }

  onNewcomer(child: Child): number[] {
    const withheld = [...this.#held.keys()]
    for (const held of this.#held.values()) held.rest.add(child)
    this.#copies.deal()
    return withheld
  }

  onSent(piece: number): void {
    this.#copies.noteSent()
    const held = this.#held.get(piece)
    if (held !== undefined && !held.out) {
      const { first } = held
      if (first !== undefined) this.#paces.note(first, this.#clock.monotonic() - held.at)
      this.#setOut(piece, held)
      if (first !== undefined && this.#isSlow(first)) this.#release(piece)
      else held.timer = this.#clock.after(this.#tradeMs, () => this.#afterTrade(piece))
    }
    this.#copies.deal()
  }

  /** What it was dealt and did not get is dealt to another; what it has is told to the rest soon, whoever else has it by then. */
  onGone(child: Child): void {
    this.#paces.forget(child)
    for (const [piece, held] of this.#held) {
      held.rest.delete(child)
      if (held.first !== child) continue
      if (held.out) {
        held.first = undefined
        held.timer.cancel()
        held.timer = this.#clock.after(this.#tradeMs, () => this.#release(piece))
      } else this.#takeBack(piece, held)
    }
    this.#copies.deal()
  }

  isFirstCopy(piece: number, child: Child): boolean {
    const held = this.#held.get(piece)
    return held !== undefined && !held.out && held.first === child
  }

  releaseAll(): void {
    for (const held of this.#held.values()) held.batch = Number.POSITIVE_INFINITY
    for (const piece of [...this.#held.keys()]) this.#release(piece)
  }

  close(): void {
    for (const piece of [...this.#held.keys()]) this.#forget(piece)
    this.#copies.deal()
  }

  // ---- dealing ----

  readonly #dealOne = (): boolean => {
    for (const piece of this.#undealt) {
      const held = this.#held.get(piece)!
      const child = this.#choose(held.rest)
      if (child === undefined) continue
      this.#removeUndealt(piece)
      held.at = this.#clock.monotonic()
      held.first = child
      held.rest.delete(child)
      const dealt = this.#dealt.get(child) ?? new Set()
      this.#dealt.set(child, dealt.add(held))
      this.#copies.noteDealt(held)
      held.timer.cancel()
      held.timer = this.#watch(piece)
      this.#tell(piece, [child])
      return true
    }
    return false
  }

  /** The child for which the fewest pieces wait, among equals in turn. */
  #choose(children: ReadonlySet<Child>): Child | undefined {
    const start = children.size === 0 ? 0 : this.#turn % children.size
    let [best, bestWaiting, bestAt] = [undefined as Child | undefined, DEALT_CHILD_MAX, 0]
    let at = 0
    for (const child of children) {
      const waiting = this.#dealt.get(child)?.size ?? 0
      const turn = (at++ - start + children.size) % children.size
      if (waiting > bestWaiting || waiting >= DEALT_CHILD_MAX) continue
      if (waiting > 0 && this.#isSlow(child)) continue
      if (best !== undefined && waiting === bestWaiting && turn > bestAt) continue
      ;[best, bestWaiting, bestAt] = [child, waiting, turn]
    }
    if (best !== undefined) this.#turn = start + bestAt + 1
    return best
  }

  /** The piece is nobody's; the child that had it keeps the word of it. */
  #takeBack(piece: number, held: Held<Child>): void {
    this.#endDeal(held)
    held.first = undefined
    this.#addUndealt(piece)
  }

  #addUndealt(piece: number): void {
    this.#undealt.add(piece)
    this.#copies.addDealer(this.#dealOne)
  }

  #removeUndealt(piece: number): void {
    this.#undealt.delete(piece)
    if (this.#undealt.size === 0) this.#copies.removeDealer(this.#dealOne)
  }

  #endDeal(held: Held<Child>): void {
    if (held.out || held.first === undefined) return
    this.#copies.noteUndealt(held)
    const dealt = this.#dealt.get(held.first)
    dealt?.delete(held)
    if (dealt?.size === 0) this.#dealt.delete(held.first)
  }

  #isSlow(child: Child): boolean {
    const [oldest] = this.#dealt.get(child) ?? []
    return this.#paces.isSlow(child, oldest === undefined ? 0 : this.#clock.monotonic() - oldest.at)
  }

  get #tradeMs(): number {
    return Math.max(this.#init.tradeMs, TRADE_TIMES * this.#paces.usualMs)
  }

  // ---- time ----

  /** Looks after a piece that no child has yet. */
  #watch(piece: number): Timer {
    return this.#clock.after(Math.max(IDLE_MS, IDLE_TIMES * this.#paces.usualMs), () => {
      const held = this.#held.get(piece)
      if (held === undefined || held.out) return
      held.timer = this.#watch(piece)
      if (held.first === undefined) {
        if (this.#copies.idleForMs >= UNDEALT_MS && this.#clock.monotonic() - held.at >= UNDEALT_MS)
          this.#release(piece)
      } else if (this.#isTaking(held.first)) {
        if (this.#isSlow(held.first)) {
          this.#paces.note(held.first, this.#clock.monotonic() - held.at)
          this.#release(piece)
        } else if (this.#clock.monotonic() - held.at >= this.#init.holdMsMax) this.#release(piece)
      } else if (
        this.#copies.idleForMs < UNDEALT_MS ||
        [...this.#dealt.keys(), ...held.rest].some(this.#isTaking)
      ) {
        this.#takeBack(piece, held)
        this.#copies.deal()
      } else this.releaseAll()
    })
  }

  /** While first copies go out none is offered a second time. */
  #afterTrade(piece: number): void {
    const held = this.#held.get(piece)
    if (held === undefined) return
    const { holdMsMax } = this.#init
    const tradeMs = this.#tradeMs
    if (this.#copies.isBusy(tradeMs) && this.#clock.monotonic() - held.at < holdMsMax)
      held.timer = this.#clock.after(tradeMs, () => this.#afterTrade(piece))
    else this.#release(piece)
  }

  /** Tells some of those who do not know of it yet, and more a while later. */
  #release(piece: number): void {
    const held = this.#held.get(piece)
    if (held === undefined) return
    this.#setOut(piece, held)
    if (held.rest.size <= held.batch) {
      this.#held.delete(piece)
      this.#tell(piece, held.rest)
      return
    }
    const start = this.#turn++ % held.rest.size
    const rest = [...held.rest]
    const some = [...rest.slice(start), ...rest.slice(0, start)].slice(0, held.batch)
    for (const child of some) held.rest.delete(child)
    held.batch *= 2
    held.timer = this.#clock.after(this.#tradeMs, () => this.#release(piece))
    this.#tell(piece, some)
  }

  /** It went out, or is offered to all from now on. */
  #setOut(piece: number, held: Held<Child>): void {
    held.timer.cancel()
    if (held.out) return
    this.#endDeal(held)
    this.#removeUndealt(piece)
    held.at = this.#clock.monotonic()
    held.out = true
    this.#copies.noteOut()
  }

  #forget(piece: number): void {
    const held = this.#held.get(piece)
    if (held === undefined) return
    this.#setOut(piece, held)
    this.#held.delete(piece)
  }
}
