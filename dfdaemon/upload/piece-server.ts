// Serves pieces to children on /pantala/piece/1.0.0: takes their streams in, shares upload slots and bounds among them, and drains on stop.
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import type { Clock, Timer } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { HostId } from '../../shared/protocol/messages.ts'
import { PIECE_PROTOCOL, REFUSAL, type Refusal, type Subscribe } from '../../shared/protocol/piece-frames.ts'
import type { BlobStore } from '../store/blob-store.ts'
import { type ChildHost, ChildLink } from './child-link.ts'
import { IdleCalls } from './idle-calls.ts'
import { CHUNK_HEAD_BYTES, CHUNKS_AHEAD } from './piece-send.ts'
import { ReadBuffers } from './read-buffers.ts'
import { FirstCopies } from './seed-dealing.ts'
import { type RevealInit, type SeekerDesk, TaskOffer } from './task-offer.ts'
import { UploadSlots } from './upload-slots.ts'

export interface PieceServerComponents {
  readonly node: Pick<Libp2p, 'handle' | 'unhandle'>
  readonly store: BlobStore
  readonly clock: Clock
  readonly logger: Logger
  /** Whether a host may have pieces, by the ticket it shows (admission.ts). */
  readonly admits: (host: HostId, ticket: Uint8Array) => boolean
  /** What concerns children that no supernode helps; without it hashes of complete blobs are told. */
  readonly seekers?: SeekerDesk | undefined
  /** True while children read ranges of the task: then each fresh piece may be what any of them waits for. */
  readonly isReadInParts?: (digest: Digest) => boolean
  /** Counts bytes of pieces that left for children. */
  readonly onUploaded?: (bytes: number) => void
}

export interface PieceServerInit {
  /** Pieces being sent at the same time, all children together. */
  readonly slots: number
  readonly childrenMax?: number
  /** Requests waiting for a slot, all children together. */
  readonly requestsQueuedMax?: number
  readonly subscriptionsMax?: number
  /** Bytes read and sent at once. */
  readonly chunkBytes?: number
  /** A child that takes nothing of what it was sent for this long is cut. */
  readonly stallMs?: number
  /** A child to which no byte went for this long because of others is told to go elsewhere. */
  readonly queueWaitMs?: number
  /** A stream must show its ticket within this time. */
  readonly helloMs?: number
  readonly haveBatchMs?: number
  /** How fresh pieces are told; false: to all at once. */
  readonly reveal?: NonNullable<RevealInit> | false
}

/** How often waiting children are looked after, in ms. */
const CHECK_MS = 250

/** How long a stranger's ticket is waited for, and how often it is looked for, in ms. */
const KNOWN_WAIT_MS = 1_000
const KNOWN_CHECK_MS = 50

const DEFAULTS = {
  childrenMax: 1024,
  requestsQueuedMax: 8192,
  subscriptionsMax: 16_384,
  chunkBytes: 512 * 1024,
  stallMs: 10_000,
  queueWaitMs: 6_000,
  helloMs: 5_000,
  haveBatchMs: 2,
  reveal: { firstChildren: 2, holdMs: 100 },
} as const

export class PieceServer {
  readonly #components: PieceServerComponents
  readonly #init: Required<PieceServerInit>
  readonly #slots: UploadSlots
  readonly #copies: FirstCopies
  readonly #buffers: ReadBuffers
  readonly #children = new Set<ChildLink>()
  readonly #offers = new Map<string, TaskOffer>()
  readonly #seekers: SeekerDesk
  readonly #host: ChildHost
  readonly #calls: IdleCalls
  #subscriptions = 0
  #queued = 0
  #uploadBytes = 0
  #stopping = false
  #check: Timer | undefined
  #onIdle: (() => void) | undefined

  constructor(components: PieceServerComponents, init: PieceServerInit) {
    this.#components = components
    this.#init = { ...DEFAULTS, ...init }
    this.#seekers = components.seekers ?? {
      mayTell: digest => components.store.stat(digest)?.complete === true,
      onSeeker() {},
    }
    this.#copies = new FirstCopies(components)
    this.#slots = new UploadSlots(components, { slots: init.slots, isReserved: () => this.#copies.isBusy(0) })
    this.#buffers = new ReadBuffers(components, {
      bufferBytes: this.#init.chunkBytes + CHUNK_HEAD_BYTES,
      bufferCountMax: init.slots * CHUNKS_AHEAD,
    })
    this.#calls = new IdleCalls({ clock: components.clock, slots: this.#slots, children: this.#children })
    this.#host = {
      admits: components.admits,
      openOffer: task => this.#openOffer(task),
      closeOffer: offer => this.#closeOffer(offer),
      refusesRequest: () => this.#refusesRequest(),
      onQueued: change => {
        this.#queued += change
        this.#armCheck()
      },
      onUploaded: bytes => {
        this.#uploadBytes += bytes
        components.onUploaded?.(bytes)
      },
      onRequest: child => this.#calls.forget(child),
      onIdle: () => this.#calls.wake(),
      onClosed: child => {
        this.#children.delete(child)
        this.#calls.forget(child)
        this.#noteIdle()
      },
    }
  }

  /** Pieces being sent now; for the load report. */
  get slotsBusy(): number {
    return this.#slots.busy
  }

  /** True for a host whose ticket was found good on a stream that is open; waits a little for one that is on its way. */
  async knows(host: HostId): Promise<boolean> {
    const isKnown = () => [...this.#children].some(child => child.remote === host && child.admitted)
    for (let leftMs = KNOWN_WAIT_MS; !isKnown() && leftMs > 0 && !this.#stopping; leftMs -= KNOWN_CHECK_MS)
      await new Promise<void>(resolve => this.#components.clock.after(KNOWN_CHECK_MS, resolve))
    return isKnown()
  }

  get slotsTotal(): number {
    return this.#slots.slots
  }

  /** Children with an open stream. */
  get childCount(): number {
    return this.#children.size
  }

  /** Piece bytes that left for children since the start. */
  get uploadBytes(): number {
    return this.#uploadBytes
  }

  /** Hashes of this blob's pieces may be told now that could not be before. */
  tellHashes(digest: Digest): void {
    for (const offer of this.#offers.values()) if (offer.digest === digest) offer.tellHashes()
  }

  async start(): Promise<void> {
    await this.#components.node.handle(
      PIECE_PROTOCOL,
      (stream, connection) => this.#onStream(stream, connection),
      {
        maxInboundStreams: 8,
      },
    )
  }

  /**
   * Takes no more children or requests, lets pieces being sent finish for up to `deadlineMs`, then ends all streams.
   * Calling `stop` after does no harm.
   */
  async drain(deadlineMs: number): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = true
      await this.#components.node.unhandle(PIECE_PROTOCOL)
    }
    for (const child of this.#children) child.refuseQueue(REFUSAL.stopping)
    if (this.#slots.busy > 0 && deadlineMs > 0) {
      const idle = Promise.withResolvers<void>()
      this.#onIdle = idle.resolve
      const deadline = this.#components.clock.after(deadlineMs, idle.resolve)
      // Slots come back as sends finish; looked at with each check as well.
      this.#armCheck()
      await idle.promise
      deadline.cancel()
    }
    for (const child of [...this.#children]) {
      if (child.sending) child.abort(new PantalaError('SHUTTING_DOWN'))
      else child.close()
    }
    for (const offer of this.#offers.values()) offer.close()
    this.#offers.clear()
    this.#calls.stop()
    this.#check?.cancel()
  }

  async stop(): Promise<void> {
    await this.drain(0)
  }

  #onStream(stream: Stream, connection: Connection): void {
    if (this.#stopping || this.#children.size >= this.#init.childrenMax) {
      stream.abort(new PantalaError(this.#stopping ? 'SHUTTING_DOWN' : 'OVERLOADED'))
      return
    }
    const { clock, logger } = this.#components
    const remote = connection.remotePeer.toString()
    const child = new ChildLink(
      { stream, host: this.#host, slots: this.#slots, buffers: this.#buffers, clock },
      remote,
    )
    this.#children.add(child)
    const deadline = clock.after(this.#init.helloMs, () => {
      if (!child.admitted) child.abort(new PantalaError('DEADLINE_PASSED', { detail: 'no hello' }))
    })
    stream.addEventListener('close', event => {
      deadline.cancel()
      if (event.error !== undefined && event.local === true)
        logger.debug({ child: remote, err: event.error }, 'child cut')
    })
  }

  #openOffer(task: Subscribe): TaskOffer | undefined {
    if (this.#stopping || this.#subscriptions >= this.#init.subscriptionsMax) return undefined
    const key = offerKey(task)
    let offer = this.#offers.get(key)
    if (offer === undefined) {
      const { haveBatchMs, reveal } = this.#init
      offer = new TaskOffer(
        { ...this.#components, copies: this.#copies },
        {
          ...task,
          haveBatchMs,
          handleLingerMs: 2_000,
          seekers: this.#seekers,
          isReadInParts: () => this.#components.isReadInParts?.(task.digest) ?? false,
          reveal: reveal === false ? undefined : reveal,
        },
      )
      this.#offers.set(key, offer)
    }
    this.#subscriptions++
    return offer
  }

  #closeOffer(offer: TaskOffer): void {
    this.#subscriptions--
    if (offer.subscriberCount > 0) return
    offer.close()
    const key = offerKey(offer)
    if (this.#offers.get(key) === offer) this.#offers.delete(key)
  }

  #refusesRequest(): Refusal | undefined {
    if (this.#stopping) return REFUSAL.stopping
    return this.#queued >= this.#init.requestsQueuedMax ? REFUSAL.busy : undefined
  }

  /** Runs only while children wait or are sent to. */
  #armCheck(): void {
    if (this.#check !== undefined) return
    this.#check = this.#components.clock.after(CHECK_MS, () => {
      this.#check = undefined
      const { queueWaitMs, stallMs } = this.#init
      for (const child of [...this.#children])
        child.checkProgress({ waitingMs: 2 * CHECK_MS, queueWaitMs, stallMs })
      this.#noteIdle()
      if (this.#queued > 0 || this.#slots.busy > 0) this.#armCheck()
    })
  }

  #noteIdle(): void {
    if (this.#slots.busy === 0) this.#onIdle?.()
  }
}

function offerKey(task: Subscribe): string {
  return `${task.digest} ${task.geometry.size} ${task.geometry.pieceSize}`
}
