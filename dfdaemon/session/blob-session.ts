// One host's download of one blob: registers it, asks parents for pieces, runs grants, lands what comes, checks the whole digest.
// Readers join it through the session table; it does not know HTTP.
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import { PantalaError, toPantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { type Geometry, pieceCount } from '../../shared/piece.ts'
import { hashPiece } from '../../shared/piece-hash.ts'
import type {
  Candidate,
  Finish,
  Grant,
  HostId,
  PieceRun,
  Registered,
  SourceRef,
} from '../../shared/protocol/messages.ts'
import type { BlobHandle } from '../store/blob-store.ts'
import { reportHeld } from './held-pieces.ts'
import { ParentSet } from './parent-set.ts'
import { PieceAsker } from './piece-asker.ts'
import { dropDisputed, PieceHashes } from './piece-hashes.ts'
import { PieceLanding, type PieceOrigin } from './piece-landing.ts'
import { missingRuns } from './piece-runs.ts'
import type { ReadableBlob } from './readable-blob.ts'
import { ReaderSeats, type Seat } from './reader-seats.ts'
import type { SessionComponents, SessionInit } from './session-components.ts'
import { type Awaited, SessionWaiters } from './session-waiters.ts'
import { type SourceReason, SourceRuns } from './source-runs.ts'
import { StallWatch } from './stall-watch.ts'
import { TaskRegistration } from './task-registration.ts'

export class BlobSession implements ReadableBlob {
  readonly digest: Digest
  readonly geometry: Geometry
  readonly #c: SessionComponents
  readonly #init: SessionInit
  readonly #logger: Logger
  readonly #hashes: PieceHashes
  readonly #waiters = new SessionWaiters()
  readonly #stop = new AbortController()
  readonly #parents: ParentSet
  readonly #asker: PieceAsker
  readonly #registration: TaskRegistration
  readonly #watch: StallWatch
  readonly #sourceRuns: SourceRuns
  readonly #seats: ReaderSeats
  #source: SourceRef
  #handle: BlobHandle | undefined
  #landing: PieceLanding | undefined
  /** The whole digest was checked; the commit may still be under way. */
  #verified = false
  #outcome: Finish['outcome'] | undefined
  #started: Promise<void> | undefined

  constructor(components: SessionComponents, init: SessionInit) {
    this.#c = components
    this.#init = init
    this.digest = init.digest
    this.geometry = init.geometry
    this.#source = init.source
    this.#logger = components.logger.child({ digest: init.digest })
    const pieces = pieceCount(init.geometry)
    this.#hashes = new PieceHashes(pieces)
    this.#seats = new ReaderSeats(
      { clock: components.clock },
      {
        lingerMs: init.lingerMs,
        onMoved: () => this.#asker.askSoon(),
        onEmpty: () => void this.#releaseIfOver(),
        onDeserted: () => {
          if (!this.#sourceRuns.busy) this.#end('left')
        },
      },
    )
    this.#parents = new ParentSet(
      {
        fetcher: components.pieces,
        clock: components.clock,
        logger: this.#logger,
        listener: {
          onOffer: () => this.#asker.askSoon(),
          onFault: (host, fault) => {
            components.scheduler.parentFault({ digest: this.digest, host, fault })
            this.#asker.askSoon()
          },
        },
      },
      { digest: init.digest, geometry: init.geometry, signal: this.#stop.signal },
    )
    this.#registration = this.#makeRegistration()
    this.#watch = new StallWatch(
      { clock: components.clock },
      {
        isAlone: () => this.#registration.alone,
        onTick: () => this.#asker.askOverdueAgain(),
        onStall: () => this.#helpYourself(),
      },
    )
    const have = (): Bitfield | undefined =>
      this.#outcome === undefined ? this.#handle?.stat.have : undefined
    this.#sourceRuns = new SourceRuns(
      { source: components.source, pool: components.pool, scheduler: components.scheduler },
      {
        digest: init.digest,
        geometry: init.geometry,
        signal: this.#stop.signal,
        from: () => this.#source,
        open: async () => {
          await this.start()
          return this.#outcome === undefined ? this.#handle : undefined
        },
        land: async (piece, bytes) => {
          const hash = hashPiece(bytes)
          this.#hashes.learn([piece], hash)
          await this.#land(piece, bytes, hash, 'source')
        },
        onFailed: (run, reason, error) => this.#sourceFailed(run, reason, error),
        onIdle: reason => this.#afterRuns(reason),
      },
    )
    this.#asker = new PieceAsker(
      { parents: this.#parents, pool: components.pool, clock: components.clock, random: components.random },
      {
        geometry: init.geometry,
        signal: this.#stop.signal,
        have,
        hashes: this.#hashes,
        isElsewhere: piece => this.#sourceRuns.covers(piece),
        urgent: () => this.#seats.pieces,
        land: (piece, bytes, hash, host) => this.#land(piece, bytes, hash, host),
        onCorrupt: (piece, host) => {
          components.metrics.countPieceRejected('corrupt')
          this.#logger.warn({ host, piece }, 'corrupt piece rejected, parent dropped')
        },
        onBroken: error => this.#break(error),
      },
    )
  }

  // ---- what readers see ----

  get complete(): boolean {
    return this.#verified
  }

  /** True once some piece is stored. */
  get hasAny(): boolean {
    return (this.#handle?.stat.have.count ?? 0) > 0
  }

  has(piece: number): boolean {
    return this.#handle?.stat.have.has(piece) ?? false
  }

  read(position: number, into: Uint8Array): Promise<void> {
    if (this.#handle === undefined)
      return Promise.reject(new PantalaError('STORE_FAILED', { detail: 'blob is not open' }))
    return this.#handle.read(position, into)
  }

  wait(what: Awaited, wake: () => void, fail: (error: Error) => void): () => void {
    return this.#waiters.add(what, wake, fail)
  }

  /** Takes a seat as a reader; the session goes on at least as long as somebody has one. */
  join(): Seat {
    return this.#seats.take()
  }

  /** Progress for people. */
  describe(): Record<string, unknown> {
    return {
      digest: this.digest,
      size: this.geometry.size,
      pieces: pieceCount(this.geometry),
      have: this.#handle?.stat.have.count ?? 0,
      parents: this.#parents.links.length,
      requested: this.#asker.requested,
      readers: this.#seats.count,
    }
  }

  #makeRegistration(): TaskRegistration {
    return new TaskRegistration(
      { scheduler: this.#c.scheduler },
      {
        request: {
          digest: this.digest,
          size: this.geometry.size,
          source: this.#source,
          have: () => {
            const have = this.#handle?.stat.have
            return have === undefined || have.count === 0 ? undefined : Uint8Array.from(have.bytes)
          },
        },
        listener: {
          onRegistered: answer => this.#applyRegistered(answer),
          onHashes: (pieces, hashes) => {
            this.#hashes.learn(pieces, hashes)
            this.#asker.askSoon()
          },
          onParents: (parents, drop) => this.#changeParents(parents, drop),
          onAlone: error => {
            this.#logger.warn({ err: error.message }, 'going on without the supernode')
            if (!this.#parents.hopeful) this.#helpYourself()
          },
          onFailed: error => this.#end('failed', error),
          onReset: () =>
            void this.#startOver(new PantalaError('SOURCE_DIGEST_MISMATCH', { detail: 'task reset' })),
        },
      },
    )
  }

  // ---- life ----

  /** Opens the blob and registers it; once started, further calls give the same promise. @throws PantalaError when the session can't begin */
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

  /** Runs what the supernode granted, after what was granted before. */
  acceptGrant(grant: Grant): void {
    this.#source = grant.source
    this.#sourceRuns.queue(grant.runs, 'granted')
  }

  /** Ends the session now; readers fail with `error`. */
  abandon(error: PantalaError): void {
    this.#end('failed', error)
  }

  async #begin(): Promise<void> {
    try {
      const handle = await this.#c.store.create(this.digest, this.geometry, this.#stop.signal)
      if (this.#outcome !== undefined) {
        await handle.close()
        return
      }
      this.#handle = handle
      this.#landing = new PieceLanding(
        { scheduler: this.#c.scheduler },
        {
          digest: this.digest,
          geometry: this.geometry,
          handle,
          lendBuffer: () => this.#c.pool.lend(this.geometry.pieceSize, this.#stop.signal),
          onLanded: (piece, bytes, origin) => this.#landed(piece, bytes, origin),
          onWhole: matches => this.#whole(matches),
          onCommitted: () => this.#end('done'),
          onBroken: error => this.#break(error),
        },
      )
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

  #applyRegistered(answer: Registered): void {
    if (this.#outcome !== undefined) return
    if (answer.content !== undefined) {
      this.#landing!.landContent(answer.content).catch(error => this.#break(error))
      return
    }
    if (answer.pieceSize !== this.geometry.pieceSize) {
      this.#end(
        'failed',
        new PantalaError('SUPERNODE_REFUSED', { detail: `it cuts pieces of ${answer.pieceSize} bytes` }),
      )
      return
    }
    const hashed = new Bitfield(pieceCount(this.geometry), answer.hashed)
    this.#hashes.learn(hashed.pieces(), answer.hashes)
    const handle = this.#handle!
    const untold = [...handle.stat.have.pieces()].filter(piece => !hashed.has(piece))
    reportHeld(this.#c.scheduler, handle, untold)
    dropDisputed(handle, this.#hashes).then(
      () => this.#asker.askSoon(),
      error => this.#break(error),
    )
    this.#changeParents(answer.parents, [])
  }

  #changeParents(parents: readonly Candidate[], drop: readonly HostId[]): void {
    this.#parents.drop(drop)
    this.#parents.add(parents)
    this.#asker.askSoon()
  }

  // ---- pieces ----

  async #land(piece: number, bytes: Buffer, hash: Uint8Array, origin: PieceOrigin): Promise<void> {
    if (this.#outcome === undefined) await this.#landing!.land(piece, bytes, hash, origin)
  }

  #landed(piece: number, bytes: number, origin: PieceOrigin): void {
    if (this.#outcome !== undefined) return
    this.#watch.noteProgress()
    this.#c.metrics.countBlobBytes(origin === 'source' ? 'source' : 'peer', bytes)
    this.#waiters.wake(piece)
  }

  #whole(matches: boolean): void {
    if (this.#outcome !== undefined) return
    if (matches) {
      this.#verified = true
      this.#waiters.complete()
      return
    }
    this.#c.scheduler.digestMismatch(this.digest)
    void this.#startOver(new PantalaError('SOURCE_DIGEST_MISMATCH', { detail: this.digest }))
  }

  /** The bytes were wrong as a whole: nothing of them is kept, and readers that saw some must not see an end. */
  async #startOver(error: PantalaError): Promise<void> {
    if (this.#outcome !== undefined || this.#verified) return
    this.#logger.error({ err: error.message }, 'whole digest is wrong; all pieces dropped')
    this.#c.metrics.countPieceRejected('digest')
    const handle = this.#handle
    this.#handle = undefined
    this.#end('failed', error)
    await handle?.discard()
    await handle?.close()
  }

  // ---- watching ----

  /** Nobody else helps: take the next missing pieces from the source. */
  #helpYourself(): void {
    const have = this.#handle?.stat.have
    if (this.#outcome === undefined && have !== undefined) this.#sourceRuns.queueNextMissing(have)
  }

  #afterRuns(reason: SourceReason): void {
    if (this.#outcome !== undefined) return
    this.#asker.askSoon()
    if (reason === 'helpless' && this.#registration.alone && this.#asker.idle) this.#helpYourself()
    this.#seats.restartLinger()
  }

  #sourceFailed(run: PieceRun, reason: SourceReason, error: PantalaError): void {
    if (this.#outcome !== undefined) return
    this.#logger.warn({ err: error.message, run, reason }, 'source failed')
    if (reason === 'granted') {
      this.#c.scheduler.grantFailed(this.digest, [...missingRuns(this.#handle?.stat.have, run)], error)
      if (!this.#registration.asked) this.#end('failed', error)
    } else if (error.entry.retry === 'never' || !this.#parents.hopeful) {
      this.#end('failed', error)
    }
  }

  /** This host's own fault, or that of what it was told: the session can't go on. */
  #break(error: unknown): void {
    this.#end('failed', toPantalaError(error, 'STORE_FAILED'))
  }

  #end(outcome: Finish['outcome'], error?: PantalaError): void {
    if (this.#outcome !== undefined) return
    this.#outcome = outcome
    this.#watch.stop()
    this.#seats.stop()
    const reason = error ?? new PantalaError('SHUTTING_DOWN', { detail: `session ${outcome}` })
    this.#parents.close()
    this.#asker.stop(reason)
    this.#stop.abort(reason)
    this.#c.scheduler.finish(this.digest, outcome)
    if (outcome === 'done') this.#waiters.complete()
    else this.#waiters.fail(reason)
    this.#init.onEnd(outcome)
    void this.#releaseIfOver()
  }

  /** Lets go of the store once the session is over and nobody reads from it. */
  async #releaseIfOver(): Promise<void> {
    if (this.#outcome === undefined || this.#seats.count > 0) return
    const handle = this.#handle
    this.#handle = undefined
    await this.#sourceRuns.settled()
    await handle?.close()
  }
}
