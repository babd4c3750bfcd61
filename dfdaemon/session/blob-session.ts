// One host's download of one blob: registers it, asks parents for pieces, runs grants, lands what comes, checks the whole digest.
// Readers join it through the session table; it does not know HTTP.
import type { Digest, DigestCheck } from '../../shared/digest.ts'
import { PantalaError, toPantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { Geometry } from '../../shared/piece.ts'
import type {
  Candidate,
  Finish,
  Grant,
  PieceRun,
  Registered,
  SourceRef,
} from '../../shared/protocol/messages.ts'
import type { BlobHandle } from '../store/blob-store.ts'
import { isStoreFault } from './blob-reader.ts'
import { heldBits } from './held-pieces.ts'
import { createBlob, WholeRoom } from './kept-room.ts'
import { PieceGathering } from './piece-gathering.ts'
import { PieceLanding, type PieceOrigin } from './piece-landing.ts'
import { missingOf } from './piece-runs.ts'
import type { ReadableBlob } from './readable-blob.ts'
import type { PieceSpan, Seat } from './reader-seats.ts'
import type { LentPiece } from './recent-pieces.ts'
import type { SessionComponents, SessionInit } from './session-components.ts'
import { SessionReaders } from './session-readers.ts'
import { type Awaited, SessionWaiters } from './session-waiters.ts'
import type { SourceReason } from './source-runs.ts'
import { StallWatch } from './stall-watch.ts'
import { TaskRegistration } from './task-registration.ts'
import { WrongBlob } from './wrong-blob.ts'

export class BlobSession implements ReadableBlob {
  readonly digest: Digest
  readonly geometry: Geometry
  readonly #c: SessionComponents
  readonly #init: SessionInit
  readonly #logger: Logger
  readonly #waiters = new SessionWaiters()
  readonly #stop = new AbortController()
  readonly #registration: TaskRegistration
  readonly #watch: StallWatch
  readonly #gathering: PieceGathering
  readonly #readers: SessionReaders
  #source: SourceRef
  #handle: BlobHandle | undefined
  #landing: PieceLanding | undefined
  /** The whole digest was checked; the commit may still be under way. */
  #verified = false
  #outcome: Finish['outcome'] | undefined
  #started: Promise<void> | undefined
  /** The bytes did not make the digest. */
  #wrong: WrongBlob | undefined
  readonly #room: WholeRoom

  constructor(components: SessionComponents, init: SessionInit) {
    this.#c = components
    this.#init = init
    this.digest = init.digest
    this.geometry = init.geometry
    this.#source = init.source
    this.#room = new WholeRoom(components)
    this.#logger = components.logger.child({ digest: init.digest })
    const { stuck } = components.store
    stuck.addEventListener('abort', () => this.#break(stuck.reason), { signal: this.#stop.signal })
    this.#readers = new SessionReaders(components, {
      ...init,
      have: () => (this.#outcome === undefined ? this.#handle?.stat.have : undefined),
      isRegistered: () => this.#registration.asked && this.#outcome === undefined,
      isBusy: () => this.#gathering.runs.busy,
      onMoved: () => this.#gathering.serveReaders(),
      onEmpty: () => void this.releaseIfOver(),
      onDeserted: () => void this.yieldPlace(),
    })
    this.#registration = this.#makeRegistration()
    this.#gathering = new PieceGathering(components, {
      digest: init.digest,
      geometry: init.geometry,
      waiters: this.#waiters,
      logger: this.#logger,
      signal: this.#stop.signal,
      handle: () => (this.#outcome === undefined ? this.#handle : undefined),
      open: async () => {
        await this.start()
        return this.#outcome === undefined ? this.#handle : undefined
      },
      from: () => this.#source,
      passOver: init.tries - 1,
      readers: this.#readers,
      land: async (...landed) => {
        if (this.#outcome === undefined) await this.#landing!.land(...landed)
      },
      onSourceFailed: (runs, reason, error) => this.#sourceFailed(runs, reason, error),
      onSourceIdle: () => this.#readers.restartLinger(),
      onDropped: () => {
        // What was hashed of them is void.
        if (this.#handle !== undefined) this.#landing = this.#makeLanding(this.#handle)
      },
      onBroken: error => this.#break(error),
    })
    this.#watch = new StallWatch(
      { clock: components.clock },
      {
        isAlone: () => this.#registration.alone,
        onTick: () => this.#gathering.onTick(),
        onQuiet: () => components.scheduler.expectSign(this.digest),
        onStall: () => this.#gathering.onStall(this.#registration.alone),
      },
    )
  }

  get complete(): boolean {
    return this.#verified
  }

  /** True once some piece is stored. */
  get hasAny(): boolean {
    return (this.#handle?.stat.have.count ?? 0) > 0
  }

  get full(): boolean {
    return this.#handle?.stat.have.isFull ?? false
  }

  has(piece: number): boolean {
    return this.#gathering.trust.isSure(piece) && (this.#handle?.stat.have.has(piece) ?? false)
  }

  /** The hash of a piece that is held, or was until the blob turned out wrong. */
  hashOf(piece: number): Uint8Array | undefined {
    return this.#wrong?.hashOf(piece) ?? this.#handle?.pieceHash(piece)
  }

  /** The digest over the first pieces, all of them stored; undefined if it is not to be had. */
  hashedPrefix(): DigestCheck | undefined {
    return this.#landing?.hashedPrefix()
  }

  /** True if others may take this host's word on the piece's hash. */
  vouchesFor(piece: number): boolean {
    return this.#verified || this.#gathering.trust.vouchesFor(piece)
  }

  /** A host without a supernode seeks the same blob here. */
  meet(seeker: Candidate): void {
    this.#gathering.meet(seeker)
  }

  read(position: number, into: Uint8Array): Promise<void> {
    if (this.#handle !== undefined) return this.#handle.read(position, into)
    return Promise.reject(this.#wrong?.error ?? new PantalaError('STORE_FAILED', { detail: 'not open' }))
  }

  lend(piece: number, all: boolean): LentPiece | Promise<LentPiece | undefined> | undefined {
    return this.#landing?.lend(piece, all)
  }

  wait(what: Awaited, wake: () => void, fail: (error: Error) => void): () => void {
    return this.#waiters.add(what, wake, fail)
  }

  /** Takes a seat as a reader of the whole, or of `spans` in the order in which they are read; the session goes on at least as long as somebody has one. */
  join(spans?: readonly PieceSpan[]): Seat {
    return this.#readers.join(spans)
  }

  /** Begins without a reader, who will soon come: the session waits for one until the answer is called, once, and then as ever. */
  startAhead(): () => void {
    this.ensureRegistered().catch(() => {})
    return this.#readers.expect()
  }

  /** Ends a session that nobody reads from, that fetches nothing it was granted and commits nothing; false if it goes on. */
  yieldPlace(): boolean {
    if (this.#readers.count === 0 && !this.#gathering.runs.busy && !this.#verified) this.#end('left')
    return this.#outcome !== undefined
  }

  /** Progress for people. */
  describe(): Record<string, unknown> {
    const { digest, geometry } = this
    return { digest, size: geometry.size, ...this.#gathering.describe(), readers: this.#readers.count }
  }

  #makeRegistration(): TaskRegistration {
    return new TaskRegistration(
      { scheduler: this.#c.scheduler },
      {
        request: {
          digest: this.digest,
          size: this.geometry.size,
          source: this.#source,
          have: () => heldBits(this.#handle),
          wish: () => this.#readers.wish(),
        },
        listener: {
          onRegistered: answer => this.#applyRegistered(answer),
          onHashes: (pieces, hashes) => {
            this.#gathering.trust.learn(pieces, hashes)
            this.#gathering.askSoon()
          },
          onParents: (parents, drop) => this.#gathering.changeParents(parents, drop),
          onAlone: error => {
            this.#logger.warn({ err: error.message }, 'going on without the supernode')
            if (this.#handle !== undefined) this.#gathering.setAlone(true)
          },
          onFailed: error => {
            if (error.code === 'SOURCE_DIGEST_MISMATCH') this.#giveUpWrong(error.message, false)
            else this.#end('failed', error)
          },
          onReset: () => {
            // Where nothing is known yet, as just after a registration, nothing is withdrawn.
            if (this.hasAny || this.#gathering.hashes.known.count > 0) this.#giveUpWrong('task reset')
          },
        },
      },
    )
  }

  /** Opens the blob and registers it, once. @throws PantalaError when the session can't begin */
  start(): Promise<void> {
    this.#started ??= this.#begin()
    return this.#started
  }

  /** Registers a session that so far only ran a grant, because a reader came. */
  async ensureRegistered(): Promise<void> {
    try {
      await this.start()
      if (this.#outcome === undefined && !this.#verified) await this.#registration.ask(this.#stop.signal)
    } catch (error) {
      // Whatever was still under way when the last piece proved right does not matter any more.
      if (!this.#verified) throw error
    }
  }

  /** Keeps room for all of the blob from now on. @throws PantalaError STORE_FULL | STORE_FAILED */
  async keepRoom(): Promise<void> {
    if (this.#init.room === 'whole') return
    await this.start()
    await this.#room.keep(this.digest, this.geometry, this.#stop.signal)
  }

  /** Runs what the supernode granted, after what was granted before. */
  acceptGrant(grant: Grant): void {
    this.#source = grant.source
    this.#gathering.runs.queue(grant.runs, 'granted', grant.urgent === true)
  }

  /** Ends the session now; readers fail with `error`. */
  abandon(error: PantalaError): void {
    this.#end('failed', error)
  }

  async #begin(): Promise<void> {
    try {
      await this.#init.after
      const handle = await createBlob(this.#c.store, this.#init, this.#stop.signal)
      if (this.#outcome !== undefined) {
        await handle.close()
        return
      }
      this.#handle = handle
      this.#landing = this.#makeLanding(handle)
      this.#watch.start()
      this.#landing.settle()
      if (handle.stat.have.isFull) return
      if (this.#init.register) await this.#registration.ask(this.#stop.signal)
    } catch (error) {
      const known = toPantalaError(error, 'STORE_FAILED')
      this.#end('failed', known)
      throw known
    }
  }

  #makeLanding(handle: BlobHandle): PieceLanding {
    // One that was replaced has hashed pieces that are gone since: its word on the whole does not count.
    const isCurrent = (): boolean => this.#landing === landing
    this.#landing?.close()
    const landing: PieceLanding = new PieceLanding(this.#c, {
      digest: this.digest,
      geometry: this.geometry,
      handle,
      signal: this.#stop.signal,
      onLanded: (piece, bytes, origin) => {
        this.#landed(piece, bytes, origin)
        if (!isCurrent()) this.#landing?.settle()
      },
      onWhole: matches => {
        if (isCurrent()) this.#whole(matches)
      },
      onCommitted: () => this.#end('done'),
      onBroken: error => {
        if (isCurrent()) this.#break(error)
      },
    })
    return landing
  }

  #applyRegistered(answer: Registered): void {
    if (this.#outcome !== undefined) return
    this.#gathering.setAlone(false)
    if (answer.content !== undefined) {
      this.#landing!.landContent(answer.content).catch(error => this.#break(error))
      return
    }
    if (answer.pieceSize !== this.geometry.pieceSize) {
      const detail = `it cuts pieces of ${answer.pieceSize} bytes`
      this.#end('failed', new PantalaError('SUPERNODE_REFUSED', { detail }))
      return
    }
    this.#gathering.begin(answer)
  }

  #landed(piece: number, bytes: number, origin: PieceOrigin): void {
    if (this.#outcome !== undefined) return
    this.#watch.noteProgress()
    this.#gathering.noteLanded()
    this.#c.metrics.countBlobBytes(origin === 'source' ? 'source' : 'peer', bytes)
    this.#waiters.wake(piece)
  }

  #whole(matches: boolean): void {
    if (this.#outcome !== undefined) return
    if (matches) {
      this.#verified = true
      this.#gathering.trust.confirmAll()
      this.#waiters.complete()
    } else void this.#retryOrFail().catch(error => this.#break(error))
  }

  /** The bytes do not make the digest. What rests on one parent's word was seen by no reader: that alone is fetched again. */
  async #retryOrFail(): Promise<void> {
    if (await this.#gathering.startOver()) {
      this.#c.metrics.countPieceRejected('digest')
      return
    }
    this.#c.scheduler.digestMismatch(this.digest)
    this.#giveUpWrong(this.digest)
  }

  /** The bytes were wrong as a whole: nothing of them is kept, and readers go over to another session, or see no end. */
  #giveUpWrong(detail: string, isWorthTrying = true): void {
    if (this.#outcome !== undefined || this.#verified) return
    this.#logger.error({ err: detail, tries: this.#init.tries }, 'whole digest is wrong; all pieces dropped')
    this.#c.metrics.countPieceRejected('digest')
    this.#wrong = new WrongBlob(this.#handle, detail)
    this.#handle = undefined
    const isFollowed = isWorthTrying && this.#readers.count > 0 && this.#init.onWrong(this.#wrong.discarded)
    this.#end('failed', this.#wrong.error, isFollowed)
  }

  #sourceFailed(runs: readonly PieceRun[], reason: SourceReason, error: PantalaError): void {
    if (this.#outcome !== undefined) return
    this.#logger.warn({ err: error.message, runs, reason }, 'source failed')
    if (reason === 'granted') {
      const missing = missingOf(this.#handle?.stat.have, runs)
      this.#c.scheduler.grantFailed(this.digest, missing, error)
      if (!this.#registration.asked && this.#readers.count === 0) this.#end('failed', error)
    } else if (error.entry.retry === 'never' || !this.#gathering.hopeful) this.#end('failed', error)
    if (isStoreFault(error)) this.#break(error)
  }

  /** This host's own fault, or that of what it was told: the session can't go on. */
  #break(error: unknown): void {
    this.#end('failed', toPantalaError(error, 'STORE_FAILED'))
  }

  /** `isFollowed`: another session goes on with the task, so that the supernode hears of no end. */
  #end(outcome: Finish['outcome'], error?: PantalaError, isFollowed = false): void {
    if (this.#outcome !== undefined) return
    this.#outcome = outcome
    this.#watch.stop()
    this.#readers.stop()
    const reason = error ?? new PantalaError('SHUTTING_DOWN', { detail: `session ${outcome}` })
    this.#gathering.stop(reason)
    this.#stop.abort(reason)
    if (!isFollowed) this.#c.scheduler.finish(this.digest, outcome)
    if (outcome === 'done') this.#waiters.complete()
    else this.#waiters.fail(reason)
    this.#init.onEnd(outcome)
    void this.releaseIfOver()
  }

  /** Lets go of the store once the session is over and nobody reads from it. */
  async releaseIfOver(): Promise<void> {
    if (this.#outcome === undefined || this.#readers.count > 0) return
    const handle = this.#handle
    this.#handle = undefined
    this.#landing?.close()
    await this.#gathering.runs.settled()
    await handle?.close()
    await this.#room.release()
  }
}
