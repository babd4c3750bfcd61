// One child's stream: its subscriptions and requests, checked and kept within bounds, and the piece that is being sent to it.
import type { Stream } from '@libp2p/interface'
import type { Clock } from '../../shared/clock.ts'
import { PantalaError } from '../../shared/errors.ts'
import { pieceCount } from '../../shared/piece.ts'
import { decodeAlone, encodeHashes, encodeOthers } from '../../shared/protocol/alone-frames.ts'
import type { HostId } from '../../shared/protocol/messages.ts'
import {
  CANCEL,
  decodeSubscribe,
  encodeFrame,
  encodeHaveMore,
  FRAME,
  type FrameType,
  HAVE_MORE_PIECES_MAX,
  PIECE_PROTOCOL_VERSION,
  REFUSAL,
  REQUESTS_IN_FLIGHT_MAX,
  type Refusal,
  readUint32,
  SUBSCRIPTIONS_MAX,
} from '../../shared/protocol/piece-frames.ts'
import { type FrameSink, PieceParser } from '../../shared/protocol/piece-parser.ts'
import { type ByteSender, byteSender, takeBytes } from '../../shared/transport/byte-stream.ts'
import { ChildProgress } from './child-progress.ts'
import { CHUNKS_AHEAD, PieceSend, type SendOutcome } from './piece-send.ts'
import type { ReadBuffers } from './read-buffers.ts'
import type { HandleLease, Subscriber, TaskOffer } from './task-offer.ts'
import type { SlotTaker, UploadSlots } from './upload-slots.ts'

/** Answers queued for a child that does not read them, in bytes; beyond, it is cut. */
const ANSWER_BYTES_MAX = 1024 * 1024

/** What a child's link asks of its server. */
export interface ChildHost {
  admits(host: HostId, ticket: Uint8Array): boolean
  /** The offer of a task; undefined if there are too many. */
  openOffer(body: NonNullable<ReturnType<typeof decodeSubscribe>>): TaskOffer | undefined
  closeOffer(offer: TaskOffer): void
  /** False while stopping or if too many requests wait in all. */
  refusesRequest(): Refusal | undefined
  onQueued(change: number): void
  onRequest(child: ChildLink): void
  /** It subscribed, or what it asked for was sent or given up. */
  onIdle(child: ChildLink): void
  onUploaded(bytes: number): void
  onClosed(child: ChildLink): void
}

interface PieceRequest {
  readonly id: number
  readonly piece: number
  readonly subscription: Subscription
  readonly queuedAt: number
}

interface Subscription extends Subscriber {
  readonly slot: number
  readonly offer: TaskOffer
}

export interface ChildLinkComponents {
  readonly stream: Stream
  readonly host: ChildHost
  readonly slots: UploadSlots
  readonly buffers: ReadBuffers
  readonly clock: Clock
}

export class ChildLink implements SlotTaker, FrameSink {
  readonly remote: HostId
  readonly #stream: Stream
  readonly #host: ChildHost
  readonly #slots: UploadSlots
  readonly #buffers: ReadBuffers
  readonly #clock: Clock
  readonly #sender: ByteSender
  readonly #subscriptions = new Map<number, Subscription>()
  #queue: PieceRequest[] = []
  #serving: PieceRequest | undefined
  #send: PieceSend | undefined
  #lease: HandleLease | undefined
  #admitted = false
  #closed = false
  readonly #progress: ChildProgress

  constructor(components: ChildLinkComponents, remote: HostId) {
    this.remote = remote
    this.#stream = components.stream
    this.#host = components.host
    this.#slots = components.slots
    this.#buffers = components.buffers
    this.#clock = components.clock
    this.#progress = new ChildProgress(components)
    this.#sender = byteSender(components.stream)
    components.stream.addEventListener('close', () => this.#onClosed())
    // A child that says no more is done with us: nothing on this stream makes sense in one direction only.
    components.stream.addEventListener('remoteCloseWrite', () => this.close())
    const parser = new PieceParser('child', this)
    takeBytes(components.stream, (buffer, start, end) => {
      if (!this.#closed) parser.push(buffer, start, end)
    })
  }

  /** True while it is subscribed to something and waits for nothing. */
  get isCallable(): boolean {
    return this.#admitted && !this.sending && this.#queue.length === 0 && this.#subscriptions.size > 0
  }

  /** Tells the child that it would be served at once. */
  call(): void {
    this.#answer(encodeFrame(FRAME.idle, 0, 0, 0))
  }

  get admitted(): boolean {
    return this.#admitted
  }

  /** True while a piece is being sent. */
  get sending(): boolean {
    return this.#serving !== undefined
  }

  /** Cuts the stream at once. */
  abort(error: Error): void {
    this.#stream.abort(error)
    this.#onClosed()
  }

  /** Ends the stream after what was given to it. */
  close(): void {
    if (this.#closed) return
    this.#onClosed()
    this.#stream.close({ signal: AbortSignal.timeout(1000) }).catch(error => this.#stream.abort(error))
  }

  /** Refuses what waits; a piece being sent goes on. */
  refuseQueue(why: Refusal): void {
    this.#refuseWhere(() => true, why)
  }

  /**
   * Called every some hundred ms: tells a waiting child that it is not forgotten, refuses its requests if no byte went to it for `queueWaitMs`
   * because of others, and cuts it if it took nothing for `stallMs` of what it was sent.
   */
  checkProgress(limits: { waitingMs: number; queueWaitMs: number; stallMs: number }): void {
    if (this.#serving === undefined && this.#queue.length === 0) {
      this.#progress.noteIdle()
      return
    }
    const { quietMs } = this.#progress
    if (this.#send?.blocked === true) {
      if (quietMs > limits.stallMs)
        this.abort(new PantalaError('DEADLINE_PASSED', { detail: `${this.remote} took nothing` }))
      return
    }
    if (!this.sending && quietMs > limits.queueWaitMs) this.refuseQueue(REFUSAL.busy)
    else if (quietMs > limits.waitingMs) this.#answer(encodeFrame(FRAME.waiting, 0, 0, 0))
  }

  // ---- from the parser ----

  onPartStart(): undefined {
    throw new PantalaError('MESSAGE_INVALID', { detail: 'a child sent a piece' })
  }

  onPartEnd(): void {}

  onFrame(type: FrameType, code: number, slot: number, id: number, body: Uint8Array): void {
    if (!this.#admitted) this.#onHello(type, code, body)
    else if (type === FRAME.subscribe) this.#onSubscribe(slot, body)
    else if (type === FRAME.unsubscribe) this.#onUnsubscribe(slot)
    else if (type === FRAME.request) this.#onRequest(slot, id, body)
    else if (type === FRAME.cancel) this.#onCancel(id, code === CANCEL.unlessBegun)
    else if (type === FRAME.alone) this.#onAlone(slot, body)
    else throw new PantalaError('MESSAGE_INVALID', { detail: 'a second hello' })
  }

  #onHello(type: FrameType, version: number, ticket: Uint8Array): void {
    if (type !== FRAME.hello) throw new PantalaError('MESSAGE_INVALID', { detail: 'no hello first' })
    const why =
      version !== PIECE_PROTOCOL_VERSION
        ? REFUSAL.version
        : this.#host.admits(this.remote, ticket)
          ? undefined
          : REFUSAL.notAdmitted
    if (why === undefined) {
      this.#admitted = true
      return
    }
    this.#refuse(0, why)
    this.close()
  }

  #onSubscribe(slot: number, body: Uint8Array): void {
    const task = decodeSubscribe(body)
    if (task === undefined || this.#subscriptions.has(slot))
      throw new PantalaError('MESSAGE_INVALID', { detail: 'subscribe' })
    const full = this.#subscriptions.size >= SUBSCRIPTIONS_MAX
    const offer = full ? undefined : this.#host.openOffer(task)
    if (offer === undefined) {
      this.#answer(encodeFrame(FRAME.gone, REFUSAL.busy, slot, 0))
      return
    }
    const subscription: Subscription = {
      slot,
      offer,
      sendHave: have => this.#answer(encodeFrame(FRAME.have, 0, slot, 0, have.bytes)),
      sendHaveMore: pieces => {
        for (let at = 0; at < pieces.length; at += HAVE_MORE_PIECES_MAX)
          this.#answer(encodeHaveMore(slot, pieces.slice(at, at + HAVE_MORE_PIECES_MAX)))
      },
      sendHashes: told => this.#answer(encodeHashes(slot, told)),
      sendOthers: others => this.#answer(encodeOthers(slot, others)),
      isTaking: () => this.#isTaking(subscription),
      sendGone: why => {
        this.#endSubscription(subscription)
        this.#answer(encodeFrame(FRAME.gone, why, slot, 0))
      },
    }
    this.#subscriptions.set(slot, subscription)
    offer.subscribe(subscription)
    this.#host.onIdle(this)
  }

  /** True while requests of the subscription wait for their turn or are served, and the child takes what it is sent. */
  #isTaking(subscription: Subscription): boolean {
    const isOwn = (request: PieceRequest | undefined) => request?.subscription === subscription
    if (this.#send?.blocked === true && this.#progress.isStill) return false
    return this.#progress.wasGivenLately || isOwn(this.#serving) || this.#queue.some(isOwn)
  }

  #onUnsubscribe(slot: number): void {
    // Unknown after a `gone` that crossed it.
    const subscription = this.#subscriptions.get(slot)
    if (subscription !== undefined) this.#endSubscription(subscription)
  }

  #onAlone(slot: number, body: Uint8Array): void {
    // Unknown after a `gone` that crossed it.
    const subscription = this.#subscriptions.get(slot)
    const addresses = decodeAlone(body)
    subscription?.offer.seek(subscription, { host: this.remote, addresses, seed: false })
  }

  #endSubscription(subscription: Subscription): void {
    if (this.#subscriptions.get(subscription.slot) !== subscription) return
    this.#subscriptions.delete(subscription.slot)
    subscription.offer.unsubscribe(subscription)
    this.#host.closeOffer(subscription.offer)
    this.#refuseWhere(request => request.subscription === subscription, REFUSAL.cancelled)
  }

  #onRequest(slot: number, id: number, body: Uint8Array): void {
    this.#host.onRequest(this)
    const subscription = this.#subscriptions.get(slot)
    const piece = body.byteLength === 4 ? readUint32(body, 0) : -1
    if (piece < 0 || (subscription !== undefined && piece >= pieceCount(subscription.offer.geometry)))
      throw new PantalaError('MESSAGE_INVALID', { detail: 'request' })
    // No subscription: a request that crossed our `gone`.
    const why =
      subscription === undefined || !subscription.offer.holds(piece)
        ? REFUSAL.notHeld
        : this.#queue.length >= REQUESTS_IN_FLIGHT_MAX
          ? REFUSAL.busy
          : this.#host.refusesRequest()
    if (why !== undefined) {
      this.#refuse(id, why)
      return
    }
    if (!this.sending && this.#queue.length === 0) this.#progress.noteIdle()
    this.#queue.push({ id, piece, subscription: subscription!, queuedAt: this.#clock.monotonic() })
    this.#host.onQueued(1)
    if (!this.sending) this.#slots.want(this)
  }

  #onCancel(id: number, unlessBegun: boolean): void {
    const serving = this.#serving
    if (serving?.id !== id) {
      this.#refuseWhere(request => request.id === id, REFUSAL.cancelled)
      return
    }
    // Each request has one answer: with its last bytes on their way it has had it.
    if (unlessBegun || this.#send?.given === true) return
    this.#send?.stop()
    this.#refuse(id, REFUSAL.cancelled)
    this.#endTurn()
  }

  #refuseWhere(matches: (request: PieceRequest) => boolean, why: Refusal): void {
    const refused = this.#queue.filter(matches)
    if (refused.length > 0) {
      this.#queue = this.#queue.filter(request => !refused.includes(request))
      this.#host.onQueued(-refused.length)
      for (const request of refused) this.#refuse(request.id, why)
    }
    if (this.#queue.length === 0) this.#slots.leave(this)
  }

  // ---- sending ----

  takeSlot(): boolean {
    if (this.#closed || this.sending || this.#queue.length === 0) return false
    const ahead = Math.max(0, this.#queue.findIndex(isFirstCopy))
    const request = this.#queue.splice(ahead, 1)[0]!
    this.#host.onQueued(-1)
    this.#serving = request
    request.subscription.offer.lease().then(lease => this.#sendPiece(request, lease))
    return true
  }

  isAhead(): boolean {
    return this.#queue.some(isFirstCopy)
  }

  #sendPiece(request: PieceRequest, lease: HandleLease | undefined): void {
    if (this.#serving !== request) {
      lease?.release()
      return
    }
    if (lease === undefined || !lease.handle.stat.have.has(request.piece)) {
      lease?.release()
      this.#refuse(request.id, REFUSAL.notHeld)
      this.#endTurn()
      return
    }
    this.#lease = lease
    this.#send = new PieceSend(
      { sender: this.#sender, buffers: this.#buffers, handle: lease.handle },
      {
        id: request.id,
        piece: request.piece,
        onProgress: bytes => {
          this.#progress.noteGiven()
          this.#host.onUploaded(bytes)
        },
        onDone: outcome => this.#onSendDone(request, outcome),
      },
    )
  }

  #onSendDone(request: PieceRequest, outcome: SendOutcome): void {
    if (outcome === 'sent') request.subscription.offer.notePieceSent(request.piece, request.subscription)
    else this.#refuse(request.id, REFUSAL.failed)
    this.#endTurn()
  }

  #endTurn(): void {
    this.#lease?.release()
    this.#lease = undefined
    this.#send = undefined
    this.#serving = undefined
    this.#slots.release(this)
    if (this.#closed) return
    if (this.#queue.length > 0) this.#slots.want(this)
    this.#host.onIdle(this)
  }

  #refuse(id: number, why: Refusal): void {
    this.#answer(encodeFrame(FRAME.refuse, why, 0, id))
  }

  #answer(bytes: Uint8Array): void {
    if (this.#closed) return
    this.#sender.sendBytes(bytes)
    const limit = ANSWER_BYTES_MAX + CHUNKS_AHEAD * this.#buffers.bufferBytes
    if (this.#sender.queuedBytes > limit)
      this.abort(new PantalaError('OVERLOADED', { detail: `${this.remote} does not read its answers` }))
  }

  #onClosed(): void {
    if (this.#closed) return
    this.#closed = true
    this.#slots.leave(this)
    this.#host.onQueued(-this.#queue.length)
    this.#queue = []
    for (const subscription of [...this.#subscriptions.values()]) this.#endSubscription(subscription)
    if (this.#serving !== undefined) {
      this.#send?.stop()
      this.#endTurn()
    }
    this.#host.onClosed(this)
  }
}

function isFirstCopy({ piece, subscription }: PieceRequest): boolean {
  return subscription.offer.isFirstCopy(piece, subscription)
}
