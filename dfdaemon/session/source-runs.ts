// What one session fetches from the source: what readers wait for in a few streams at once, then the rest in one. Asks for no byte twice.
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import { isPantalaError, type PantalaError, toPantalaError } from '../../shared/errors.ts'
import { type Geometry, pieceCount } from '../../shared/piece.ts'
import type { PieceRun, SourceRef } from '../../shared/protocol/messages.ts'
import type { SourceFetcher } from '../fetch/source-fetcher.ts'
import type { SchedulerClient } from '../scheduler/scheduler-client.ts'
import type { BlobHandle } from '../store/blob-store.ts'
import type { BufferPool } from './buffer-pool.ts'
import { reportHeld } from './held-pieces.ts'
import { missingRuns, piecesOf, runsOf } from './piece-runs.ts'
import { fetchSourceRun, type LandPiece } from './source-run.ts'

/** Pieces fetched in one go when a session helps itself, so that it soon sees that others can help again. */
const SELF_HELP_PIECES_MAX = 16

/** Streams at a time for what readers wait for; the rest waits until none is left. */
const URGENT_STREAMS_MAX = 4

/** Bytes asked for in one go once readers of ranges came, so that what is asked next never waits for more. A blob nobody reads ranges of is asked for whole. */
const SEGMENT_BYTES = 16 * 1024 * 1024

/** A stream that asked for more and would come to what a reader waits for only after so many bytes is cut off; what was on its way is lost. */
const CUT_AHEAD_BYTES = 32 * 1024 * 1024

/** Why the source is asked: the supernode said so, or nobody else could help. */
export type SourceReason = 'granted' | 'helpless'

export interface SourceRunsInit {
  readonly digest: Digest
  readonly geometry: Geometry
  readonly signal: AbortSignal
  /** See SourceRange. */
  readonly passOver: number
  from(): SourceRef
  /** The open blob; undefined if the session is over. */
  open(): Promise<BlobHandle | undefined>
  readonly land: LandPiece
  /** The source failed; `runs`: what will not come, though some of it may be held meanwhile. */
  onFailed(runs: readonly PieceRun[], reason: SourceReason, error: PantalaError): void
  /** The last queued run ended. */
  onIdle(reason: SourceReason): void
}

/** A run to fetch. `rank` is its place among the parts of one wish: readers have their first parts before anyone has a second. */
interface Errand {
  readonly run: PieceRun
  readonly reason: SourceReason
  readonly rank: number
}

/** The stream of the rest: it will bring pieces `next` to `end - 1`. */
interface RestStream {
  next: number
  /** The last of its pieces that a reader waits for; -1 if none. Until then it is not held up. */
  awaited: number
  readonly end: number
  readonly cut: AbortController
}

export class SourceRuns {
  readonly #source: SourceFetcher
  readonly #pool: BufferPool
  readonly #scheduler: Pick<SchedulerClient, 'report'>
  readonly #init: SourceRunsInit
  /** Pieces queued or running. */
  readonly #covered: Bitfield
  /** Of those, pieces that go ahead of the rest. */
  readonly #ahead: Bitfield
  /** Pieces that went ahead and failed: they were said to, and the rest leaves them alone. */
  readonly #lost: Bitfield
  readonly #rest: Errand[] = []
  readonly #urgent: Errand[] = []
  readonly #segmentPieces: number
  readonly #cutAheadPieces: number
  readonly #whenSettled: Array<() => void> = []
  #whenCalm: (() => void) | undefined
  #failure: { readonly reason: SourceReason; readonly error: unknown; readonly runs: PieceRun[] } | undefined
  #urgentRunning = 0
  #isRestRunning = false
  #inSegments = false
  /** The source ignores ranges: a blob is had from it in one stream, from its start. */
  #isWholeOnly = false
  #stream: RestStream | undefined
  #left = 0

  constructor(
    components: { source: SourceFetcher; pool: BufferPool; scheduler: Pick<SchedulerClient, 'report'> },
    init: SourceRunsInit,
  ) {
    this.#source = components.source
    this.#pool = components.pool
    this.#scheduler = components.scheduler
    this.#init = init
    const pieces = pieceCount(init.geometry)
    this.#covered = new Bitfield(pieces)
    this.#ahead = new Bitfield(pieces)
    this.#lost = new Bitfield(pieces)
    this.#segmentPieces = Math.max(1, Math.floor(SEGMENT_BYTES / init.geometry.pieceSize))
    this.#cutAheadPieces = Math.max(1, Math.floor(CUT_AHEAD_BYTES / init.geometry.pieceSize))
  }

  get busy(): boolean {
    return this.#left > 0
  }

  /** True if a queued or running run will bring the piece. */
  covers(piece: number): boolean {
    return this.#covered.has(piece)
  }

  /** Runs that reach past the blob are cut short. `urgent`: before what was queued without; what was queued already comes sooner, and once. */
  queue(runs: readonly PieceRun[], reason: SourceReason, urgent = false): void {
    for (const wanted of runs) {
      const first = Math.max(0, wanted.first)
      const run = { first, count: Math.min(wanted.count, this.#covered.length - first) }
      if (run.count <= 0) continue
      for (const piece of piecesOf([run])) this.#lost.remove(piece)
      if (urgent && !this.#isWholeOnly) this.#queueUrgent(run, reason)
      else this.#enter(this.#rest, { run, reason, rank: 0 })
    }
    this.#work()
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
    if (this.#left === 0) return Promise.resolve()
    return new Promise(resolve => this.#whenSettled.push(resolve))
  }

  /** Takes what is not on its way ahead already; leaves what the stream of the rest is about to bring. */
  #queueUrgent(run: PieceRun, reason: SourceReason): void {
    this.#inSegments = true
    const fresh = [...piecesOf([run])].filter(piece => !this.#ahead.has(piece))
    const stream = this.#stream
    const isFar = (piece: number) => this.#isComing(piece) && piece - stream!.next > this.#cutAheadPieces
    if (fresh.some(isFar)) stream!.cut.abort()
    const claimed = fresh.filter(piece => !this.#isComing(piece))
    if (stream !== undefined) {
      for (const piece of fresh) if (this.#isComing(piece)) stream.awaited = Math.max(stream.awaited, piece)
      this.#whenCalm?.()
    }
    let rank = 0
    for (const { first, count } of runsOf(claimed)) {
      for (let from = 0; from < count; from += this.#segmentPieces) {
        const part = { first: first + from, count: Math.min(this.#segmentPieces, count - from) }
        for (const piece of piecesOf([part])) this.#ahead.add(piece)
        this.#enter(this.#urgent, { run: part, reason, rank: rank++ })
      }
    }
  }

  /** True if the stream of the rest will bring the piece. */
  #isComing(piece: number): boolean {
    const stream = this.#stream
    if (stream === undefined || stream.cut.signal.aborted) return false
    return piece >= stream.next && piece < stream.end
  }

  #enter(line: Errand[], errand: Errand): void {
    this.#left++
    for (const piece of piecesOf([errand.run])) this.#covered.add(piece)
    const place = line.findIndex(other => other.rank > errand.rank)
    line.splice(place < 0 ? line.length : place, 0, errand)
  }

  #work(): void {
    while (this.#urgent.length > 0 && this.#urgentRunning < URGENT_STREAMS_MAX) {
      this.#urgentRunning++
      void this.#runUrgent(this.#urgent.shift()!)
    }
    if (this.#rest.length === 0 || this.#isRestRunning) return
    this.#isRestRunning = true
    void this.#runRest(this.#rest.shift()!)
  }

  async #runUrgent(errand: Errand): Promise<void> {
    let isIgnored = false
    try {
      const handle = await this.#open(errand)
      if (handle === undefined) return
      for (const missing of [...missingRuns(handle.stat.have, errand.run)]) {
        await this.#fetch(missing, this.#init.land, this.#init.signal)
      }
    } catch (error) {
      isIgnored = isPantalaError(error, 'SOURCE_RANGE_IGNORED')
      if (!isIgnored) {
        this.#failure ??= { reason: errand.reason, error, runs: [] }
        this.#lose(errand, this.#failure.runs)
      }
    } finally {
      this.#urgentRunning--
      this.#forget(errand, this.#ahead)
      if (isIgnored) this.#turnToWhole(errand)
      this.#afterUrgent(errand.reason)
    }
  }

  /** Nothing can go ahead any more: what should have is fetched with the rest. */
  #turnToWhole(errand: Errand): void {
    this.#isWholeOnly = true
    this.#enter(this.#rest, errand)
    for (const waiting of this.#urgent.splice(0)) {
      this.#forget(waiting, this.#ahead)
      this.#enter(this.#rest, waiting)
    }
  }

  /** What failed together, and what would now fail like it, is one failure. */
  #afterUrgent(reason: SourceReason): void {
    if (this.#failure !== undefined) {
      for (const waiting of this.#urgent.splice(0)) {
        this.#lose(waiting, this.#failure.runs)
        this.#forget(waiting, this.#ahead)
      }
    }
    if (this.#urgentRunning === 0 && this.#failure !== undefined) {
      const { reason: why, error, runs } = this.#failure
      this.#failure = undefined
      this.#init.onFailed(runs, why, toPantalaError(error, 'SOURCE_AWAY'))
    }
    if (!this.#isHurried) this.#whenCalm?.()
    this.#afterErrand(reason)
  }

  async #runRest(errand: Errand): Promise<void> {
    const { run, reason } = errand
    try {
      const handle = await this.#open(errand)
      if (handle === undefined) return
      for (;;) {
        await this.#calm()
        this.#init.signal.throwIfAborted()
        const next = this.#nextOfRest(run, handle.stat.have)
        if (next === undefined) return
        await this.#streamRest(next).catch(error => {
          if (!isPantalaError(error, 'SOURCE_RANGE_IGNORED')) throw error
          this.#isWholeOnly = true
        })
      }
    } catch (error) {
      const have = await this.#init.open().then(
        handle => handle?.stat.have,
        () => undefined,
      )
      const missing = [...piecesOf(missingRuns(have, run))].filter(
        piece => !this.#ahead.has(piece) && !this.#lost.has(piece),
      )
      this.#init.onFailed(runsOf(missing), reason, toPantalaError(error, 'SOURCE_AWAY'))
    } finally {
      this.#isRestRunning = false
      this.#forget(errand, undefined)
      this.#afterErrand(reason)
    }
  }

  #lose({ run }: Errand, runs: PieceRun[]): void {
    for (const piece of piecesOf([run])) this.#lost.add(piece)
    runs.push(run)
  }

  /** The next pieces of the run that are missing and go no other way. */
  #nextOfRest(run: PieceRun, have: Bitfield): PieceRun | undefined {
    const isDue = (piece: number) => !have.has(piece) && !this.#ahead.has(piece) && !this.#lost.has(piece)
    const end = run.first + run.count
    let first = run.first
    while (first < end && !isDue(first)) first++
    if (this.#isWholeOnly) return first < end ? { first: 0, count: have.length } : undefined
    const most = this.#inSegments ? Math.min(end, first + this.#segmentPieces) : end
    let last = first
    while (last < most && isDue(last)) last++
    return last === first ? undefined : { first, count: last - first }
  }

  async #streamRest(run: PieceRun): Promise<void> {
    const end = run.first + run.count
    const stream: RestStream = { next: run.first, awaited: -1, end, cut: new AbortController() }
    const { signal } = this.#init
    const land: LandPiece = (piece, bytes, loan) => {
      stream.next = piece + 1
      return this.#init.land(piece, bytes, loan)
    }
    this.#stream = stream
    try {
      const both = AbortSignal.any([signal, stream.cut.signal])
      // The rest takes no bandwidth from what readers wait for, unless it brings that itself.
      const isHeld = () =>
        this.#isHurried && stream.next > stream.awaited && !stream.cut.signal.aborted && !signal.aborted
      await this.#fetch(run, land, both, () => (isHeld() ? this.#calm(isHeld) : undefined))
    } catch (error) {
      if (!stream.cut.signal.aborted || signal.aborted) throw error
    } finally {
      this.#stream = undefined
    }
  }

  async #open({ run, reason }: Errand): Promise<BlobHandle | undefined> {
    const handle = await this.#init.open()
    if (handle !== undefined && reason === 'granted') reportHeld(this.#scheduler, handle, piecesOf([run]))
    return handle
  }

  #fetch(
    run: PieceRun,
    land: LandPiece,
    signal: AbortSignal,
    hold?: () => Promise<void> | undefined,
  ): Promise<void> {
    const { digest, geometry } = this.#init
    return fetchSourceRun(
      { source: this.#source, pool: this.#pool, land, ...(hold === undefined ? {} : { hold }) },
      { digest, geometry, source: this.#init.from(), run, passOver: this.#init.passOver },
      signal,
    )
  }

  /** True while something goes ahead. */
  get #isHurried(): boolean {
    return this.#urgentRunning > 0 || this.#urgent.length > 0
  }

  /** Resolves when nothing goes ahead, or, given that, when it is over. */
  async #calm(isHeld: () => boolean = () => this.#isHurried): Promise<void> {
    while (isHeld()) {
      await new Promise<void>(resolve => {
        this.#whenCalm = resolve
      })
    }
  }

  #forget({ run }: Errand, ahead: Bitfield | undefined): void {
    this.#left--
    for (const piece of piecesOf([run])) {
      if (ahead === undefined && this.#ahead.has(piece)) continue
      ahead?.remove(piece)
      this.#covered.remove(piece)
    }
  }

  #afterErrand(reason: SourceReason): void {
    this.#work()
    if (this.#left > 0) return
    for (const resolve of this.#whenSettled.splice(0)) resolve()
    this.#init.onIdle(reason)
  }
}
