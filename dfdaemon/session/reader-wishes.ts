// Tells the supernode which pieces readers of ranges wait for, each once, gathered for a moment; and whether the rest is wanted.
import { Bitfield } from '../../shared/bitfield.ts'
import type { Clock, Timer } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import type { SchedulerClient, Wish } from '../scheduler/scheduler-client.ts'
import { runsOf } from './piece-runs.ts'

/** Wishes gather for this long, in ms, so that a crowd of readers makes one message. */
const GATHER_MS = 2

export interface ReaderWishesInit {
  readonly digest: Digest
  /** Number of pieces. */
  readonly pieces: number
  /** Pieces held. */
  have(): Bitfield | undefined
  /** What readers of ranges need, held or not. */
  urgent(): Iterable<number>
  /** True while only that is wanted. */
  isPartial(): boolean
  /** True once registering was tried: earlier, `current` goes along with it. */
  isRegistered(): boolean
}

export class ReaderWishes {
  readonly #scheduler: Pick<SchedulerClient, 'want'>
  readonly #clock: Clock
  readonly #init: ReaderWishesInit
  #told: Bitfield
  #toldPartial = false
  #timer: Timer | undefined

  constructor(
    components: { scheduler: Pick<SchedulerClient, 'want'>; clock: Clock },
    init: ReaderWishesInit,
  ) {
    this.#scheduler = components.scheduler
    this.#clock = components.clock
    this.#init = init
    this.#told = new Bitfield(init.pieces)
  }

  /** All that is wished now, to go along with registering; undefined: the whole, nothing first. */
  current(): Wish | undefined {
    this.#told = new Bitfield(this.#init.pieces)
    this.#toldPartial = this.#init.isPartial()
    const urgent = this.#takeUntold()
    return urgent.length === 0 && !this.#toldPartial
      ? undefined
      : { urgent: runsOf(urgent), partial: this.#toldPartial }
  }

  /** Tells what was not told yet, soon. */
  tellSoon(): void {
    if (!this.#init.isRegistered()) return
    this.#timer ??= this.#clock.after(GATHER_MS, () => {
      this.#timer = undefined
      const partial = this.#init.isPartial()
      const urgent = this.#takeUntold()
      if (urgent.length === 0 && partial === this.#toldPartial) return
      this.#toldPartial = partial
      this.#scheduler.want(this.#init.digest, { urgent: runsOf(urgent), partial })
    })
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  /** Urgent pieces that are missing and untold, in rising order; from now on they count as told. */
  #takeUntold(): number[] {
    const have = this.#init.have()
    const untold: number[] = []
    for (const piece of this.#init.urgent())
      if (have?.has(piece) !== true && this.#told.add(piece)) untold.push(piece)
    return untold.sort((a, b) => a - b)
  }
}
