// Who reads from a session, and where each reader is; tells when the last one has been gone for a while.
import type { Clock, Timer } from '../../shared/clock.ts'

/** One reader's place in a session. */
export interface Seat {
  /** The piece the reader waits for now. */
  moveTo(piece: number): void
  /** Leaves; a second call does nothing. */
  leave(): void
}

export class ReaderSeats {
  readonly #clock: Clock
  readonly #lingerMs: number
  readonly #onMoved: () => void
  readonly #onEmpty: () => void
  readonly #onDeserted: () => void
  readonly #pieces = new Map<Seat, number>()
  readonly #seats = new Set<Seat>()
  #linger: Timer | undefined

  /** `onEmpty` runs when the last reader leaves. `onDeserted` runs when no reader has been there for `lingerMs`, counted from the last leave or `restartLinger`. */
  constructor(
    components: { clock: Clock },
    init: { lingerMs: number; onMoved(): void; onEmpty(): void; onDeserted(): void },
  ) {
    this.#clock = components.clock
    this.#lingerMs = init.lingerMs
    this.#onMoved = init.onMoved
    this.#onEmpty = init.onEmpty
    this.#onDeserted = init.onDeserted
  }

  get count(): number {
    return this.#seats.size
  }

  /** Pieces that readers wait for. */
  get pieces(): Set<number> {
    return new Set(this.#pieces.values())
  }

  take(): Seat {
    this.stop()
    const seat: Seat = {
      moveTo: piece => {
        if (!this.#seats.has(seat) || this.#pieces.get(seat) === piece) return
        this.#pieces.set(seat, piece)
        this.#onMoved()
      },
      leave: () => {
        if (!this.#seats.delete(seat)) return
        this.#pieces.delete(seat)
        if (this.#seats.size > 0) return
        this.restartLinger()
        this.#onEmpty()
      },
    }
    this.#seats.add(seat)
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
}
