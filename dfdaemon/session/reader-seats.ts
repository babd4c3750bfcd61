// Who reads from a session, where each reader is, and what it needs next; tells when the last one has been gone for a while.
import type { Clock, Timer } from '../../shared/clock.ts'

/** How far ahead of a reader of ranges pieces count as urgent, in bytes; at least two pieces. */
const LOOKAHEAD_BYTES = 16 * 1024 * 1024

/** Pieces `first` to `last` that a reader of a range will need. */
export interface PieceSpan {
  readonly first: number
  readonly last: number
}

/** One reader's place in a session. */
export interface Seat {
  /** The piece the reader waits for now, or, for a reader of ranges, the one it has come to. */
  moveTo(piece: number): void
  /** Leaves; a second call does nothing. */
  leave(): void
}

export class ReaderSeats {
  readonly #clock: Clock
  readonly #lingerMs: number
  readonly #aheadMax: number
  readonly #onMoved: () => void
  readonly #onEmpty: () => void
  readonly #onDeserted: () => void
  /** What each reader needs next, most urgent first. */
  readonly #needs = new Map<Seat, readonly number[]>()
  readonly #ranged = new Set<Seat>()
  readonly #seats = new Set<Seat>()
  #urgent: Set<number> | undefined
  #rangedUrgent: Set<number> | undefined
  #hadRanged = false
  #hadWhole = false
  #linger: Timer | undefined

  /** `onEmpty` runs when the last reader leaves. `onDeserted` runs when no reader has been there for `lingerMs`, counted from the last leave or `restartLinger`. */
  constructor(
    components: { clock: Clock },
    init: {
      lingerMs: number
      /** Length of a piece, in bytes. */
      pieceSize: number
      onMoved(): void
      onEmpty(): void
      onDeserted(): void
    },
  ) {
    this.#clock = components.clock
    this.#lingerMs = init.lingerMs
    this.#aheadMax = Math.max(2, Math.floor(LOOKAHEAD_BYTES / init.pieceSize))
    this.#onMoved = init.onMoved
    this.#onEmpty = init.onEmpty
    this.#onDeserted = init.onDeserted
  }

  get count(): number {
    return this.#seats.size
  }

  /** True once a reader of ranges came. */
  get hadRanged(): boolean {
    return this.#hadRanged
  }

  /** True once a reader of the whole came. */
  get hadWhole(): boolean {
    return this.#hadWhole
  }

  /** True while somebody reads the whole. */
  get hasWhole(): boolean {
    return this.#seats.size > this.#ranged.size
  }

  /** Pieces that readers wait for or will need soon, held or not: first what each needs next, then what each needs after that. */
  get pieces(): ReadonlySet<number> {
    this.#urgent ??= interleave([...this.#needs.values()])
    return this.#urgent
  }

  /** Of those, what readers of ranges need. */
  get rangedPieces(): ReadonlySet<number> {
    this.#rangedUrgent ??= interleave([...this.#ranged].map(seat => this.#needs.get(seat) ?? []))
    return this.#rangedUrgent
  }

  /** A seat for a reader of the whole, or of `spans`, in the order in which they will be read. */
  take(spans?: readonly PieceSpan[]): Seat {
    this.stop()
    let index = 0
    const seat: Seat = {
      moveTo: piece => {
        const needs = this.#needs.get(seat) ?? []
        if (!this.#seats.has(seat) || needs[0] === piece) return
        if (spans === undefined) {
          this.#need(seat, [piece])
          return
        }
        // Looking further only now and then makes few large wishes of what would be many of one piece.
        const left = needs.slice(Math.max(0, needs.indexOf(piece)))
        if (left[0] === piece && left.length > this.#aheadMax / 2) {
          this.#need(seat, left)
          return
        }
        const found = spans.findIndex(
          ({ first, last }, place) => place >= index && first <= piece && piece <= last,
        )
        if (found < 0) return
        index = found
        const rest = { first: piece, last: spans[found]!.last }
        this.#need(seat, lookAhead([rest, ...spans.slice(found + 1)], this.#aheadMax))
      },
      leave: () => {
        if (!this.#seats.delete(seat)) return
        this.#needs.delete(seat)
        this.#ranged.delete(seat)
        this.#forget()
        if (this.#seats.size > 0) return
        this.restartLinger()
        this.#onEmpty()
      },
    }
    this.#seats.add(seat)
    if (spans === undefined) {
      this.#hadWhole = true
    } else {
      this.#hadRanged = true
      this.#ranged.add(seat)
      this.#need(seat, lookAhead(spans, this.#aheadMax))
    }
    return seat
  }

  restartLinger(): void {
    this.stop()
    if (this.#seats.size > 0) return
    this.#linger = this.#clock.after(this.#lingerMs, () => {
      if (this.#seats.size === 0) this.#onDeserted()
    })
  }

  stop(): void {
    this.#linger?.cancel()
    this.#linger = undefined
  }

  #need(seat: Seat, pieces: readonly number[]): void {
    this.#needs.set(seat, pieces)
    this.#forget()
    this.#onMoved()
  }

  /** What is needed has to be added up anew. */
  #forget(): void {
    this.#urgent = undefined
    this.#rangedUrgent = undefined
  }
}

/** The first pieces of the spans, each once, `max` at most. */
function lookAhead(spans: readonly PieceSpan[], max: number): number[] {
  const pieces = new Set<number>()
  for (const { first, last } of spans) {
    for (let piece = first; piece <= last; piece++) {
      if (pieces.size >= max) return [...pieces]
      pieces.add(piece)
    }
  }
  return [...pieces]
}

/** The firsts of all lists, then the seconds, and so on; each number once. */
function interleave(lists: ReadonlyArray<readonly number[]>): Set<number> {
  const all = new Set<number>()
  for (let depth = 0, left = lists; left.length > 0; depth++) {
    left = left.filter(list => depth < list.length)
    for (const list of left) all.add(list[depth]!)
  }
  return all
}
