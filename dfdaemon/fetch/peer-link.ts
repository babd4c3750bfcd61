// One parent's offer of one task on a shared stream: what it holds, the fetches that run, and the end. The stream does the talking.
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import { type Geometry, pieceCount, pieceLength } from '../../shared/piece.ts'
import type { ToldHashes } from '../../shared/protocol/alone-frames.ts'
import type { Candidate, HostId } from '../../shared/protocol/messages.ts'
import type { LinkListener, ParentLink } from './piece-fetcher.ts'

/** What a link asks of its stream. */
export interface LinkStream {
  readonly host: HostId
  /** See ParentLink. */
  readonly stalled: boolean
  request(link: PeerLink, piece: number, into: Uint8Array, signal: AbortSignal): Promise<void>
  withdraw(link: PeerLink, piece: number): void
  sendAlone(link: PeerLink, addresses: readonly string[]): void
  unsubscribe(link: PeerLink): void
  /** See ParentLink. */
  silentForMs(): number
}

export class PeerLink implements ParentLink {
  readonly host: HostId
  readonly slot: number
  readonly digest: Digest
  readonly geometry: Geometry
  readonly have: Bitfield
  /** Settles when the parent answered the subscription. */
  readonly opened: Promise<void>
  pending = 0
  readonly #stream: LinkStream
  readonly #listener: LinkListener
  readonly #open = Promise.withResolvers<void>()
  #state: 'opening' | 'opened' | 'live' | 'over' = 'opening'
  #error: Error | undefined
  #saidAlone = false
  readonly #begun = new Set<number>()

  constructor(
    stream: LinkStream,
    init: { slot: number; digest: Digest; geometry: Geometry; listener: LinkListener },
  ) {
    this.#stream = stream
    this.host = stream.host
    this.slot = init.slot
    this.digest = init.digest
    this.geometry = init.geometry
    this.have = new Bitfield(pieceCount(init.geometry))
    this.#listener = init.listener
    this.opened = this.#open.promise
    this.opened.catch(() => {})
  }

  get over(): boolean {
    return this.#state === 'over'
  }

  /** The session has the link from now on: what came before is in `have`, what comes after is told. */
  handOver(): void {
    if (this.#state === 'opened') this.#state = 'live'
  }

  fetch(piece: number, into: Uint8Array, signal: AbortSignal): Promise<void> {
    const length = pieceLength(this.geometry, piece)
    if (length === 0 || into.byteLength !== length)
      throw new TypeError(`piece ${piece} has ${length} bytes, not ${into.byteLength}`)
    if (signal.aborted) return Promise.reject(signal.reason)
    if (this.over)
      return Promise.reject(this.#error ?? new PantalaError('PARENT_GONE', { detail: 'the link was closed' }))
    return this.#stream.request(this, piece, into, signal)
  }

  withdraw(piece: number): void {
    if (!this.over) this.#stream.withdraw(this, piece)
  }

  begun(piece: number): boolean {
    return this.#begun.has(piece)
  }

  get stalled(): boolean {
    return this.#stream.stalled
  }

  silentForMs(): number {
    return this.#stream.silentForMs()
  }

  alone(addresses: readonly string[]): void {
    if (this.over || this.#saidAlone) return
    this.#saidAlone = true
    this.#stream.sendAlone(this, addresses)
  }

  close(): void {
    if (this.over) return
    this.#state = 'over'
    this.#stream.unsubscribe(this)
  }

  // ---- from the stream ----

  /** The parent fell silent, or sends again. */
  noteStalled(stalled: boolean): void {
    if (this.#state === 'live') this.#listener.onStall?.(stalled)
  }

  /** Bytes of a piece come, or no more of them do. */
  noteBegun(piece: number, begun: boolean): void {
    if (begun) this.#begun.add(piece)
    else this.#begun.delete(piece)
  }

  /** The parent would serve a request at once; true if it was given one. */
  takeIdle(): boolean {
    return this.#state === 'live' && (this.#listener.onIdle?.() ?? false)
  }

  /** The parent holds these. @throws PantalaError MESSAGE_INVALID on a piece that does not exist */
  addHave(pieces: Iterable<number>): void {
    const fresh: number[] = []
    for (const piece of pieces) {
      if (piece >= this.have.length)
        throw new PantalaError('MESSAGE_INVALID', { detail: `piece ${piece} of ${this.have.length}` })
      if (this.have.add(piece)) fresh.push(piece)
    }
    if (this.#state === 'opening') {
      this.#state = 'opened'
      this.#open.resolve()
    } else if (this.#state === 'live' && fresh.length > 0) this.#listener.onHave(fresh)
  }

  /** The parent vouches for these hashes. @throws PantalaError MESSAGE_INVALID on a piece that does not exist, or unasked */
  takeHashes({ pieces, hashes }: ToldHashes): void {
    if (!this.#saidAlone || pieces.some(piece => piece >= this.have.length))
      throw new PantalaError('MESSAGE_INVALID', { detail: 'hashes' })
    if (this.#state === 'live') this.#listener.onHashes?.(pieces, hashes)
  }

  /** @throws PantalaError MESSAGE_INVALID if nobody asked */
  takeOthers(others: readonly Candidate[]): void {
    if (!this.#saidAlone) throw new PantalaError('MESSAGE_INVALID', { detail: 'others' })
    if (this.#state === 'live') this.#listener.onOthers?.(others)
  }

  /** The parent or the stream ended it. The listener hears of it later, never within a call of its own. */
  end(error: Error): void {
    if (this.over) return
    const live = this.#state === 'live'
    this.#state = 'over'
    this.#error = error
    this.#open.reject(error)
    if (live) queueMicrotask(() => this.#listener.onClose(error))
  }
}
