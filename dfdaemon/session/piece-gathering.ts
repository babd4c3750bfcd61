// Where a session's pieces come from: parents, the source as granted, or, while no supernode helps, whoever can be found. Lands nothing itself.
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import type { PantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { type Geometry, pieceCount } from '../../shared/piece.ts'
import { hashPiece } from '../../shared/piece-hash.ts'
import type { Candidate, HostId, PieceRun, Registered, SourceRef } from '../../shared/protocol/messages.ts'
import type { BlobHandle } from '../store/blob-store.ts'
import type { Loan } from './buffer-pool.ts'
import { HashTrust } from './hash-trust.ts'
import { reportUntold } from './held-pieces.ts'
import { LoneHelp, noSearch } from './lone-help.ts'
import { ParentSet } from './parent-set.ts'
import { PieceAsker } from './piece-asker.ts'
import { PieceHashes } from './piece-hashes.ts'
import type { PieceOrigin } from './piece-landing.ts'
import type { SessionComponents } from './session-components.ts'
import type { SessionReaders } from './session-readers.ts'
import type { SessionWaiters } from './session-waiters.ts'
import { type SourceReason, SourceRuns } from './source-runs.ts'

export interface GatheringInit {
  readonly digest: Digest
  readonly geometry: Geometry
  readonly waiters: SessionWaiters
  readonly logger: Logger
  readonly signal: AbortSignal
  /** The open blob; undefined before it is open and after the session is over. */
  handle(): BlobHandle | undefined
  /** Opens the blob for a run of the source; undefined if the session is over. */
  open(): Promise<BlobHandle | undefined>
  from(): SourceRef
  /** See SourceRange. */
  readonly passOver: number
  readonly readers: SessionReaders
  /** Stores a piece whose hash was checked; `loan`: what its bytes are the first of. */
  land(piece: number, bytes: Buffer, hash: Uint8Array, origin: PieceOrigin, loan: Loan): Promise<void>
  onSourceFailed(runs: readonly PieceRun[], reason: SourceReason, error: PantalaError): void
  /** The last run of the source ended. */
  onSourceIdle(): void
  /** Pieces that had landed are gone: they were not what they should be. */
  onDropped(): void
  /** This host's own fault; the session can't go on. */
  onBroken(error: unknown): void
}

export class PieceGathering {
  readonly hashes: PieceHashes
  readonly trust: HashTrust
  readonly runs: SourceRuns
  readonly #init: GatheringInit
  readonly #parents: ParentSet
  readonly #asker: PieceAsker
  readonly #lone: LoneHelp
  readonly #scheduler: SessionComponents['scheduler']

  constructor(components: SessionComponents, init: GatheringInit) {
    this.#init = init
    this.#scheduler = components.scheduler
    const { digest, geometry, signal, waiters, logger, readers } = init
    const { clock, pool, scheduler, metrics, random, search = noSearch } = components
    const have = (): Bitfield | undefined => init.handle()?.stat.have
    const hashes = new PieceHashes(pieceCount(geometry))
    this.hashes = hashes
    this.#parents = new ParentSet(
      {
        fetcher: components.pieces,
        clock,
        logger,
        listener: {
          onLink: link => this.#lone.onLink(link),
          onOffer: () => this.#asker.askSoon(),
          onHashes: (host, pieces, told) => void this.#hear(host, pieces, told),
          onOthers: others => this.#lone.meet(others),
          onIdle: link => this.#asker.askInstead(link),
          onStall: link => {
            scheduler.parentFault({ digest, host: link.host, fault: 'stalled' })
            this.#asker.leaveStalled(link)
            this.#lone.help()
          },
          onFault: (host, fault) => {
            scheduler.parentFault({ digest, host, fault })
            this.#asker.askSoon()
            this.#lone.help()
          },
        },
      },
      { digest, geometry, signal },
    )
    const parents = this.#parents
    this.trust = new HashTrust(
      { hashes, parents, waiters, search, logger },
      { digest, handle: init.handle, onDropped: init.onDropped },
    )
    this.runs = new SourceRuns(
      { source: components.source, pool, scheduler },
      {
        digest,
        geometry,
        signal,
        from: init.from,
        passOver: init.passOver,
        open: init.open,
        land: async (piece, bytes, loan) => {
          const hash = hashPiece(bytes)
          this.trust.learn([piece], hash)
          await init.land(piece, bytes, hash, 'source', loan)
        },
        onFailed: init.onSourceFailed,
        onIdle: reason => {
          if (signal.aborted) return
          this.#asker.askSoon()
          if (reason === 'helpless') this.#lone.help()
          init.onSourceIdle()
        },
      },
    )
    this.#asker = new PieceAsker(
      { parents, pool, clock, random: () => random() },
      {
        geometry,
        signal,
        have,
        hashes,
        // A reader of a range can't wait for the whole digest to confirm one parent's word: the source is asked instead.
        isElsewhere: piece =>
          this.runs.covers(piece) || (hashes.isProvisional(piece) && readers.isRanged(piece)),
        urgent: () => readers.pieces,
        isPartial: () => readers.isPartial,
        isGentle: () => readers.isGentle,
        land: init.land,
        onCorrupt: (piece, host) => {
          metrics.countPieceRejected('corrupt')
          logger.warn({ host, piece }, 'corrupt piece rejected, parent dropped')
        },
        onBroken: init.onBroken,
      },
    )
    this.#lone = new LoneHelp(
      { clock, search, parents, runs: this.runs },
      {
        digest,
        signal,
        have,
        isRequested: piece => this.#asker.isRequested(piece),
        isKnown: piece => hashes.known.has(piece),
        isProvisional: piece => hashes.isProvisional(piece),
        readers,
      },
    )
  }

  /** True while something may still come without the source. */
  get hopeful(): boolean {
    return this.#lone.isOn ? this.#lone.isHopeful : this.#parents.hopeful
  }

  /** Progress for people. */
  describe(): { pieces: number; have: number; parents: number; requested: number; alone: boolean } {
    return {
      pieces: pieceCount(this.#init.geometry),
      have: this.#init.handle()?.stat.have.count ?? 0,
      parents: this.#parents.links.length,
      requested: this.#asker.requested,
      alone: this.#lone.isOn,
    }
  }

  /** Readers need other pieces than before. */
  serveReaders(): void {
    this.#asker.askSoon()
    this.#lone.helpReaders()
  }

  /** Hashes or pieces may be wanted, or be had, that were not a moment ago. */
  askSoon(): void {
    this.#asker.askSoon()
  }

  /** What the supernode knows of the task: hashes are learnt, pieces that differ from them dropped, and those that it does not know told. */
  begin(answer: Pick<Registered, 'hashed' | 'hashes' | 'parents'>): void {
    const { trust } = this
    const handle = this.#init.handle()
    const hashed = new Bitfield(pieceCount(this.#init.geometry), answer.hashed)
    trust.learn(hashed.pieces(), answer.hashes)
    if (handle !== undefined) reportUntold(this.#scheduler, handle, hashed)
    trust.dropWrong().then(
      () => this.#asker.askSoon(),
      error => this.#init.onBroken(error),
    )
    this.changeParents(answer.parents, [])
  }

  changeParents(parents: readonly Candidate[], drop: readonly HostId[]): void {
    this.#parents.drop(drop)
    this.#parents.add(parents)
    this.#asker.askSoon()
  }

  /** No supernode helps with this task, or one does again. */
  setAlone(alone: boolean): void {
    if (alone) this.#lone.begin()
    else this.#lone.end()
  }

  /** A host without a supernode seeks the same blob here. */
  meet(seeker: Candidate): void {
    this.#lone.meet([seeker])
  }

  noteLanded(): void {
    this.#lone.noteProgress()
  }

  onTick(): void {
    this.#asker.askOverdueAgain()
  }

  /** No progress for long: this host does more itself. `isAlone`: no supernode helps. */
  onStall(isAlone: boolean): void {
    if (isAlone) this.setAlone(true)
    const have = this.#init.handle()?.stat.have
    if (this.#lone.isOn) this.#lone.onStall()
    else if (have !== undefined) {
      const { readers } = this.#init
      const urgent = readers.missingRuns(piece => this.runs.covers(piece))
      this.runs.queue(urgent, 'helpless', true)
      if (!readers.isPartial) this.runs.queueNextMissing(have)
    }
  }

  /** The whole digest was wrong: drops what rests on one parent's word and gathers that again. False if there is no such thing. */
  async startOver(): Promise<boolean> {
    const isBegun = await this.trust.startOver()
    this.#asker.askSoon()
    this.#lone.help()
    return isBegun
  }

  stop(reason: Error): void {
    this.#lone.end()
    this.#parents.close()
    this.#asker.stop(reason)
  }

  async #hear(host: HostId, pieces: readonly number[], told: Uint8Array): Promise<void> {
    if (this.#init.signal.aborted) return
    try {
      await this.trust.hear(host, pieces, told)
      this.serveReaders()
    } catch (error) {
      this.#init.onBroken(error)
    }
  }
}
