// Tells of a fresh piece to a few children first and to the rest a little later, so that children get different pieces and trade them
// (after BitTorrent's super-seeding, BEP 16, in a simple and bounded form).
import type { Clock, Timer } from '../../shared/clock.ts'

export interface RevealInit {
  /** Children told at once; with no more than these subscribed, all are. */
  readonly firstChildren: number
  /** The rest is told after this long, in ms; earlier if the piece went out in whole. */
  readonly holdMs: number
  /**
   * For a seed. Given: a piece is dealt to a child that waits for few others, if need be later; and the rest is told only so long after the piece
   * went out, in ms, so that they get it from the child that has it.
   */
  readonly tradeMs?: number
  /** Given: the rest is told no sooner while pieces go out to those told first, until this long after it was dealt, in ms. */
  readonly holdMsMax?: number
}

/** For a seed: each child gets pieces that no other has, so that its uplink sends each piece about once while the children trade. */
export const SEED_REVEAL: RevealInit = { firstChildren: 1, holdMs: 4000, tradeMs: 1000, holdMsMax: 10_000 }

/** Pieces dealt to one child and not sent: enough to keep it busy. More would wait for it while others could pass them on. */
const DEALT_MAX = 4

/**
 * A child that was dealt a piece and for so long asks for none, or takes nothing of what it asked for, does not want it or cannot take it, in ms:
 * it came back with pieces from before, or is frozen. Others need not wait for it.
 */
const IDLE_MS = 1200

/**
 * Of a seed's children that have not heard of a piece so many hear of it first, and twice as many each time `tradeMs` later: told all at once, all
 * whose other parents are busy would ask for what one or two more copies bring to them.
 */
const RELEASED_FIRST = 2

/** What a host has yet to give out for the first time, over all tasks: until then none is offered a second time. */
export class FreshLoad {
  /** Pieces held back that no child has yet. */
  waiting = 0
  /** When a piece last became readable, monotonic ms. */
  freshAt = Number.NEGATIVE_INFINITY

  isBusy(now: number, forMs: number): boolean {
    return this.waiting > 0 || now - this.freshAt < forMs
  }
}

interface Held<Child> {
  /** When it was told to those in `first`, or became readable while there are none, monotonic ms. */
  at: number
  readonly first: Set<Child>
  readonly rest: Set<Child>
  timer: Timer
  idle?: Timer
  sent: boolean
  /** Children told at once when it is released. */
  batch: number
}

/** What is known of a child that was told of pieces before others. */
interface FirstChild {
  /** Pieces told to it first and not sent yet. */
  waiting: number
  /** When it last got a whole piece, monotonic ms. */
  sentAt: number
}

export class PieceReveal<Child> {
  readonly #clock: Clock
  readonly #load: FreshLoad
  readonly #init: RevealInit
  readonly #tell: (piece: number, to: Iterable<Child>) => void
  readonly #isTaking: ((child: Child) => boolean) | undefined
  readonly #held = new Map<number, Held<Child>>()
  /** Held pieces that were told to nobody; only with `tradeMs`. */
  readonly #undealt = new Set<number>()
  /** Only children that are told of held pieces, so bounded by these. */
  readonly #firsts = new Map<Child, FirstChild>()
  /** When a piece last went out, monotonic ms. */
  #sentAt = Number.NEGATIVE_INFINITY
  #turn = 0
  constructor(
    components: {
      clock: Clock
      load?: FreshLoad
      /** True while a child waits for pieces it asked for, and takes what it is sent; absent: nobody can tell. */
      isTaking?: (child: Child) => boolean
    },
    init: RevealInit,
    tell: (piece: number, to: Iterable<Child>) => void,
  ) {
    this.#clock = components.clock
    this.#load = components.load ?? new FreshLoad()
    this.#isTaking = components.isTaking
    this.#init = init
    this.#tell = tell
  }

  /** A piece became readable; `children` are those subscribed, in a steady order. Those come first for whom the fewest wait; among equals in turn. */
  onFresh(piece: number, children: readonly Child[]): void {
    const { firstChildren, holdMs, tradeMs } = this.#init
    if (tradeMs === undefined && children.length <= firstChildren) {
      this.#tell(piece, children)
      return
    }
    const now = this.#clock.monotonic()
    this.#load.freshAt = now
    this.#release(piece)
    const timer = this.#clock.after(holdMs, () => this.#onTime(piece))
    const held = {
      at: now,
      first: new Set<Child>(),
      rest: new Set(children),
      timer,
      sent: false,
      batch: RELEASED_FIRST,
    }
    this.#held.set(piece, held)
    this.#load.waiting++
    const first = this.#chooseFirst(children)
    if (first.length > 0) this.#deal(piece, held, first)
    else this.#undealt.add(piece)
  }

  /**
   * A child came and knows of all pieces but those returned, which are held back for others. It is told of pieces that wait for a child.
   * Without `tradeMs` pieces are held back so shortly that newcomers know of all.
   */
  onNewcomer(child: Child): number[] {
    if (this.#init.tradeMs === undefined) return []
    for (const held of this.#held.values()) held.rest.add(child)
    const withheld = [...this.#held.keys()]
    this.#dealMore(child)
    return withheld
  }

  /** A child has the whole piece now. */
  onSent(piece: number, child?: Child): void {
    this.#sentAt = this.#clock.monotonic()
    const known = child === undefined ? undefined : this.#firsts.get(child)
    if (known !== undefined) known.sentAt = this.#sentAt
    const held = this.#held.get(piece)
    if (held === undefined || held.sent) return
    const { tradeMs } = this.#init
    if (tradeMs === undefined) {
      this.#release(piece)
      return
    }
    held.timer.cancel()
    this.#endWait(piece, held)
    held.timer = this.#clock.after(tradeMs, () => this.#afterTrade(piece))
    for (const first of held.first) this.#dealMore(first)
  }

  /** A child is no more: what it was told first and did not get is dealt to another; what it has is told to the rest soon, whoever else has it by then. */
  onGone(child: Child): void {
    const isFirst = this.#firsts.delete(child)
    for (const [piece, held] of [...this.#held]) {
      held.rest.delete(child)
      if (!isFirst || !held.first.delete(child)) continue
      const { tradeMs } = this.#init
      if (tradeMs === undefined) this.#release(piece)
      else if (held.sent) {
        held.timer.cancel()
        held.timer = this.#clock.after(tradeMs, () => this.#release(piece))
      } else if (held.first.size === 0) {
        this.#undealt.add(piece)
        const next = this.#chooseFirst([...held.rest])
        if (next.length > 0) this.#deal(piece, held, next)
      }
    }
  }

  /** Tells the rest of all that is held back. */
  releaseAll(): void {
    for (const held of this.#held.values()) held.batch = Number.POSITIVE_INFINITY
    for (const piece of [...this.#held.keys()]) this.#release(piece)
  }

  close(): void {
    for (const [piece, held] of this.#held) {
      held.timer.cancel()
      held.idle?.cancel()
      this.#endWait(piece, held)
    }
    this.#held.clear()
    this.#firsts.clear()
  }

  #chooseFirst(children: readonly Child[]): Child[] {
    const { firstChildren, tradeMs } = this.#init
    const start = children.length === 0 ? 0 : this.#turn % children.length
    this.#turn = start + firstChildren
    const waiting = (child: Child) => this.#firsts.get(child)?.waiting ?? 0
    const able = [...children.slice(start), ...children.slice(0, start)].filter(
      child => tradeMs === undefined || waiting(child) < DEALT_MAX,
    )
    return able.toSorted((a, b) => waiting(a) - waiting(b)).slice(0, firstChildren)
  }

  #deal(piece: number, held: Held<Child>, first: readonly Child[]): void {
    this.#undealt.delete(piece)
    held.at = this.#clock.monotonic()
    for (const child of first) {
      held.first.add(child)
      held.rest.delete(child)
      const known = this.#firsts.get(child)
      if (known === undefined) this.#firsts.set(child, { waiting: 1, sentAt: Number.NEGATIVE_INFINITY })
      else known.waiting++
    }
    this.#watchIdle(piece, held)
    this.#tell(piece, first)
  }

  #watchIdle(piece: number, held: Held<Child>): void {
    const isTaking = this.#isTaking
    if (isTaking === undefined || this.#init.tradeMs === undefined) return
    held.idle?.cancel()
    held.idle = this.#clock.after(IDLE_MS, () => {
      if (held.sent || this.#held.get(piece) !== held) return
      if ([...held.first].some(isTaking)) this.#watchIdle(piece, held)
      else if ([...this.#firsts.keys()].some(isTaking)) this.#release(piece)
      else this.releaseAll()
    })
  }

  /** Deals to a child what it has room for. */
  #dealMore(child: Child): void {
    for (const piece of this.#undealt) {
      if ((this.#firsts.get(child)?.waiting ?? 0) >= DEALT_MAX) return
      const held = this.#held.get(piece)!
      if (held.rest.has(child)) this.#deal(piece, held, [child])
    }
  }

  /** While fresh pieces come, or wait to go out once, none is offered a second time. */
  #afterTrade(piece: number): void {
    const held = this.#held.get(piece)
    if (held === undefined) return
    const { tradeMs = 0, holdMsMax = 0 } = this.#init
    const now = this.#clock.monotonic()
    if (this.#load.isBusy(now, tradeMs) && now - held.at < holdMsMax)
      held.timer = this.#clock.after(tradeMs, () => this.#afterTrade(piece))
    else this.#release(piece)
  }

  #onTime(piece: number): void {
    const held = this.#held.get(piece)
    if (held === undefined) return
    const { holdMs, holdMsMax = 0 } = this.#init
    const now = this.#clock.monotonic()
    const goesOn = this.#undealt.has(piece)
      ? now - this.#sentAt < holdMs
      : now - held.at < holdMsMax &&
        [...held.first].some(child => now - (this.#firsts.get(child)?.sentAt ?? 0) < holdMs)
    if (goesOn) held.timer = this.#clock.after(holdMs, () => this.#onTime(piece))
    else this.#release(piece)
  }

  /** Tells those who do not know of it yet: of a seed some first, and more a while later. */
  #release(piece: number): void {
    const held = this.#held.get(piece)
    if (held === undefined) return
    held.timer.cancel()
    held.idle?.cancel()
    this.#endWait(piece, held)
    const { tradeMs } = this.#init
    if (tradeMs === undefined || held.rest.size <= held.batch) {
      this.#held.delete(piece)
      this.#tell(piece, held.rest)
      return
    }
    const start = this.#turn++ % held.rest.size
    const rest = [...held.rest]
    const some = [...rest.slice(start), ...rest.slice(0, start)].slice(0, held.batch)
    for (const child of some) held.rest.delete(child)
    held.batch *= 2
    held.timer = this.#clock.after(tradeMs, () => this.#release(piece))
    this.#tell(piece, some)
  }

  #endWait(piece: number, held: Held<Child>): void {
    if (held.sent) return
    held.sent = true
    this.#undealt.delete(piece)
    this.#load.waiting--
    for (const child of held.first) {
      const known = this.#firsts.get(child)
      if (known !== undefined) known.waiting--
    }
  }
}
