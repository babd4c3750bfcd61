// Tells of a fresh piece to a few children first and to the rest a little later, so that children get different pieces and trade them
// (after BitTorrent's super-seeding, BEP 16, in a simple and bounded form). A seed deals its pieces instead (seed-dealing.ts).
import type { Clock, Timer } from '../../shared/clock.ts'

/** Decides which children hear of a fresh piece, and when; each child hears of each piece once. */
export interface Reveal<Child> {
  /** A piece became readable; `children` are those subscribed, in a steady order. */
  onFresh(piece: number, children: readonly Child[]): void
  /** A child came and knows of all pieces but those returned, of which it hears later. */
  onNewcomer(child: Child): number[]
  /** A child has the whole piece now. */
  onSent(piece: number, child: Child): void
  onGone(child: Child): void
  /** True if the piece is to go to this child before any other has it, so that its turn comes before those of second copies. */
  isFirstCopy(piece: number, child: Child): boolean
  /** Tells the rest of all that is held back. */
  releaseAll(): void
  close(): void
}

export interface FewFirstInit {
  /** Children told at once; with no more than these subscribed, all are. */
  readonly firstChildren: number
  /** The rest is told after this long, in ms; earlier if the piece went out in whole. */
  readonly holdMs: number
}

interface Held<Child> {
  readonly rest: Set<Child>
  readonly timer: Timer
}

/** For a host: pieces are held back so shortly that newcomers hear of all, and that second copies wait for nobody. */
export class FewFirst<Child> implements Reveal<Child> {
  readonly #clock: Clock
  readonly #init: FewFirstInit
  readonly #tell: (piece: number, to: Iterable<Child>) => void
  readonly #held = new Map<number, Held<Child>>()
  #turn = 0

  constructor(
    components: { clock: Clock },
    init: FewFirstInit,
    tell: (piece: number, to: Iterable<Child>) => void,
  ) {
    this.#clock = components.clock
    this.#init = init
    this.#tell = tell
  }

  onFresh(piece: number, children: readonly Child[]): void {
    const { firstChildren, holdMs } = this.#init
    this.#release(piece)
    if (children.length <= firstChildren) {
      this.#tell(piece, children)
      return
    }
    const start = this.#turn % children.length
    this.#turn = start + firstChildren
    const inTurn = [...children.slice(start), ...children.slice(0, start)]
    this.#held.set(piece, {
      rest: new Set(inTurn.slice(firstChildren)),
      timer: this.#clock.after(holdMs, () => this.#release(piece)),
    })
    this.#tell(piece, inTurn.slice(0, firstChildren))
  }

  onNewcomer(): number[] {
    return []
  }

  onSent(piece: number): void {
    this.#release(piece)
  }

  onGone(child: Child): void {
    for (const held of this.#held.values()) held.rest.delete(child)
  }

  isFirstCopy(): boolean {
    return false
  }

  releaseAll(): void {
    for (const piece of [...this.#held.keys()]) this.#release(piece)
  }

  close(): void {
    for (const held of this.#held.values()) held.timer.cancel()
    this.#held.clear()
  }

  #release(piece: number): void {
    const held = this.#held.get(piece)
    if (held === undefined) return
    held.timer.cancel()
    this.#held.delete(piece)
    this.#tell(piece, held.rest)
  }
}
