// The readers of one session: their seats, what they need first, whether all of the blob is wanted, and how long it goes on without them.
import type { Bitfield } from '../../shared/bitfield.ts'
import type { Clock } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import { type Geometry, pieceCount } from '../../shared/piece.ts'
import type { PieceRun } from '../../shared/protocol/messages.ts'
import type { SchedulerClient, Wish } from '../scheduler/scheduler-client.ts'
import { runsOf } from './piece-runs.ts'
import { type PieceSpan, ReaderSeats, type Seat } from './reader-seats.ts'
import { ReaderWishes } from './reader-wishes.ts'

export interface SessionReadersInit {
  readonly digest: Digest
  readonly geometry: Geometry
  /** How long the session goes on without readers, in ms. */
  readonly lingerMs: number
  /** True if the rest of the blob follows where only ranges of it are read. */
  readonly prefetch: boolean
  /** Pieces held; undefined before the blob is open and after the session is over. */
  have(): Bitfield | undefined
  /** True once registering was tried. */
  isRegistered(): boolean
  /** True while the session fetches what it was granted: then it does not end. */
  isBusy(): boolean
  /** What readers need has changed. */
  onMoved(): void
  /** The last reader left. */
  onEmpty(): void
  /** Nobody has read for long enough: the session is to end. */
  onDeserted(): void
}

export class SessionReaders {
  readonly #init: SessionReadersInit
  readonly #seats: ReaderSeats
  readonly #wishes: ReaderWishes
  /** Pieces held when readers had been gone for a while, the last time. */
  #heldWhenDeserted = -1
  /** Those who say that a reader of the whole will come. */
  #expected = 0

  constructor(
    components: { scheduler: Pick<SchedulerClient, 'want'>; clock: Clock },
    init: SessionReadersInit,
  ) {
    this.#init = init
    this.#seats = new ReaderSeats(components, {
      lingerMs: init.lingerMs,
      pieceSize: init.geometry.pieceSize,
      onMoved: () => this.#move(),
      onEmpty: init.onEmpty,
      onDeserted: () => this.#desert(),
    })
    this.#wishes = new ReaderWishes(components, {
      digest: init.digest,
      pieces: pieceCount(init.geometry),
      have: init.have,
      urgent: () => this.#seats.rangedPieces,
      isPartial: () => this.isPartial,
      isRegistered: init.isRegistered,
    })
  }

  get count(): number {
    return this.#seats.count
  }

  /** Pieces that readers wait for or will need soon, held or not, most urgent first. */
  get pieces(): ReadonlySet<number> {
    return this.#seats.pieces
  }

  /** True if a reader of a range waits for the piece or will need it soon. */
  isRanged(piece: number): boolean {
    return this.#seats.hadRanged && this.#seats.rangedPieces.has(piece)
  }

  /** True while nothing is wanted but those. */
  get isPartial(): boolean {
    const isWholeWanted = this.#init.prefetch || this.#seats.hadWhole || this.#expected > 0
    return this.#seats.hadRanged && !isWholeWanted
  }

  /** True while readers of ranges may come for any piece, or readers of other blobs have theirs first, and nobody reads the whole. */
  get isGentle(): boolean {
    return (this.#seats.hadRanged || this.#expected > 0) && !this.#seats.hasWhole
  }

  /** What readers of ranges need and is not held, without pieces that are `coming`; as runs in rising order. */
  missingRuns(coming: (piece: number) => boolean): PieceRun[] {
    const have = this.#init.have()
    const isMissing = (piece: number) => have?.has(piece) !== true && !coming(piece)
    return runsOf([...this.#seats.rangedPieces].filter(isMissing).sort((a, b) => a - b))
  }

  /** A seat for a reader of the whole, or of `spans` in the order in which they are read. */
  join(spans?: readonly PieceSpan[]): Seat {
    const seat = this.#seats.take(spans)
    // The first reader of the whole may turn a session for ranges into one for all of it, or a gentle one into one that hurries.
    if (spans === undefined && (this.#seats.hadRanged || this.#expected > 0)) this.#move()
    return seat
  }

  /** What goes along with registering. */
  wish(): Wish | undefined {
    return this.#wishes.current()
  }

  /** The session goes on without readers until the answer is called, once; then for as long as any. */
  expect(): () => void {
    this.#expected++
    return () => {
      this.#expected--
      this.#seats.restartLinger()
    }
  }

  /** Counts the time without readers anew. */
  restartLinger(): void {
    this.#seats.restartLinger()
  }

  stop(): void {
    this.#seats.stop()
    this.#wishes.stop()
  }

  #move(): void {
    if (this.#seats.hadRanged) this.#wishes.tellSoon()
    this.#init.onMoved()
  }

  /** What a reader of a range began goes on as long as it gets on, if the rest is wanted. */
  #desert(): void {
    if (this.#init.isBusy() || this.#expected > 0) return
    const held = this.#init.have()?.count ?? 0
    const isFollowing = this.#init.prefetch && this.#seats.hadRanged && held !== this.#heldWhenDeserted
    this.#heldWhenDeserted = held
    if (isFollowing) this.#seats.restartLinger()
    else this.#init.onDeserted()
  }
}
