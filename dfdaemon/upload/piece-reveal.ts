// Tells of a fresh piece to a few children first and to the rest a little later, so that children get different pieces and trade them
// (after BitTorrent's super-seeding, BEP 16, in a simple and bounded form).
import type { Clock, Timer } from '../../shared/clock.ts'

export interface RevealInit {
  /** Children told at once; with no more than these subscribed, all are. */
  readonly firstChildren: number
  /** The rest is told after this long, in ms; earlier if the piece went out in whole. */
  readonly holdMs: number
  /** Given: the rest is told only so long after the piece went out, in ms, so that they get it from the child that has it. */
  readonly tradeMs?: number
  /** Given: the rest is told no sooner while pieces go out to those told first, until this long, in ms. */
  readonly holdMsMax?: number
}

/** For a seed: each child gets pieces that no other has, so that its uplink sends each piece about once while the children trade. */
export const SEED_REVEAL: RevealInit = { firstChildren: 1, holdMs: 4000, tradeMs: 1000, holdMsMax: 10_000 }

/** What a host has yet to give out for the first time, over all tasks: until then none is offered a second time. */
export class FreshLoad {
  /** Pieces told to a child first and not sent yet. */
  waiting = 0
  /** When a piece last became readable, monotonic ms. */
  freshAt = Number.NEGATIVE_INFINITY

  isBusy(now: number, forMs: number): boolean {
    return this.waiting > 0 || now - this.freshAt < forMs
  }
}

interface Held<Child> {
  readonly at: number
  readonly first: readonly Child[]
  readonly rest: readonly Child[]
  timer: Timer
  sent: boolean
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
  readonly #tell: (piece: number, to: readonly Child[]) => void
  readonly #held = new Map<number, Held<Child>>()
  /** Only children that are told of held pieces, so bounded by these. */
  readonly #firsts = new Map<Child, FirstChild>()
  #turn = 0
  constructor(
    components: { clock: Clock; load?: FreshLoad },
    init: RevealInit,
    tell: (piece: number, to: readonly Child[]) => void,
  ) {
    this.#clock = components.clock
    this.#load = components.load ?? new FreshLoad()
    this.#init = init
    this.#tell = tell
  }

  /** A piece became readable; `children` are those subscribed, in a steady order. Those come first for whom the fewest wait; among equals in turn. */
  onFresh(piece: number, children: readonly Child[]): void {
    const { firstChildren, holdMs } = this.#init
    if (children.length <= firstChildren) {
      this.#tell(piece, children)
      return
    }
    this.#load.freshAt = this.#clock.monotonic()
    const start = this.#turn % children.length
    this.#turn = start + firstChildren
    const inTurn = [...children.slice(start), ...children.slice(0, start)]
    const waiting = (child: Child) => this.#firsts.get(child)?.waiting ?? 0
    const ordered = inTurn.toSorted((a, b) => waiting(a) - waiting(b))
    const first = ordered.slice(0, firstChildren)
    const rest = inTurn.filter(child => !first.includes(child))
    this.#release(piece)
    for (const child of first) {
      const known = this.#firsts.get(child)
      if (known === undefined) this.#firsts.set(child, { waiting: 1, sentAt: Number.NEGATIVE_INFINITY })
      else known.waiting++
    }
    this.#load.waiting += first.length
    const timer = this.#clock.after(holdMs, () => this.#onTime(piece))
    this.#held.set(piece, { at: this.#clock.monotonic(), first, rest, timer, sent: false })
    this.#tell(piece, first)
  }

  /** A child has the whole piece now. */
  onSent(piece: number, child?: Child): void {
    const known = child === undefined ? undefined : this.#firsts.get(child)
    if (known !== undefined) known.sentAt = this.#clock.monotonic()
    const held = this.#held.get(piece)
    if (held === undefined || held.sent) return
    const { tradeMs } = this.#init
    if (tradeMs === undefined) {
      this.#release(piece)
      return
    }
    held.timer.cancel()
    this.#endWait(held)
    held.timer = this.#clock.after(tradeMs, () => this.#afterTrade(piece))
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

  /** A child is no more: what it was told first is told to the rest. */
  onGone(child: Child): void {
    if (!this.#firsts.has(child)) return
    for (const [piece, { first }] of [...this.#held]) if (first.includes(child)) this.#release(piece)
    this.#firsts.delete(child)
  }

  /** Tells the rest of all that is held back. */
  releaseAll(): void {
    for (const piece of [...this.#held.keys()]) this.#release(piece)
  }

  close(): void {
    for (const held of this.#held.values()) {
      held.timer.cancel()
      this.#endWait(held)
    }
    this.#held.clear()
    this.#firsts.clear()
  }

  #onTime(piece: number): void {
    const held = this.#held.get(piece)
    if (held === undefined) return
    const { holdMs, holdMsMax = 0 } = this.#init
    const now = this.#clock.monotonic()
    const goesOn = held.first.some(child => now - (this.#firsts.get(child)?.sentAt ?? 0) < holdMs)
    if (goesOn && now - held.at < holdMsMax) held.timer = this.#clock.after(holdMs, () => this.#onTime(piece))
    else this.#release(piece)
  }

  #release(piece: number): void {
    const held = this.#held.get(piece)
    if (held === undefined) return
    held.timer.cancel()
    this.#held.delete(piece)
    this.#endWait(held)
    this.#tell(piece, held.rest)
  }

  #endWait(held: Held<Child>): void {
    if (held.sent) return
    held.sent = true
    this.#load.waiting -= held.first.length
    for (const child of held.first) {
      const known = this.#firsts.get(child)
      if (known !== undefined) known.waiting--
    }
  }
}
