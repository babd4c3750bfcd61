// The one long-lived stream to a parent, shared by all tasks: sends requests, writes what arrives to where it is wanted, notices silence.
import type { Stream } from '@libp2p/interface'
import { Bitfield } from '../../shared/bitfield.ts'
import type { Clock, Timer } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import { PantalaError, toPantalaError } from '../../shared/errors.ts'
import { type Geometry, pieceCount } from '../../shared/piece.ts'
import { decodeHashes, decodeOthers, encodeAlone } from '../../shared/protocol/alone-frames.ts'
import type { HostId } from '../../shared/protocol/messages.ts'
import {
  CANCEL,
  decodeNumbers,
  encodeFrame,
  encodeRequest,
  encodeSubscribe,
  FRAME,
  type FrameType,
  PIECE_PROTOCOL_VERSION,
  REFUSAL,
  REQUESTS_IN_FLIGHT_MAX,
  SUBSCRIPTIONS_MAX,
} from '../../shared/protocol/piece-frames.ts'
import { type FrameSink, PieceParser } from '../../shared/protocol/piece-parser.ts'
import { type ByteSender, byteSender, takeBytes } from '../../shared/transport/byte-stream.ts'
import { type LinkStream, PeerLink } from './peer-link.ts'
import type { LinkListener } from './piece-fetcher.ts'

/** A timer this late, in ms, says that this process itself was held up: what arrived meanwhile has not been read yet. */
const HELD_UP_MS = 200
const HELD_UP_TIMES_MAX = 3

interface Fetch {
  readonly link: PeerLink
  readonly piece: number
  readonly length: number
  /** Undefined once the caller has its buffer back; the answer is still awaited, so that ids and counts stay right. */
  into: Uint8Array | undefined
  received: number
  withdrawn: boolean
  settle(error?: unknown): void
}

export interface PeerStreamInit {
  readonly host: HostId
  readonly ticket: Uint8Array
  /** With something awaited, a parent that sends no byte for this long has stalled, in ms: it is asked for nothing more until it sends again. */
  readonly silentMs: number
  /** One that sends none for this long is given up, in ms: on a crowded line packets may be lost for seconds. */
  readonly lostMs: number
  /** Called once, when the stream is of no more use. */
  onEnd(stream: PeerStream, error: PantalaError): void
  /** The last link went. */
  onUnused(stream: PeerStream): void
}

export class PeerStream implements LinkStream, FrameSink {
  readonly host: HostId
  readonly #stream: Stream
  readonly #sender: ByteSender
  readonly #clock: Clock
  readonly #init: PeerStreamInit
  readonly #parser: PieceParser
  readonly #links = new Map<number, PeerLink>()
  readonly #fetches = new Map<number, Fetch>()
  readonly #opening = new Set<PeerLink>()
  #nextSlot = 0
  #nextId = 1
  #byteAt = 0
  #silence: Timer | undefined
  #stalled = false
  #heldUpTimes = 0
  #over: PantalaError | undefined

  constructor(components: { stream: Stream; clock: Clock }, init: PeerStreamInit) {
    this.#stream = components.stream
    this.#sender = byteSender(components.stream)
    this.#clock = components.clock
    this.#init = init
    this.host = init.host
    this.#parser = new PieceParser('parent', this)
    components.stream.addEventListener('close', event => {
      this.#end(
        new PantalaError('PARENT_GONE', {
          detail: event.error?.message ?? 'stream closed',
          cause: event.error,
        }),
      )
    })
    components.stream.addEventListener('remoteCloseWrite', () => {
      this.#end(new PantalaError('PARENT_GONE', { detail: 'the parent ended the stream' }))
    })
    takeBytes(components.stream, (buffer, start, end) => this.#take(buffer, start, end))
    this.#sender.sendBytes(encodeFrame(FRAME.hello, PIECE_PROTOCOL_VERSION, 0, 0, init.ticket))
  }

  get over(): boolean {
    return this.#over !== undefined
  }

  /** True from when it fell silent until it sends again. */
  get stalled(): boolean {
    return this.#stalled
  }

  get linkCount(): number {
    return this.#links.size
  }

  /** Nobody subscribes for now: the stream may go when it is idle. */
  noteUnused(): void {
    this.#init.onUnused(this)
  }

  /** @throws PantalaError PARENT_GONE on a stream that is over, PARENT_REFUSED if it carries too many tasks */
  subscribe(digest: Digest, geometry: Geometry, listener: LinkListener): PeerLink {
    if (this.#over !== undefined) throw this.#over
    if (this.#links.size >= SUBSCRIPTIONS_MAX)
      throw new PantalaError('PARENT_REFUSED', { detail: `${SUBSCRIPTIONS_MAX} tasks on one stream` })
    // Slots are not used again soon: what the parent still says of an old one must not be taken for the new one.
    while (this.#links.has(this.#nextSlot)) this.#nextSlot = (this.#nextSlot + 1) & 0xffff
    const link = new PeerLink(this, { slot: this.#nextSlot, digest, geometry, listener })
    this.#nextSlot = (this.#nextSlot + 1) & 0xffff
    this.#links.set(link.slot, link)
    this.#opening.add(link)
    this.#sender.sendBytes(encodeSubscribe(link.slot, digest, geometry))
    this.#watchSilence()
    return link
  }

  request(link: PeerLink, piece: number, into: Uint8Array, signal: AbortSignal): Promise<void> {
    if (this.#over !== undefined) return Promise.reject(this.#over)
    if (this.#fetches.size >= REQUESTS_IN_FLIGHT_MAX)
      return Promise.reject(
        new PantalaError('PARENT_REFUSED', { detail: `${REQUESTS_IN_FLIGHT_MAX} requests in flight` }),
      )
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const id = this.#nextId
    this.#nextId = id === 0xffffffff ? 1 : id + 1
    const fetch: Fetch = {
      link,
      piece,
      length: into.byteLength,
      into,
      received: 0,
      withdrawn: false,
      settle: error => {
        if (fetch.into === undefined) return
        fetch.into = undefined
        this.#parser.discard(id)
        link.pending--
        link.noteBegun(piece, false)
        signal.removeEventListener('abort', onAbort)
        if (error === undefined) resolve()
        else reject(error)
      },
    }
    const onAbort = () => {
      fetch.settle(signal.reason)
      this.#sender.sendBytes(encodeFrame(FRAME.cancel, 0, 0, id))
    }
    signal.addEventListener('abort', onAbort)
    link.pending++
    this.#fetches.set(id, fetch)
    this.#sender.sendBytes(encodeRequest(link.slot, id, piece))
    this.#watchSilence()
    return promise
  }

  withdraw(link: PeerLink, piece: number): void {
    for (const [id, fetch] of this.#fetches) {
      if (fetch.link !== link || fetch.piece !== piece || fetch.into === undefined) continue
      fetch.withdrawn = true
      this.#sender.sendBytes(encodeFrame(FRAME.cancel, CANCEL.unlessBegun, 0, id))
    }
  }

  sendAlone(link: PeerLink, addresses: readonly string[]): void {
    this.#sender.sendBytes(encodeAlone(link.slot, addresses))
  }

  unsubscribe(link: PeerLink): void {
    this.#dropLink(link, new PantalaError('PARENT_GONE', { detail: 'the link was closed' }))
    this.#sender.sendBytes(encodeFrame(FRAME.unsubscribe, 0, link.slot, 0))
  }

  /** Ends the stream after what was sent; links that are left end with `error`. */
  close(error: PantalaError): void {
    if (this.over) return
    this.#end(error)
    this.#stream.close({ signal: AbortSignal.timeout(1000) }).catch(cause => this.#stream.abort(cause))
  }

  // ---- from the parser ----

  onPartStart(id: number, length: number): Uint8Array | undefined {
    const fetch = this.#fetches.get(id)
    if (fetch === undefined || length === 0 || fetch.received + length > fetch.length)
      throw new PantalaError('MESSAGE_INVALID', { detail: `${length} bytes for request ${id}` })
    if (fetch.received === 0 && fetch.into !== undefined) fetch.link.noteBegun(fetch.piece, true)
    return fetch.into?.subarray(fetch.received, fetch.received + length)
  }

  onPartEnd(id: number, length: number): void {
    const fetch = this.#fetches.get(id)!
    fetch.received += length
    if (fetch.received < fetch.length) return
    this.#fetches.delete(id)
    fetch.settle()
  }

  onFrame(type: FrameType, code: number, slot: number, id: number, body: Uint8Array): void {
    if (type === FRAME.have || type === FRAME.haveMore) this.#onHave(type, slot, body)
    else if (type === FRAME.refuse) this.#onRefuse(code, id)
    else if (type === FRAME.gone) this.#onGone(code, slot)
    else if (type === FRAME.hashes) this.#onHashes(slot, body)
    else if (type === FRAME.idle) this.#onIdle()
    else if (type === FRAME.others) this.#links.get(slot)?.takeOthers(decodeOthers(body))
  }

  #onHave(type: FrameType, slot: number, body: Uint8Array): void {
    const link = this.#links.get(slot)
    // Crossed an unsubscribe.
    if (link === undefined) return
    this.#opening.delete(link)
    const count = pieceCount(link.geometry)
    if (type === FRAME.have) {
      if (body.byteLength !== Math.ceil(count / 8))
        throw new PantalaError('MESSAGE_INVALID', { detail: 'bit field of a wrong length' })
      link.addHave(new Bitfield(count, body).pieces())
      return
    }
    const pieces = decodeNumbers(body)
    if (pieces === undefined) throw new PantalaError('MESSAGE_INVALID', { detail: 'have-more' })
    link.addHave(pieces)
  }

  /** The parent would serve a request at once: the tasks are told in turn, until one has something to ask. */
  #onIdle(): void {
    for (const link of [...this.#links.values()]) {
      if (!link.takeIdle()) continue
      this.#links.delete(link.slot)
      this.#links.set(link.slot, link)
      return
    }
  }

  #onHashes(slot: number, body: Uint8Array): void {
    const told = decodeHashes(body)
    if (told === undefined) throw new PantalaError('MESSAGE_INVALID', { detail: 'hashes' })
    this.#links.get(slot)?.takeHashes(told)
  }

  #onRefuse(code: number, id: number): void {
    if (id === 0) {
      const errorCode = code === REFUSAL.version ? 'PARENT_PROTOCOL' : 'PARENT_REFUSED'
      this.close(new PantalaError(errorCode, { detail: describeRefusal(code) }))
      return
    }
    const fetch = this.#fetches.get(id)
    if (fetch === undefined)
      throw new PantalaError('MESSAGE_INVALID', { detail: `refused request ${id}, which was not made` })
    this.#fetches.delete(id)
    const isWithdrawn = fetch.withdrawn && code === REFUSAL.cancelled
    fetch.settle(
      new PantalaError(isWithdrawn ? 'DEADLINE_PASSED' : 'PARENT_REFUSED', { detail: describeRefusal(code) }),
    )
  }

  #onGone(code: number, slot: number): void {
    const link = this.#links.get(slot)
    if (link === undefined) return
    const error = new PantalaError('PARENT_REFUSED', { detail: describeRefusal(code) })
    this.#dropLink(link, error)
    link.end(error)
  }

  #dropLink(link: PeerLink, error: PantalaError): void {
    if (!this.#links.delete(link.slot)) return
    this.#opening.delete(link)
    for (const fetch of this.#fetches.values()) if (fetch.link === link) fetch.settle(error)
    if (this.#links.size === 0 && !this.over) this.#init.onUnused(this)
  }

  // ---- bytes, silence and the end ----

  silentForMs(): number {
    return this.#silence === undefined ? 0 : this.#clock.monotonic() - this.#byteAt
  }

  #take(buffer: Uint8Array, start: number, end: number): void {
    if (this.over) return
    this.#byteAt = this.#clock.monotonic()
    this.#heldUpTimes = 0
    if (this.#stalled) this.#setStalled(false)
    try {
      this.#parser.push(buffer, start, end)
    } catch (cause) {
      this.#abort(
        new PantalaError('PARENT_PROTOCOL', {
          detail: toPantalaError(cause, 'MESSAGE_INVALID').detail,
          cause,
        }),
      )
    }
  }

  #watchSilence(): void {
    if (this.#silence !== undefined) return
    this.#byteAt = this.#clock.monotonic()
    this.#armSilence(this.#init.silentMs)
  }

  #armSilence(delayMs: number): void {
    const dueAt = this.#clock.monotonic() + delayMs
    this.#silence = this.#clock.after(delayMs, () => {
      this.#silence = undefined
      if (this.over || (!this.#stalled && this.#fetches.size === 0 && this.#opening.size === 0)) return
      const now = this.#clock.monotonic()
      if (now - dueAt > HELD_UP_MS && this.#heldUpTimes < HELD_UP_TIMES_MAX) {
        this.#heldUpTimes++
        this.#byteAt = now
      }
      const { silentMs, lostMs } = this.#init
      const quietMs = now - this.#byteAt
      if (quietMs >= lostMs) {
        this.#abort(noByteFor(lostMs))
        return
      }
      if (quietMs >= silentMs && !this.#stalled) this.#setStalled(true)
      if (!this.over) this.#armSilence((this.#stalled ? lostMs : silentMs) - quietMs)
    })
  }

  /** Who has not even answered the subscription is of no use to those that wait for it. */
  #setStalled(stalled: boolean): void {
    this.#stalled = stalled
    if (stalled) {
      const error = noByteFor(this.#init.silentMs)
      for (const link of [...this.#opening]) {
        this.#dropLink(link, error)
        link.end(error)
      }
    }
    for (const link of this.#links.values()) link.noteStalled(stalled)
  }

  #abort(error: PantalaError): void {
    this.#end(error)
    this.#stream.abort(error)
  }

  #end(error: PantalaError): void {
    if (this.#over !== undefined) return
    this.#over = error
    this.#silence?.cancel()
    const fetches = [...this.#fetches.values()]
    const links = [...this.#links.values()]
    this.#fetches.clear()
    this.#links.clear()
    this.#opening.clear()
    for (const fetch of fetches) fetch.settle(error)
    for (const link of links) link.end(error)
    this.#init.onEnd(this, error)
  }
}

function noByteFor(ms: number): PantalaError {
  return new PantalaError('PARENT_SILENT', { detail: `no byte for ${Math.round(ms)} ms` })
}

function describeRefusal(code: number): string {
  const name = Object.entries(REFUSAL).find(([, value]) => value === code)?.[0]
  return name ?? `code ${code}`
}
