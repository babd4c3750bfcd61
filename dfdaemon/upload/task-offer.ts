// One task as offered to children: what is held, who wants to hear of it, and the open blob that pieces are read from.
import { Bitfield } from '../../shared/bitfield.ts'
import type { Clock, Timer } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import { type Geometry, pieceCount } from '../../shared/piece.ts'
import { REFUSAL, type Refusal } from '../../shared/protocol/piece-frames.ts'
import type { BlobHandle, BlobStore } from '../store/blob-store.ts'
import { PieceReveal, type RevealInit } from './piece-reveal.ts'

/** A child's subscription, as the offer sees it. */
export interface Subscriber {
  /** Held pieces at the start. */
  sendHave(have: Bitfield): void
  /** Pieces that became readable; in batches. */
  sendHaveMore(pieces: readonly number[]): void
  /** The offer is over for this subscriber, which is then forgotten. */
  sendGone(why: Refusal): void
}

/** An open blob, to be released once. */
export interface HandleLease {
  readonly handle: BlobHandle
  release(): void
}

interface OpenedBlob {
  readonly opening: Promise<BlobHandle | undefined>
  readers: number
  linger: Timer | undefined
}

export interface TaskOfferInit {
  readonly digest: Digest
  readonly geometry: Geometry
  /** Pieces are collected for this long before children are told, in ms. */
  readonly haveBatchMs: number
  /** How long the blob stays open after its last reader, in ms; until then it cannot be evicted. */
  readonly handleLingerMs: number
  readonly reveal: RevealInit | undefined
}

export class TaskOffer {
  readonly digest: Digest
  readonly geometry: Geometry
  readonly #store: BlobStore
  readonly #clock: Clock
  readonly #init: TaskOfferInit
  readonly #subscribers = new Map<Subscriber, number[]>()
  readonly #reveal: PieceReveal<Subscriber> | undefined
  readonly #unwatch: () => void
  #flush: Timer | undefined
  #opened: OpenedBlob | undefined

  constructor(components: { store: BlobStore; clock: Clock }, init: TaskOfferInit) {
    this.#store = components.store
    this.#clock = components.clock
    this.#init = init
    this.digest = init.digest
    this.geometry = init.geometry
    if (init.reveal !== undefined)
      this.#reveal = new PieceReveal(components, init.reveal, (piece, to) => this.#queue(piece, to))
    this.#unwatch = components.store.watch(init.digest, {
      onPiece: piece => this.#onPiece(piece),
      onGone: () => this.#onGone(REFUSAL.evicted),
    })
  }

  get subscriberCount(): number {
    return this.#subscribers.size
  }

  /** True if the piece can be read now. */
  holds(piece: number): boolean {
    const stat = this.#store.stat(this.digest)
    return stat !== undefined && this.#sameGeometry(stat) && stat.have.has(piece)
  }

  subscribe(subscriber: Subscriber): void {
    const stat = this.#store.stat(this.digest)
    if (stat !== undefined && !this.#sameGeometry(stat)) {
      subscriber.sendGone(REFUSAL.geometry)
      return
    }
    this.#subscribers.set(subscriber, [])
    subscriber.sendHave(stat?.have ?? new Bitfield(pieceCount(this.geometry)))
  }

  unsubscribe(subscriber: Subscriber): void {
    this.#subscribers.delete(subscriber)
  }

  /** The blob, open for reading until released; undefined if nothing is held any more. */
  async lease(): Promise<HandleLease | undefined> {
    this.#opened ??= { opening: this.#store.open(this.digest), readers: 0, linger: undefined }
    const opened = this.#opened
    opened.readers++
    opened.linger?.cancel()
    // A failure is answered as not held; the store has told why.
    const handle = await opened.opening.catch(() => undefined)
    if (handle !== undefined && this.#sameGeometry(handle.stat))
      return { handle, release: () => this.#release(opened) }
    if (this.#opened === opened) this.#opened = undefined
    this.#release(opened)
    return undefined
  }

  /** A child got the whole piece from here. */
  notePieceSent(piece: number): void {
    this.#reveal?.onSent(piece)
  }

  /** Ends the offer for all. */
  close(): void {
    this.#unwatch()
    this.#flush?.cancel()
    this.#reveal?.close()
    this.#subscribers.clear()
    this.#retireHandle()
  }

  #release(opened: OpenedBlob): void {
    opened.readers--
    if (opened.readers > 0) return
    if (this.#opened !== opened) closeBlob(opened)
    else opened.linger = this.#clock.after(this.#init.handleLingerMs, () => this.#retireHandle())
  }

  /** The next lease opens anew; what is open now closes with its last reader. */
  #retireHandle(): void {
    const opened = this.#opened
    this.#opened = undefined
    opened?.linger?.cancel()
    if (opened?.readers === 0) closeBlob(opened)
  }

  #sameGeometry(other: Geometry): boolean {
    return other.size === this.geometry.size && other.pieceSize === this.geometry.pieceSize
  }

  #onPiece(piece: number): void {
    if (this.#subscribers.size === 0) return
    if (!this.holds(piece)) {
      const stat = this.#store.stat(this.digest)
      if (stat !== undefined && !this.#sameGeometry(stat)) this.#onGone(REFUSAL.geometry)
      return
    }
    if (this.#reveal === undefined) this.#queue(piece, [...this.#subscribers.keys()])
    else this.#reveal.onFresh(piece, [...this.#subscribers.keys()])
  }

  #queue(piece: number, to: Iterable<Subscriber>): void {
    for (const subscriber of to) this.#subscribers.get(subscriber)?.push(piece)
    this.#flush ??= this.#clock.after(this.#init.haveBatchMs, () => {
      this.#flush = undefined
      for (const [subscriber, pieces] of this.#subscribers)
        if (pieces.length > 0) subscriber.sendHaveMore(pieces.splice(0))
    })
  }

  #onGone(why: Refusal): void {
    const subscribers = [...this.#subscribers.keys()]
    this.#subscribers.clear()
    // Requests under way may finish with what is open, but a later blob of this digest is another one.
    this.#retireHandle()
    for (const subscriber of subscribers) subscriber.sendGone(why)
  }
}

function closeBlob(opened: OpenedBlob): void {
  opened.opening.then(handle => handle?.close()).catch(() => {})
}
