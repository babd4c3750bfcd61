// Keeps a session's parents busy: asks them for the pieces the picker chooses, verifies what comes, asks again where one is slow.
import type { Bitfield } from '../../shared/bitfield.ts'
import type { Clock } from '../../shared/clock.ts'
import { isPantalaError, PantalaError, toPantalaError } from '../../shared/errors.ts'
import { farSlowerMs } from '../../shared/far-slower.ts'
import { type Geometry, pieceLength } from '../../shared/piece.ts'
import { hashPiece } from '../../shared/piece-hash.ts'
import type { HostId } from '../../shared/protocol/messages.ts'
import type { ParentLink } from '../fetch/piece-fetcher.ts'
import type { BufferPool, Loan } from './buffer-pool.ts'
import { LinkWindow } from './link-window.ts'
import type { ParentSet } from './parent-set.ts'
import type { PieceHashes } from './piece-hashes.ts'
import { type Pick, pickPieces } from './piece-picker.ts'
import { isSilent, type PieceRequest, PieceRequests } from './piece-requests.ts'

/** Bytes asked of one parent and not yet received, at most; at least two pieces, so that one is under way while one lands. */
const LINK_WINDOW_BYTES = 12 * 1024 * 1024

/** Pieces asked of one parent that nobody waits for yet, while readers of ranges may ask for others. */
const GENTLE_PIECES_MAX = 2

/** A request that is younger may be about to be served where it is, in ms. */
const MOVED_AFTER_MS = 100

/** Pieces that only a seed offers, and so dealt to this host, that are asked of it beyond its window: what others have as well must not hold them up. */
const SOLE_PIECES = 4

/** So many pieces are taken in any order, the same for no two hosts, before those of parents that hold all are taken in theirs. */
const ORDERED_AFTER_PIECES = 8

export interface AskerInit {
  readonly geometry: Geometry
  readonly signal: AbortSignal
  readonly hashes: PieceHashes
  /** Pieces held; undefined before the blob is open and after the session is over. */
  have(): Bitfield | undefined
  /** True for pieces that come by another way (the source). */
  isElsewhere(piece: number): boolean
  /** Pieces that readers wait for, most urgent first. */
  urgent(): Iterable<number>
  /** True if nothing but the urgent pieces is wanted. */
  isPartial(): boolean
  /** True if others are asked for only a few at a time, so that those that become urgent are soon served. */
  isGentle(): boolean
  /** Stores a piece whose hash was checked; the loan, whose buffer begins with its bytes, may be given back when the promise settles. */
  land(piece: number, bytes: Buffer, hash: Uint8Array, host: HostId, loan: Loan): Promise<void>
  onCorrupt(piece: number, host: HostId): void
  /** This host's own fault (its disk); the session can't go on. */
  onBroken(error: PantalaError): void
}

export class PieceAsker {
  readonly #parents: ParentSet
  readonly #pool: BufferPool
  readonly #clock: Clock
  readonly #random: () => number
  readonly #init: AskerInit
  readonly #requests = new PieceRequests()
  readonly #windowPieces: number
  readonly #windows = new WeakMap<ParentLink, LinkWindow>()
  #askDue = false
  #inLine = false

  constructor(
    components: { parents: ParentSet; pool: BufferPool; clock: Clock; random: () => number },
    init: AskerInit,
  ) {
    this.#parents = components.parents
    this.#pool = components.pool
    this.#clock = components.clock
    this.#random = components.random
    this.#init = init
    this.#windowPieces = Math.max(2, Math.floor(LINK_WINDOW_BYTES / init.geometry.pieceSize))
  }

  /** Pieces asked for and not landed. */
  get requested(): number {
    return this.#requests.size
  }

  isRequested(piece: number): boolean {
    return this.#requests.has(piece)
  }

  get idle(): boolean {
    return this.#requests.size === 0
  }

  /** Looks for pieces to ask for, once this turn of the event loop is over. */
  askSoon(): void {
    if (this.#askDue || this.#init.signal.aborted) return
    this.#askDue = true
    queueMicrotask(() => {
      this.#askDue = false
      this.#ask()
    })
  }

  /** Asks idle parents for pieces that others are slow with; what a parent has not begun to send is taken from it. */
  askOverdueAgain(): void {
    const overdue = this.#requests.overdue(this.#clock.monotonic())
    if (overdue.length === 0) return
    for (const link of this.#parents.links) {
      if (link.pending > 0 || link.stalled === true) continue
      const at = overdue.findIndex(({ host, piece }) => host !== link.host && link.have.has(piece))
      if (at < 0) continue
      const [request] = overdue.splice(at, 1)
      // One that is silent does not say whether it has begun.
      if (!request!.begun() && !isSilent(request!) && this.#move(request!, link)) continue
      const loan = this.#lend()
      if (loan === undefined) continue
      if (!request!.begun())
        request!.abort.abort(new PantalaError('DEADLINE_PASSED', { detail: 'asked of another' }))
      this.#request(link, request!.piece, loan)
    }
  }

  /**
   * A parent has nothing to do: the piece that has waited longest in another's line is asked of it instead. True if there is one. So no uplink is
   * idle while others have lines, which a choice made when the piece was asked for cannot ensure.
   */
  askInstead(link: ParentLink): boolean {
    if (link.pending > 0 || link.stalled === true || this.#init.signal.aborted) return false
    const before = this.#clock.monotonic() - MOVED_AFTER_MS
    const request = this.#requests.findUnbegun(
      before,
      ({ host, piece }) => host !== link.host && link.have.has(piece),
    )
    return request !== undefined && this.#move(request, link)
  }

  /** Asked of another once its parent gives it back; if that has begun, it goes on. False if the parent can't give back. */
  #move(request: PieceRequest, to: ParentLink): boolean {
    const from = this.#parents.links.find(({ host }) => host === request.host)
    if (from?.withdraw === undefined) return false
    request.movesTo = to.host
    from.withdraw(request.piece)
    return true
  }

  /** A parent fell silent: what it has not begun is asked of others, what it has begun of others too. */
  leaveStalled(link: ParentLink): void {
    this.#requests.abortUnbegun(
      link.host,
      new PantalaError('DEADLINE_PASSED', { detail: 'asked of another' }),
    )
    this.askSoon()
  }

  stop(reason: Error): void {
    this.#requests.abortAll(reason)
  }

  /** `inHand`: a buffer that was waited for; it is used for the first pick, or given back. */
  #ask(inHand?: Loan): void {
    // Whoever is in line is served soon; looking before that would find no buffer.
    if (this.#inLine) return
    const { links } = this.#parents
    const picks = this.#pick(links, inHand)
    if (inHand !== undefined && picks.length === 0) inHand.giveBack()
    picks.forEach(({ piece, offer }, index) => {
      const loan = index === 0 && inHand !== undefined ? inHand : this.#lend()
      if (loan !== undefined) this.#request(links[offer]!, piece, loan)
      else if (index === 0) void this.#standInLine()
    })
    if (picks.length === 0) this.askOverdueAgain()
  }

  #pick(links: readonly ParentLink[], inHand: Loan | undefined): Pick[] {
    const have = this.#init.have()
    if (have === undefined || links.length === 0) return []
    const { hashes } = this.#init
    const urgent = [...this.#init.urgent()]
    const isGentle = this.#init.isGentle()
    const only = this.#init.isPartial() ? new Set(urgent) : undefined
    const slowMs = this.#slowMs()
    const room = this.#pool.roomFor(this.#init.geometry.pieceSize) + (inHand === undefined ? 0 : 1)
    return pickPieces({
      pieces: have.length,
      offers: links.map(link => ({
        have: link.have,
        room: link.stalled === true ? 0 : this.#windowOf(link).pieces - link.pending,
        spare: isGentle ? Math.max(0, this.#windowOf(link).pieces - GENTLE_PIECES_MAX) : 0,
        soleRoom: this.#soleRoom(link),
        isSeed: this.#parents.isSeed(link.host),
        isSlow: this.#windowOf(link).tookMs > slowMs,
      })),
      wanted: piece =>
        !have.has(piece) &&
        only?.has(piece) !== false &&
        hashes.known.has(piece) &&
        !this.#requests.has(piece) &&
        !this.#init.isElsewhere(piece),
      urgent,
      // Who holds all of it has no use for a piece of ours; others that have, if there are any, are known by then.
      inOrder: have.count >= ORDERED_AFTER_PIECES && links.every(link => link.have.isFull),
      picksMax: Math.max(room, 1),
      random: this.#random,
    })
  }

  /**
   * All buffers are out with other sessions: waits for its turn, and uses what it is given then. Giving it back to look again would let
   * two sessions in line pass one buffer to and fro for ever.
   */
  async #standInLine(): Promise<void> {
    if (this.#inLine) return
    this.#inLine = true
    try {
      const loan = await this.#pool.lend(this.#init.geometry.pieceSize, this.#init.signal)
      this.#inLine = false
      this.#ask(loan)
    } catch {
      // The session ended meanwhile.
      this.#inLine = false
    }
  }

  #soleRoom(link: ParentLink): number {
    if (!this.#parents.isSeed(link.host) || link.stalled === true) return 0
    return Math.max(0, this.#windowOf(link).pieces + SOLE_PIECES - link.pending)
  }

  #windowOf(link: ParentLink): LinkWindow {
    let window = this.#windows.get(link)
    if (window === undefined) {
      // Of a seed one may wait behind first copies, and what it deals to this host is asked for at once all the same.
      const piecesMin = this.#parents.isSeed(link.host) ? 2 : 1
      window = new LinkWindow({ piecesMin, piecesMax: this.#windowPieces })
      this.#windows.set(link, window)
    }
    return window
  }

  /** Mean of what pieces of the parents took of late, in ms; 0 while none has sent any. */
  #usualMs(): number {
    const took = this.#tookMs()
    return took.reduce((sum, ms) => sum + ms, 0) / Math.max(1, took.length)
  }

  /** A parent whose pieces take longer than this is far slower than the others, in ms. */
  #slowMs(): number {
    return farSlowerMs(this.#tookMs())
  }

  /** What pieces of each parent took of late, of those that sent any, in ms. */
  #tookMs(): number[] {
    return this.#parents.links.map(link => this.#windowOf(link).tookMs).filter(ms => ms > 0)
  }

  #lend(): Loan | undefined {
    return this.#pool.tryLend(this.#init.geometry.pieceSize)
  }

  #request(link: ParentLink, piece: number, loan: Loan): void {
    // What is usual for one that is slow is no reason to wait for it that long.
    const usualMs = Math.min(this.#windowOf(link).tookMs || this.#usualMs(), this.#slowMs())
    const begun = () => link.begun?.(piece) ?? true
    const stalled = () => link.stalled === true
    const silentForMs = () => link.silentForMs?.() ?? 0
    const request = this.#requests.add(piece, link.host, this.#clock.monotonic(), {
      usualMs,
      begun,
      stalled,
      silentForMs,
    })
    void this.#fetch(link, request, loan).finally(() => {
      const next = request.movesTo === undefined ? undefined : this.#nextFor(request)
      if (next !== undefined) this.#request(next, piece, loan)
      else loan.giveBack()
      this.askSoon()
    })
  }

  /** The parent that a request which was given back moves to; undefined if it landed, or is asked for already. */
  #nextFor({ piece, movesTo, arrived }: PieceRequest): ParentLink | undefined {
    const isWanted = !arrived && !this.#requests.has(piece) && this.#init.have()?.has(piece) === false
    if (!isWanted || this.#init.signal.aborted || this.#init.isElsewhere(piece)) return undefined
    return this.#parents.live.find(({ host, have }) => host === movesTo && have.has(piece))
  }

  async #fetch(link: ParentLink, request: PieceRequest, loan: Loan): Promise<void> {
    const { piece } = request
    const { hashes, geometry } = this.#init
    const bytes = loan.buffer.subarray(0, pieceLength(geometry, piece))
    try {
      await link.fetch(piece, bytes, request.abort.signal)
      request.arrived = true
      this.#windowOf(link).noteLanded(this.#clock.monotonic() - request.startedAtMs)
      if (this.#init.have()?.has(piece) !== false) return
      // The hash was withdrawn meanwhile, which is not this parent's fault.
      if (!hashes.known.has(piece)) return
      const hash = hashPiece(bytes)
      if (!hashes.matches(piece, hash)) {
        this.#init.onCorrupt(piece, link.host)
        throw new PantalaError('PIECE_CORRUPT', { detail: `piece ${piece} from ${link.host}` })
      }
      this.#requests.abortOthers(
        piece,
        request,
        new PantalaError('DEADLINE_PASSED', { detail: 'landed from another parent' }),
      )
      await this.#init.land(piece, bytes, hash, link.host, loan)
    } catch (error) {
      if (request.abort.signal.aborted || this.#init.signal.aborted) return
      if (request.movesTo !== undefined && isPantalaError(error, 'DEADLINE_PASSED')) return
      if (isPantalaError(error) && error.entry.blame === 'self') this.#init.onBroken(error)
      else this.#parents.giveUp(link.host, toPantalaError(error, 'PARENT_GONE'))
    } finally {
      this.#requests.remove(request)
    }
  }
}
