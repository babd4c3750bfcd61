// One task as offered to children: what is held, who wants to hear of it, and the open blob that pieces are read from.
import { Bitfield } from '../../shared/bitfield.ts'
import type { Clock, Timer } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import { type Geometry, pieceCount } from '../../shared/piece.ts'
import { OTHERS_MAX, type ToldHashes } from '../../shared/protocol/alone-frames.ts'
import type { Candidate } from '../../shared/protocol/messages.ts'
import { HASHES_PIECES_MAX, REFUSAL, type Refusal } from '../../shared/protocol/piece-frames.ts'
import type { BlobHandle, BlobStore } from '../store/blob-store.ts'
import { FewFirst, type FewFirstInit, type Reveal } from './piece-reveal.ts'
import { type DealingInit, type FirstCopies, SeedDealing } from './seed-dealing.ts'

/** A child's subscription, as the offer sees it. */
export interface Subscriber {
  /** Held pieces at the start. */
  sendHave(have: Bitfield): void
  /** Pieces that became readable; in batches. */
  sendHaveMore(pieces: readonly number[]): void
  /** The offer is over for this subscriber, which is then forgotten. */
  sendGone(why: Refusal): void
  /** Hashes of held pieces, at most HASHES_PIECES_MAX. */
  sendHashes(told: ToldHashes): void
  /** Hosts that seek the task as well. */
  sendOthers(others: readonly Candidate[]): void
  /** True while it waits for pieces it asked for, and takes what it is sent. */
  isTaking(): boolean
}

/** What the rest of the dfdaemon has to do with children that no supernode helps. */
export interface SeekerDesk {
  /** True if the hash of this piece did not come from a mere parent: what one liar said must not sound like the word of two. */
  mayTell(digest: Digest, piece: number): boolean
  /** A child seeks the task without a supernode's help. */
  onSeeker(digest: Digest, seeker: Candidate): void
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

/** How children hear of fresh pieces: a few first, as of a host; dealt, as of a seed; undefined for all at once. */
export type RevealInit = FewFirstInit | DealingInit | undefined

export interface TaskOfferInit {
  readonly digest: Digest
  readonly geometry: Geometry
  /** Pieces are collected for this long before children are told, in ms. */
  readonly haveBatchMs: number
  /** How long the blob stays open after its last reader, in ms; until then it cannot be evicted. */
  readonly handleLingerMs: number
  readonly reveal: RevealInit
  readonly seekers: SeekerDesk
  /** True while children read ranges of the task, so that all are told of each piece at once. */
  isReadInParts(): boolean
}

/** A subscriber that no supernode helps. */
interface Seeker {
  readonly candidate: Candidate
  /** Pieces whose hash it was told. */
  readonly told: Bitfield
  /** Settles when what was begun before has been told: hashes come before the word that their pieces are held. */
  telling: Promise<void>
}

/** Seekers introduced to each other, per task. */
const SEEKERS_MAX = 256

export class TaskOffer {
  readonly digest: Digest
  readonly geometry: Geometry
  readonly #store: BlobStore
  readonly #clock: Clock
  readonly #init: TaskOfferInit
  readonly #subscribers = new Map<Subscriber, number[]>()
  readonly #reveal: Reveal<Subscriber> | undefined
  readonly #seekers = new Map<Subscriber, Seeker>()
  readonly #unwatch: () => void
  #flush: Timer | undefined
  #opened: OpenedBlob | undefined

  constructor(components: { store: BlobStore; clock: Clock; copies: FirstCopies }, init: TaskOfferInit) {
    this.#store = components.store
    this.#clock = components.clock
    this.#init = init
    this.digest = init.digest
    this.geometry = init.geometry
    this.#reveal = this.#makeReveal(components.copies)
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
    const have = stat?.have ?? new Bitfield(pieceCount(this.geometry))
    if (this.#reveal === undefined || this.#init.isReadInParts()) {
      this.#subscribers.set(subscriber, [])
      subscriber.sendHave(have)
      return
    }
    // What came from the source before anyone asked here is as fresh as what comes next.
    if (this.#subscribers.size === 0 && stat?.complete === false)
      for (const piece of have.pieces()) this.#reveal.onFresh(piece, [])
    this.#subscribers.set(subscriber, [])
    const told = have.clone()
    for (const piece of this.#reveal.onNewcomer(subscriber)) told.remove(piece)
    subscriber.sendHave(told)
  }

  unsubscribe(subscriber: Subscriber): void {
    this.#subscribers.delete(subscriber)
    this.#reveal?.onGone(subscriber)
    this.#seekers.delete(subscriber)
  }

  /** The subscriber has no supernode: it is told hashes, and seekers hear of each other. Saying so again changes nothing. */
  seek(subscriber: Subscriber, candidate: Candidate): void {
    if (!this.#subscribers.has(subscriber) || this.#seekers.has(subscriber)) return
    if (this.#seekers.size >= SEEKERS_MAX) return
    const others = [...this.#seekers].filter(([, other]) => other.candidate.host !== candidate.host)
    for (const [other] of others) other.sendOthers([candidate])
    if (others.length > 0)
      subscriber.sendOthers(others.slice(-OTHERS_MAX).map(([, other]) => other.candidate))
    const told = new Bitfield(pieceCount(this.geometry))
    const seeker: Seeker = { candidate, told, telling: Promise.resolve() }
    this.#seekers.set(subscriber, seeker)
    this.#init.seekers.onSeeker(this.digest, candidate)
    this.#tell(subscriber, seeker)
  }

  /** Hashes may have become known that could not be told before. */
  tellHashes(): void {
    for (const [subscriber, seeker] of this.#seekers) this.#tell(subscriber, seeker)
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

  /** True if a request of this subscriber comes before those for pieces that others have already. */
  isFirstCopy(piece: number, to: Subscriber): boolean {
    return this.#reveal?.isFirstCopy(piece, to) ?? false
  }

  /** A child got the whole piece from here. */
  notePieceSent(piece: number, to: Subscriber): void {
    this.#reveal?.onSent(piece, to)
  }

  /** Ends the offer for all. */
  close(): void {
    this.#unwatch()
    this.#flush?.cancel()
    this.#reveal?.close()
    this.#subscribers.clear()
    this.#seekers.clear()
    this.#retireHandle()
  }

  #makeReveal(copies: FirstCopies): Reveal<Subscriber> | undefined {
    const { reveal } = this.#init
    const clock = this.#clock
    const tell = (piece: number, to: Iterable<Subscriber>) => this.#queue(piece, to)
    if (reveal === undefined) return undefined
    if ('firstChildren' in reveal) return new FewFirst({ clock }, reveal, tell)
    const isTaking = (subscriber: Subscriber) => subscriber.isTaking()
    return new SeedDealing({ clock, copies, isTaking }, reveal, tell)
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
    const all = [...this.#subscribers.keys()]
    if (this.#reveal !== undefined && !this.#init.isReadInParts()) {
      this.#reveal.onFresh(piece, all)
      return
    }
    this.#reveal?.releaseAll()
    this.#queue(piece, all)
  }

  #queue(piece: number, to: Iterable<Subscriber>): void {
    for (const subscriber of to) this.#subscribers.get(subscriber)?.push(piece)
    this.#flush ??= this.#clock.after(this.#init.haveBatchMs, () => {
      this.#flush = undefined
      for (const [subscriber, pieces] of this.#subscribers)
        if (pieces.length > 0) this.#announce(subscriber, pieces.splice(0))
    })
  }

  #announce(subscriber: Subscriber, pieces: readonly number[]): void {
    const seeker = this.#seekers.get(subscriber)
    if (seeker === undefined) subscriber.sendHaveMore(pieces)
    else
      void this.#tell(subscriber, seeker).then(() => {
        if (this.#subscribers.has(subscriber)) subscriber.sendHaveMore(pieces)
      })
  }

  #tell(subscriber: Subscriber, seeker: Seeker): Promise<void> {
    seeker.telling = seeker.telling.then(() => this.#tellNow(subscriber, seeker))
    return seeker.telling
  }

  async #tellNow(subscriber: Subscriber, seeker: Seeker): Promise<void> {
    const { seekers } = this.#init
    const held = this.#store.stat(this.digest)?.have
    if (held === undefined || !this.#seekers.has(subscriber)) return
    const lease = await this.lease()
    if (lease === undefined) return
    const pieces: number[] = []
    const hashes: Uint8Array[] = []
    const send = (): void => {
      if (pieces.length === 0 || !this.#seekers.has(subscriber)) return
      subscriber.sendHashes({ pieces: pieces.splice(0), hashes: Buffer.concat(hashes.splice(0)) })
    }
    for (const piece of lease.handle.stat.have.pieces()) {
      if (seeker.told.has(piece) || !seekers.mayTell(this.digest, piece)) continue
      const hash = lease.handle.pieceHash(piece)
      if (hash === undefined) continue
      seeker.told.add(piece)
      pieces.push(piece)
      hashes.push(hash)
      if (pieces.length === HASHES_PIECES_MAX) send()
    }
    send()
    lease.release()
  }

  #onGone(why: Refusal): void {
    const subscribers = [...this.#subscribers.keys()]
    this.#subscribers.clear()
    this.#seekers.clear()
    // Requests under way may finish with what is open, but a later blob of this digest is another one.
    this.#retireHandle()
    for (const subscriber of subscribers) subscriber.sendGone(why)
  }
}

function closeBlob(opened: OpenedBlob): void {
  opened.opening.then(handle => handle?.close()).catch(() => {})
}
