// Tells of a fresh piece to a few children first and to the rest a little later, so that children get different pieces and trade them
// (after BitTorrent's super-seeding, BEP 16, in a simple and bounded form).
import type { Clock, Timer } from '../../shared/clock.ts'

export interface RevealInit {
  /** Children told at once; with no more than these subscribed, all are. */
  readonly firstChildren: number
  /** The rest is told after this long at the latest, in ms; earlier if the piece went out in whole. */
  readonly holdMs: number
}

interface Held<Child> {
  readonly rest: readonly Child[]
  readonly timer: Timer
}

export class PieceReveal<Child> {
  readonly #clock: Clock
  readonly #init: RevealInit
  readonly #tell: (piece: number, to: readonly Child[]) => void
  readonly #held = new Map<number, Held<Child>>()
  #turn = 0

  constructor(
    components: { clock: Clock },
    init: RevealInit,
    tell: (piece: number, to: readonly Child[]) => void,
  ) {
    this.#clock = components.clock
    this.#init = init
    this.#tell = tell
  }

  /** A piece became readable; `children` are those subscribed, in a steady order, so that taking turns gives each its share. */
  onFresh(piece: number, children: readonly Child[]): void {
    const { firstChildren, holdMs } = this.#init
    if (children.length <= firstChildren) {
      this.#tell(piece, children)
      return
    }
    const start = this.#turn % children.length
    this.#turn = start + firstChildren
    const inTurn = [...children.slice(start), ...children.slice(0, start)]
    this.#tell(piece, inTurn.slice(0, firstChildren))
    this.#held.get(piece)?.timer.cancel()
    this.#held.set(piece, {
      rest: inTurn.slice(firstChildren),
      timer: this.#clock.after(holdMs, () => this.#release(piece)),
    })
  }

  /** A child has the whole piece now. */
  onSent(piece: number): void {
    this.#release(piece)
  }

  close(): void {
    for (const { timer } of this.#held.values()) timer.cancel()
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
