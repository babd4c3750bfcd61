// The scheduler client over libp2p: keeps a stream to a supernode, routes its pushes, and puts everything back in place after a loss.
import type { Libp2p } from '@libp2p/interface'
import type { Clock, Timer } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import { isPantalaError, PantalaError, toPantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { pieceCount, pieceSizeFor } from '../../shared/piece.ts'
import { DIGESTS_PER_MESSAGE_MAX } from '../../shared/protocol/limits.ts'
import {
  type Finish,
  type Grant,
  type Hello,
  type Holding,
  type HostMessage,
  type ParentFault,
  type PieceRun,
  type Registered,
  type Relay,
  type Relayed,
  SMALL_BLOB_BYTES_MAX,
  type SupernodeMessage,
  type Welcome,
} from '../../shared/protocol/messages.ts'
import { makeAnnounces } from './announcer.ts'
import { makeGrantFailed } from './grant-failed.ts'
import { PendingRequests, type QuestionWait, REGISTER_WAIT, sourceWait } from './pending-requests.ts'
import { delay, dialPatienceMs, reconnectDelayMs } from './reconnect.ts'
import { fitsRequest } from './registered-check.ts'
import { ReportBatch, type ReportFacts } from './report-batch.ts'
import type { RegisterRequest, SchedulerClient, TaskListener, Wish } from './scheduler-client.ts'
import { SupernodeStream, toError } from './supernode-stream.ts'

/** Reports gather for this long, in ms. */
const REPORT_MS = 8
/** How long a request waits for a stream that was lost just now or is being opened for the first time, in ms. */
const CONNECT_WAIT_MS = 600
const ANNOUNCE_QUEUE_BYTES_MAX = 1024 * 1024
const CLOSE_TIMEOUT_MS = 500

export interface SchedulerClientComponents {
  readonly libp2p: Libp2p
  readonly clock: Clock
  readonly logger: Logger
  readonly random?: () => number
}

export interface SchedulerClientInit {
  /** Multiaddrs that end in /p2p/<PeerId>, tried in order. */
  readonly supernodes: readonly string[]
  readonly secret?: string
  /** Facts for the hello; `addresses` are those other hosts can dial, at most 8 are told. */
  readonly host: Omit<Hello, 'type' | 'proof' | 'addresses'> & {
    addresses(nearest?: string): readonly string[]
  }
  /** What the host holds now; asked at every connect. */
  holdings(): Iterable<Holding>
  /** Upload slots in use and bytes stored, for the heartbeat. */
  load(): { slotsBusy: number; storeBytes: number }
  /** With something awaited, a supernode that sends no byte for this long is lost, in ms; unset: only its heartbeats count. */
  readonly silentMs?: number | undefined
  /** A ticket kept from an earlier run, for the time until the first welcome. */
  readonly ticket?: Uint8Array | undefined
  /** Hears of every welcome. */
  onWelcome?(welcome: Welcome): void
  /** Hears when the supernode is lost, or was not reached by all addresses in turn. May be told so again. */
  onAway?(): void
}

interface RunningTask {
  readonly request: RegisterRequest
  readonly listener: TaskListener
}

export class Libp2pSchedulerClient implements SchedulerClient {
  onGrant: (grant: Grant) => void = () => {}
  readonly #components: SchedulerClientComponents
  readonly #init: SchedulerClientInit
  readonly #random: () => number
  readonly #stopping = new AbortController()
  readonly #pending: PendingRequests
  readonly #tasks = new Map<Digest, RunningTask>()
  readonly #reports = new Map<Digest, ReportBatch>()
  readonly #waiters = new Set<() => void>()
  readonly #firstAttempt = Promise.withResolvers<void>()
  #stream: SupernodeStream | undefined
  #ticket: Uint8Array | undefined
  #reportTimer: Timer | undefined
  #waitUntil = 0
  #place = 0

  constructor(components: SchedulerClientComponents, init: SchedulerClientInit) {
    this.#components = components
    this.#init = init
    this.#random = components.random ?? Math.random
    this.#pending = new PendingRequests(components)
    this.#ticket = init.ticket
    this.#firstAttempt.promise.catch(() => {})
  }

  get connected(): boolean {
    return this.#stream !== undefined
  }

  get ticket(): Uint8Array | undefined {
    return this.#ticket
  }

  /**
   * Settles after the first round over all addresses: resolves when welcomed. Attempts go on either way until `stop`.
   * @throws PantalaError SUPERNODE_AWAY, which may pass; SUPERNODE_IDENTITY and ADMISSION_REFUSED, which will not
   */
  get firstAttempt(): Promise<void> {
    return this.#firstAttempt.promise
  }

  start(): void {
    this.#waitUntil = this.#components.clock.monotonic() + CONNECT_WAIT_MS
    void this.#connectUntilWelcomed(0)
  }

  async stop(): Promise<void> {
    this.#flushReports()
    this.#stopping.abort(new PantalaError('SHUTTING_DOWN'))
    this.#reportTimer?.cancel()
    const stream = this.#stream
    this.#stream = undefined
    this.#pending.rejectAll(new PantalaError('SHUTTING_DOWN'))
    for (const wake of this.#waiters) wake()
    await stream?.close(CLOSE_TIMEOUT_MS)
  }

  async register(request: RegisterRequest, listener: TaskListener, signal: AbortSignal): Promise<Registered> {
    const remember = (): void => void this.#tasks.set(request.digest, { request, listener })
    try {
      const registered = await this.#registerOnce(request, signal)
      if (registered.content === undefined) remember()
      return registered
    } catch (error) {
      // The session goes on alone, and is registered when the supernode is back.
      if (isPantalaError(error, 'SUPERNODE_AWAY') && !signal.aborted) remember()
      throw error
    }
  }

  report(report: ReportFacts): void {
    if (this.#stream === undefined) return
    let batch = this.#reports.get(report.digest)
    if (batch === undefined) {
      batch = new ReportBatch(report.digest)
      this.#reports.set(report.digest, batch)
    }
    batch.add(report)
    this.#reportTimer ??= this.#components.clock.after(REPORT_MS, () => this.#flushReports())
  }

  want(digest: Digest, wish: Wish): void {
    this.#tell({ type: 'want', digest, ...wish })
  }

  parentFault(fault: Omit<ParentFault, 'type'>): void {
    this.#tell({ type: 'parent-fault', ...fault })
  }

  finish(digest: Digest, outcome: Finish['outcome']): void {
    this.#tell({ type: 'finish', digest, outcome })
    this.#tasks.delete(digest)
  }

  grantFailed(digest: Digest, runs: readonly PieceRun[], error: Error): void {
    this.#tell(makeGrantFailed(digest, runs, error))
  }

  readonly expectSign = (): void => this.#stream?.expectByte(this.#init.silentMs)

  digestMismatch(digest: Digest): void {
    this.#tell({ type: 'digest-mismatch', digest })
  }

  /** Dropped while the supernode is away: all is announced when it is back. */
  announce(holdings: readonly Holding[]): void {
    this.#tell({ type: 'announce', holdings, last: true })
  }

  evicted(digests: readonly Digest[]): void {
    for (let from = 0; from < digests.length; from += DIGESTS_PER_MESSAGE_MAX)
      this.#tell({ type: 'evicted', digests: digests.slice(from, from + DIGESTS_PER_MESSAGE_MAX) })
  }

  async relay(request: Omit<Relay, 'type' | 'id'>, signal: AbortSignal): Promise<Relayed> {
    const wait = sourceWait(request.source)
    const answer = await this.#ask(id => ({ type: 'relay', id, ...request }), wait, signal)
    if (answer.type !== 'relayed') throw new PantalaError('SUPERNODE_REFUSED', { detail: 'wrong answer' })
    return answer
  }

  async #registerOnce(request: RegisterRequest, signal: AbortSignal): Promise<Registered> {
    const { digest, size, source } = request
    const wait = size <= SMALL_BLOB_BYTES_MAX ? sourceWait(source) : REGISTER_WAIT
    const answer = await this.#ask(
      id => ({ type: 'register', id, digest, size, source, have: request.have(), ...request.wish?.() }),
      wait,
      signal,
    )
    if (answer.type !== 'registered' || !fitsRequest(answer, request))
      throw new PantalaError('SUPERNODE_REFUSED', { detail: `an answer that does not fit ${digest}` })
    return answer
  }

  async #ask(
    make: (id: number) => HostMessage,
    wait: QuestionWait,
    signal: AbortSignal,
  ): Promise<Registered | Relayed> {
    signal.throwIfAborted()
    await this.#waitForStream(signal)
    const stream = this.#stream
    if (stream === undefined) throw new PantalaError('SUPERNODE_AWAY')
    this.#flushReports()
    stream.expectByte(this.#init.silentMs)
    return this.#pending.ask(id => stream.send(make(id)), wait, signal)
  }

  /** A loss that is over in a moment is not worth a request's failure. */
  async #waitForStream(signal: AbortSignal): Promise<void> {
    const { clock } = this.#components
    const leftMs = this.#waitUntil - clock.monotonic()
    if (this.#stream !== undefined || leftMs <= 0 || this.#stopping.signal.aborted) return
    await new Promise<void>(resolve => {
      const wake = () => {
        timer.cancel()
        this.#waiters.delete(wake)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      const timer = clock.after(leftMs, wake)
      this.#waiters.add(wake)
      signal.addEventListener('abort', wake, { once: true })
    })
    signal.throwIfAborted()
  }

  #tell(message: HostMessage): void {
    if (this.#stream === undefined) return
    this.#flushReports()
    this.#stream?.send(message)
  }

  #flushReports(): void {
    this.#reportTimer?.cancel()
    this.#reportTimer = undefined
    if (this.#reports.size === 0) return
    const batches = [...this.#reports.values()]
    this.#reports.clear()
    const { slotsBusy } = this.#init.load()
    for (const batch of batches) for (const report of batch.take(slotsBusy)) this.#stream?.send(report)
  }

  async #connectUntilWelcomed(firstDelayMs: number): Promise<void> {
    const { clock, logger } = this.#components
    const { signal } = this.#stopping
    let delayMs = firstDelayMs
    for (let attempt = 0; !signal.aborted; attempt++) {
      if (delayMs > 0) await delay(clock, delayMs, signal)
      const failure = await this.#tryEach(attempt)
      if (failure === undefined || signal.aborted) return
      this.#firstAttempt.reject(failure)
      this.#init.onAway?.()
      const lasting = failure.entry.retry === 'never'
      logger[attempt === 0 || lasting ? 'warn' : 'debug'](
        { err: failure, attempt },
        'supernode not reached; going on without it, and trying again',
      )
      delayMs = reconnectDelayMs(attempt, this.#random)
    }
  }

  /** Tries each address once, the one that worked last first; undefined if one did. */
  async #tryEach(attempt: number): Promise<PantalaError | undefined> {
    const { supernodes, secret, host, load } = this.#init
    let failure: PantalaError | undefined
    for (let turn = 0; turn < supernodes.length && !this.#stopping.signal.aborted; turn++) {
      const address = supernodes[this.#place]!
      try {
        const { addresses, ...hello } = host
        const { stream, welcome } = await SupernodeStream.open(
          this.#components,
          address,
          { hello, addresses, secret, load },
          {
            onMessage: message => this.#onMessage(message),
            onLost: error => this.#onLost(error),
          },
          this.#stopping.signal,
          dialPatienceMs(attempt, supernodes.length),
        )
        await this.#settleIn(stream, welcome)
        return undefined
      } catch (error) {
        const explained = toPantalaError(error, 'SUPERNODE_AWAY')
        // The first that will not pass says more than a later one that may.
        if (failure === undefined || failure.entry.retry !== 'never') failure = explained
        this.#place = (this.#place + 1) % supernodes.length
      }
    }
    return failure ?? new PantalaError('SUPERNODE_AWAY')
  }

  /** Announces what is held, then re-registers what runs: in that order, or pieces would seem lost and be fetched again. */
  async #settleIn(stream: SupernodeStream, welcome: Welcome): Promise<void> {
    const { clock, logger } = this.#components
    this.#takeWelcome(welcome)
    for (const announce of makeAnnounces(this.#init.holdings())) {
      while (stream.queuedBytes > ANNOUNCE_QUEUE_BYTES_MAX && !this.#stopping.signal.aborted)
        await delay(clock, 5, this.#stopping.signal)
      if (!stream.send(announce))
        throw new PantalaError('SUPERNODE_AWAY', { detail: 'lost while announcing' })
    }
    if (this.#stopping.signal.aborted) {
      await stream.close(CLOSE_TIMEOUT_MS)
      return
    }
    this.#stream = stream
    logger.info('supernode reached')
    this.#firstAttempt.resolve()
    for (const wake of [...this.#waiters]) wake()
    for (const task of this.#tasks.values()) void this.#registerAgain(task)
  }

  #takeWelcome(welcome: Welcome): void {
    this.#ticket = welcome.ticket
    this.#init.onWelcome?.(welcome)
  }

  async #registerAgain(task: RunningTask): Promise<void> {
    const { request, listener } = task
    const isCurrent = () => this.#tasks.get(request.digest) === task
    try {
      const registered = await this.#registerOnce(request, this.#stopping.signal)
      if (isCurrent()) listener.onBack(registered)
    } catch (error) {
      // Away again: the next return tries again.
      const failure = toPantalaError(error, 'SUPERNODE_AWAY')
      if (isCurrent() && failure.code !== 'SUPERNODE_AWAY' && failure.code !== 'SHUTTING_DOWN') {
        this.#tasks.delete(request.digest)
        listener.onFailed(failure)
      }
    }
  }

  #onLost(error: PantalaError): void {
    if (this.#stream === undefined) return
    const { clock, logger } = this.#components
    this.#stream = undefined
    this.#reports.clear()
    this.#waitUntil = clock.monotonic() + CONNECT_WAIT_MS
    logger.warn({ err: error }, 'supernode lost')
    this.#pending.rejectAll(new PantalaError('SUPERNODE_AWAY', { cause: error }))
    for (const { listener } of [...this.#tasks.values()]) listener.onAway()
    if (!this.#stopping.signal.aborted) void this.#connectUntilWelcomed(reconnectDelayMs(0, this.#random))
  }

  #onMessage(message: Exclude<SupernodeMessage, { type: 'probe' }>): void {
    switch (message.type) {
      case 'welcome':
        this.#takeWelcome(message)
        return
      case 'registered':
      case 'relayed':
        this.#pending.resolve(message)
        return
      case 'refused':
        this.#pending.reject(message.id, toError(message))
        return
      case 'grant':
        this.onGrant(message)
        return
    }
    const task = this.#tasks.get(message.digest)
    if (task === undefined) return
    const { listener, request } = task
    switch (message.type) {
      case 'hashes': {
        const pieces = pieceCount({ size: request.size, pieceSize: pieceSizeFor(request.size) })
        if (message.pieces.every(piece => piece < pieces)) listener.onHashes(message.pieces, message.hashes)
        return
      }
      case 'parents':
        listener.onParents(message.parents, message.drop)
        return
      case 'task-failed':
        this.#tasks.delete(message.digest)
        listener.onFailed(toError(message))
        return
      case 'task-reset':
        listener.onReset()
        return
    }
  }
}
