// All running sessions, one per digest: readers join them, grants go to them, complete blobs are read from the store without one.
import { abortable } from '../../shared/abortable.ts'
import type { Digest } from '../../shared/digest.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import { FairQueue } from '../../shared/fair-queue.ts'
import { BLOB_BYTES_MAX, type Geometry, geometryFor, pieceAt, pieceCount } from '../../shared/piece.ts'
import type { Candidate, Grant } from '../../shared/protocol/messages.ts'
import type { SourceClient } from '../../shared/source/source-client.ts'
import { contentOf, type TaskKey } from '../../shared/task-key.ts'
import { BlobReader, isStoreFault, type PassOn, type ReadingPlace } from './blob-reader.ts'
import { BlobSession } from './blob-session.ts'
import type { BlobAhead, BlobRequest, Blobs, ByteSpan, OpenBlob } from './blobs.ts'
import type { BufferPool } from './buffer-pool.ts'
import { firstBytes } from './first-bytes.ts'
import { reportHeld } from './held-pieces.ts'
import { LocalBlobs } from './local-blobs.ts'
import { passThrough } from './pass-through.ts'
import { piecesOf } from './piece-runs.ts'
import { waitFor } from './readable-blob.ts'
import type { PieceSpan, Seat } from './reader-seats.ts'
import type { SessionComponents, SessionInit } from './session-components.ts'
import { WRONG_TRIES_MAX } from './wrong-blob.ts'

export interface TableComponents extends SessionComponents {
  readonly registry: SourceClient
  /** Buffers of what is being sent to readers. */
  readonly sendPool: BufferPool
}

export interface SessionTableInit {
  /** Sessions at the same time, at most. More wait for one of them to end, if they have readers, each repository in turn; grants are refused with OVERLOADED. */
  readonly sessionsMax: number
  /** How long a session without readers goes on, in ms, so that a client that was cut finds it when it comes back. */
  readonly lingerMs: number
  /** True if the rest of a blob follows where only ranges of it are read; else only the pieces of those ranges are fetched. */
  readonly prefetch: boolean
}

/** Readers that wait for a place of a session, and how long, in ms. */
const READERS_WAITING_MAX = 4096
const PLACE_WAIT_MS_MAX = 30_000

interface SeatedReader {
  readonly session: BlobSession
  readonly place: ReadingPlace
}

type Spans = readonly ByteSpan[] | undefined
type NewSession = Omit<SessionInit, 'lingerMs' | 'prefetch' | 'onWrong' | 'onEnd'>

export class SessionTable implements Blobs {
  readonly #c: TableComponents
  readonly #init: SessionTableInit
  readonly #sessions = new Map<Digest, BlobSession>()
  /** Blobs of running sessions that somebody, here or elsewhere, reads ranges of. */
  readonly #inParts = new Set<Digest>()
  readonly #queue: FairQueue
  readonly #local: LocalBlobs
  #stopping = false

  constructor(components: TableComponents, init: SessionTableInit) {
    this.#c = components
    this.#local = new LocalBlobs(components)
    this.#init = init
    this.#queue = new FairQueue(components, {
      waitingMax: READERS_WAITING_MAX,
      waitMsMax: PLACE_WAIT_MS_MAX,
      what: 'a place to fetch the blob',
    })
  }

  get size(): number {
    return this.#sessions.size
  }

  /** Progress of all sessions, for people. */
  describe(): ReturnType<BlobSession['describe']>[] {
    return [...this.#sessions.values()].map(session => session.describe())
  }

  inMemory(key: TaskKey): Uint8Array | undefined {
    return this.#c.store.stuck.aborted ? undefined : this.#local.inMemory(key)
  }

  async open(request: BlobRequest, spans: Spans, signal: AbortSignal): Promise<OpenBlob> {
    signal.throwIfAborted()
    const { stuck } = this.#c.store
    const opening = stuck.aborted ? Promise.reject(stuck.reason) : this.#openHere(request, spans, signal)
    try {
      return await abortable(opening, stuck)
    } catch (error) {
      opening.then(open => open.close()).catch(() => {})
      if (!isStoreFault(error)) throw error
      const { digest } = request
      this.#c.logger.warn({ err: error.message, digest }, 'store can’t take the blob; passing it through')
      return this.#openPassThrough(request, await this.length(request, signal))
    }
  }

  /** @throws PantalaError, STORE_FULL and STORE_FAILED among them, or the signal's reason */
  async #openHere(request: BlobRequest, spans: Spans, signal: AbortSignal): Promise<OpenBlob> {
    const { digest } = request
    const cached = await this.#openLocal(request, spans, signal).catch(error => {
      // What the disk can't give is fetched, as if it were not here.
      if (!isStoreFault(error)) throw error
      this.#c.logger.error({ err: error.message, digest }, 'a stored blob can’t be opened')
    })
    if (cached !== undefined) return cached
    const size = this.#sessions.get(digest)?.geometry.size ?? (await this.length(request, signal))
    if (size > BLOB_BYTES_MAX) return this.#openPassThrough(request, size)
    // Who asks for all as a range reads the whole.
    const parts = spans?.length === 1 && spans[0]!.length === size ? undefined : spans
    const read = (): Promise<OpenBlob> => this.#openSession(request, size, parts, signal)
    return read().catch(async error => {
      if (isPantalaError(error, 'STORE_FULL') && (await this.#freeRoom())) return read()
      throw error
    })
  }

  async fetchAhead(request: BlobRequest, signal: AbortSignal): Promise<BlobAhead | undefined> {
    signal.throwIfAborted()
    if (!this.#isWanting(request)) return undefined
    const size = await this.length(request, signal)
    signal.throwIfAborted()
    if (size > BLOB_BYTES_MAX || !this.#isWanting(request)) return undefined
    const session = this.#startSession(request, geometryFor(size), { register: true, room: 'whole' })
    return { whole: until => waitFor(session, 'whole', until), close: session.startAhead() }
  }

  async length(request: BlobRequest, signal: AbortSignal): Promise<number> {
    const known = request.size ?? this.#c.store.stat(request.digest)?.size
    if (known !== undefined) return known
    const { source } = request
    const digest = contentOf(request.digest)
    if (this.#c.scheduler.connected) {
      try {
        const ask = { kind: 'blob-length', source, reference: digest, accept: [] } as const
        return (await this.#c.scheduler.relay(ask, signal)).length
      } catch (error) {
        if (!isPantalaError(error) || error.entry.blame !== 'supernode') throw error
      }
    }
    return this.#c.registry.blobLength(source, digest, signal)
  }

  /** True if others may take this host's word on the hash of this piece. */
  mayTell(digest: Digest, piece: number): boolean {
    const session = this.#sessions.get(digest)
    return session === undefined ? this.#c.store.stat(digest)?.complete === true : session.vouchesFor(piece)
  }

  /** True while ranges of the blob are read, here or where its pieces go. */
  isReadInParts(digest: Digest): boolean {
    return this.#inParts.has(digest)
  }

  /** A host that no supernode helps seeks this blob here. */
  meetSeeker(digest: Digest, seeker: Candidate): void {
    this.#sessions.get(digest)?.meet(seeker)
  }

  /** Runs a grant, in the blob's session or in a new one without readers. */
  acceptGrant(grant: Grant): void {
    if (this.#stopping) {
      this.#c.scheduler.grantFailed(grant.digest, grant.runs, new PantalaError('SHUTTING_DOWN'))
      return
    }
    if (this.#c.store.stat(grant.digest)?.complete === true) {
      void this.#reportStored(grant)
      return
    }
    const geometry = { size: grant.size, pieceSize: grant.pieceSize }
    const isWhole = grant.runs.some(({ count }) => count >= pieceCount(geometry))
    const room = isWhole ? 'whole' : 'pieces'
    try {
      const session =
        this.#sessions.get(grant.digest) ?? this.#startSession(grant, geometry, { register: false, room })
      if (grant.urgent === true) this.#inParts.add(grant.digest)
      session.acceptGrant(grant)
    } catch (error) {
      // Too many sessions: another host may have room for one.
      this.#c.scheduler.grantFailed(grant.digest, grant.runs, error as Error)
    }
  }

  /** Ends all sessions; their readers are cut. */
  stop(): void {
    this.#stopping = true
    this.#queue.rejectAll(new PantalaError('SHUTTING_DOWN'))
    for (const session of [...this.#sessions.values()]) session.abandon(new PantalaError('SHUTTING_DOWN'))
  }

  /** What was granted is here already, as after the supernode lost its journal. */
  async #reportStored(grant: Grant): Promise<void> {
    try {
      const handle = await this.#c.store.open(grant.digest)
      if (handle === undefined) throw new PantalaError('STORE_FAILED', { detail: 'evicted meanwhile' })
      reportHeld(this.#c.scheduler, handle, piecesOf(grant.runs))
      await handle.close()
    } catch (error) {
      this.#c.scheduler.grantFailed(grant.digest, grant.runs, error as Error)
    }
  }

  /** See LocalBlobs. */
  #openLocal(request: BlobRequest, spans: Spans, signal: AbortSignal): Promise<OpenBlob | undefined> {
    return this.#local.open(request.digest, place => this.#read(request, spans, place), signal)
  }

  /** True if the blob is not here and not being fetched, and a place is free that nobody waits for. */
  #isWanting({ digest }: BlobRequest): boolean {
    const isFree = this.#sessions.size < this.#init.sessionsMax && this.#queue.waiting === 0
    const isHere = [digest, contentOf(digest)].some(key => this.#c.store.stat(key)?.complete === true)
    return isFree && !isHere && !this.#sessions.has(digest)
  }

  /** Ends the sessions that nobody reads from, and settles when the store has the room that was kept for them; false if there was none. */
  async #freeRoom(): Promise<boolean> {
    const ended = [...this.#sessions.values()].filter(session => session.yieldPlace())
    await Promise.all(ended.map(session => session.releaseIfOver()))
    return ended.length > 0
  }

  #read(request: BlobRequest, spans: Spans, place: ReadingPlace): OpenBlob {
    const { digest } = request
    const findNext = async (signal: AbortSignal): Promise<ReadingPlace | undefined> => {
      const session = this.#sessions.get(digest)
      return session === undefined
        ? this.#local.openPlace(digest, signal)
        : this.#join(session, undefined).place
    }
    const logger = this.#c.logger.child({ digest })
    const whole = spans === undefined
    const passOn = this.#passOn(request, place.blob.geometry.size)
    const { store, sendPool: pool } = this.#c
    const components = { pool, logger, stuck: () => store.stuck }
    return new BlobReader(components, { place, whole, findNext, passOn })
  }

  /** The way round a store that fails while somebody reads. */
  #passOn({ source, digest }: BlobRequest, size: number): PassOn {
    return (span, take, signal, begun) => {
      this.#c.metrics.countPassedThrough('midway')
      return passThrough(this.#c, { source, digest, size, ...span }, take, signal, begun)
    }
  }

  /** Read in a session once its first bytes are here. What goes wrong before that is tried again, where that may help. */
  async #openSession(
    request: BlobRequest,
    size: number,
    spans: Spans,
    signal: AbortSignal,
  ): Promise<OpenBlob> {
    const { digest } = request
    for (let tries = 1; ; tries++) {
      let reader: SeatedReader | undefined
      try {
        // First of all, since a session in which somebody reads the whole fetches the whole.
        const running = this.#sessions.get(digest)
        if (spans === undefined && running !== undefined) await abortable(running.keepRoom(), signal)
        reader = await this.#seatReader(request, size, spans, signal)
        const { session, place } = reader
        // Another reader, who waited too, may have begun it for a range.
        if (spans === undefined) await abortable(session.keepRoom(), signal)
        await abortable(session.ensureRegistered(), signal)
        await firstBytes(session, spans?.[0], signal)
        const fresh = session.complete
          ? await this.#local.openFresh(digest, session, () => place.leave())
          : undefined
        return fresh ?? this.#read(request, spans, place)
      } catch (error) {
        reader?.place.leave()
        if (tries >= WRONG_TRIES_MAX || signal.aborted || !this.#isOver(digest, error)) throw error
        // It may be over because all of it is here.
        const stored = await this.#openLocal(request, spans, signal)
        if (stored !== undefined) return stored
      }
    }
  }

  /** True if the error says no more than that the session is over that was being joined: there is another one, or can be. */
  #isOver(digest: Digest, error: unknown): boolean {
    if (isPantalaError(error, 'SOURCE_DIGEST_MISMATCH')) return this.#sessions.has(digest)
    return isPantalaError(error, 'SHUTTING_DOWN') && !this.#stopping
  }

  /** A seat in the blob's session, or in a new one as soon as there is a place for it. */
  #seatReader(
    request: BlobRequest,
    size: number,
    spans: Spans,
    signal: AbortSignal,
  ): Promise<SeatedReader> | SeatedReader {
    const { digest, source } = request
    const take = (): SeatedReader => {
      const session =
        this.#sessions.get(digest) ??
        this.#startSession(request, geometryFor(size), {
          register: true,
          room: spans === undefined || this.#init.prefetch ? 'whole' : 'pieces',
        })
      return this.#join(session, spans)
    }
    if (this.#sessions.has(digest) || (this.#queue.waiting === 0 && this.#hasPlace())) return take()
    return this.#queue.wait(`${source.registry}/${source.repository}`, take, signal)
  }

  #join(session: BlobSession, spans: Spans): SeatedReader {
    if (spans !== undefined) this.#inParts.add(session.digest)
    const seat = session.join(spans?.map(span => piecesIn(session.geometry, span)))
    const place: ReadingPlace = {
      blob: session,
      from: 'swarm',
      moveTo: piece => seat.moveTo(piece),
      leave: () => this.#leave(seat),
    }
    return { session, place }
  }

  #leave(seat: Seat): void {
    seat.leave()
    this.#seatNext()
  }

  /** Those that wait get the places that are free. */
  #seatNext(): void {
    while (this.#queue.waiting > 0 && this.#hasPlace() && this.#queue.next());
  }

  #startSession(
    { digest, source }: Pick<BlobRequest, 'digest' | 'source'>,
    geometry: Geometry,
    manner: Pick<SessionInit, 'register' | 'room'>,
  ): BlobSession {
    if (this.#stopping) throw new PantalaError('SHUTTING_DOWN')
    this.#c.store.stuck.throwIfAborted()
    if (!this.#hasPlace()) {
      throw new PantalaError('OVERLOADED', { detail: `${this.#sessions.size} blobs are being fetched` })
    }
    return this.#makeSession({ digest, source, geometry, ...manner, tries: 1 })
  }

  #makeSession(init: NewSession): BlobSession {
    const { digest } = init
    const session: BlobSession = new BlobSession(this.#c, {
      ...init,
      lingerMs: this.#init.lingerMs,
      prefetch: this.#init.prefetch,
      onWrong: after => {
        if (this.#stopping || init.tries >= WRONG_TRIES_MAX) return false
        this.#c.metrics.countRefetched()
        this.#makeSession({ ...init, register: true, tries: init.tries + 1, after }).startAhead()()
        return true
      },
      onEnd: () => {
        if (this.#sessions.get(digest) !== session) return
        this.#sessions.delete(digest)
        this.#inParts.delete(digest)
        // Later, for it may end to make a place for one that is about to take it.
        if (this.#queue.waiting > 0) queueMicrotask(() => this.#seatNext())
      },
    })
    this.#sessions.set(digest, session)
    return session
  }

  /** True if one more may run; where there is no place, the oldest session that nobody reads from ends. */
  #hasPlace(): boolean {
    if (this.#sessions.size < this.#init.sessionsMax) return true
    for (const session of this.#sessions.values()) if (session.yieldPlace()) return true
    return false
  }

  #openPassThrough(request: BlobRequest, size: number): OpenBlob {
    const { source, digest } = request
    this.#c.metrics.countPassedThrough('start')
    return {
      size,
      from: 'swarm',
      send: (offset, length, take, signal) =>
        passThrough(this.#c, { source, digest, size, offset, length }, take, signal),
      close: () => {},
    }
  }
}

/** The pieces that hold a span. */
function piecesIn(geometry: Geometry, { offset, length }: ByteSpan): PieceSpan {
  return { first: pieceAt(geometry, offset), last: pieceAt(geometry, offset + length - 1) }
}
