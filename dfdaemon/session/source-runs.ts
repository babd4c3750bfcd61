// The runs of pieces one session fetches from the source, one after another: what it was granted, and what it takes when helpless.
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import { type PantalaError, toPantalaError } from '../../shared/errors.ts'
import { type Geometry, pieceCount } from '../../shared/piece.ts'
import type { PieceRun, SourceRef } from '../../shared/protocol/messages.ts'
import type { SourceFetcher } from '../fetch/source-fetcher.ts'
import type { SchedulerClient } from '../scheduler/scheduler-client.ts'
import type { BlobHandle } from '../store/blob-store.ts'
import type { BufferPool } from './buffer-pool.ts'
import { reportHeld } from './held-pieces.ts'
import { missingRuns, piecesOf } from './piece-runs.ts'
import { fetchSourceRun, type LandPiece } from './source-run.ts'

/** Pieces fetched in one go when a session helps itself, so that it soon sees that others can help again. */
const SELF_HELP_PIECES_MAX = 16

/** Why the source is asked: the supernode said so, or nobody else could help. */
export type SourceReason = 'granted' | 'helpless'

export interface SourceRunsInit {
  readonly digest: Digest
  readonly geometry: Geometry
  readonly signal: AbortSignal
  from(): SourceRef
  /** The open blob; undefined if the session is over. */
  open(): Promise<BlobHandle | undefined>
  readonly land: LandPiece
  onFailed(run: PieceRun, reason: SourceReason, error: PantalaError): void
  /** The last queued run ended. */
  onIdle(reason: SourceReason): void
}

export class SourceRuns {
  readonly #source: SourceFetcher
  readonly #pool: BufferPool
  readonly #scheduler: Pick<SchedulerClient, 'report'>
  readonly #init: SourceRunsInit
  readonly #covered: Bitfield
  #chain: Promise<void> = Promise.resolve()
  #left = 0

  constructor(
    components: { source: SourceFetcher; pool: BufferPool; scheduler: Pick<SchedulerClient, 'report'> },
    init: SourceRunsInit,
  ) {
    this.#source = components.source
    this.#pool = components.pool
    this.#scheduler = components.scheduler
    this.#init = init
    this.#covered = new Bitfield(pieceCount(init.geometry))
  }

  get busy(): boolean {
    return this.#left > 0
  }

  /** True if a queued or running run will bring the piece. */
  covers(piece: number): boolean {
    return this.#covered.has(piece)
  }

  /** Runs that reach past the blob are cut short. */
  queue(runs: readonly PieceRun[], reason: SourceReason): void {
    for (const wanted of runs) {
      const first = Math.max(0, wanted.first)
      const run = { first, count: Math.min(wanted.count, this.#covered.length - first) }
      if (run.count <= 0) continue
      this.#left++
      for (let piece = run.first; piece < run.first + run.count; piece++) this.#covered.add(piece)
      this.#chain = this.#chain.then(() => this.#execute(run, reason))
    }
  }

  /** Queues a bounded run of the first pieces that `have` lacks, unless something is queued already. */
  queueNextMissing(have: Bitfield): void {
    if (this.busy) return
    const [run] = missingRuns(have, { first: 0, count: have.length })
    if (run !== undefined)
      this.queue([{ first: run.first, count: Math.min(run.count, SELF_HELP_PIECES_MAX) }], 'helpless')
  }

  /** Resolves when no run is left. */
  settled(): Promise<void> {
    return this.#chain
  }

  async #execute(run: PieceRun, reason: SourceReason): Promise<void> {
    try {
      const handle = await this.#init.open()
      if (handle === undefined) return
      if (reason === 'granted') reportHeld(this.#scheduler, handle, piecesOf([run]))
      for (const missing of [...missingRuns(handle.stat.have, run)]) {
        await fetchSourceRun(
          { source: this.#source, pool: this.#pool, land: this.#init.land },
          {
            digest: this.#init.digest,
            geometry: this.#init.geometry,
            source: this.#init.from(),
            run: missing,
          },
          this.#init.signal,
        )
      }
    } catch (error) {
      this.#init.onFailed(run, reason, toPantalaError(error, 'SOURCE_AWAY'))
    } finally {
      for (let piece = run.first; piece < run.first + run.count; piece++) this.#covered.remove(piece)
      this.#left--
      if (this.#left === 0) this.#init.onIdle(reason)
    }
  }
}
