// The supernode's end of /pantala/schedule/1.0.0: admits hosts, hands their messages to the scheduler and the relay, and turns its ticks.
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import type { Clock, Timer } from '../../shared/clock.ts'
import { isPantalaError, PantalaError, toPantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { checkProof } from '../../shared/protocol/admission.ts'
import { decodeHostMessage, encodeMessage } from '../../shared/protocol/codec.ts'
import { FrameStream } from '../../shared/protocol/framing.ts'
import { clipDetail, HOST_FRAME_BYTES_MAX, QUESTIONS_PER_HOST_MAX } from '../../shared/protocol/limits.ts'
import {
  type Candidate,
  type Hello,
  type HostId,
  type HostMessage,
  NEIGHBOURS_MAX,
  type Register,
  type Relay,
  SCHEDULE_PROTOCOL,
  SMALL_BLOB_BYTES_MAX,
} from '../../shared/protocol/messages.ts'
import type { Scheduler } from '../scheduler.ts'
import { type HostStreams, OUTBOUND_BYTES_MAX } from './host-streams.ts'
import { InboundRate } from './inbound-rate.ts'
import type { SourceRelay } from './relay.ts'

/** How long a stream may stay without a hello, in ms. */
const HELLO_TIMEOUT_MS = 10_000
/** Hashes and parents gather for this long before they go out, in ms. */
const FLUSH_MS = 5
/** Flushes take at most this share of the time: after a long one the next waits longer. */
const FLUSH_SHARE = 0.2
const FLUSH_MS_MAX = 200
const SWEEP_MS = 250
/** How often a host is told of others that it may not know yet, in ms. */
const INTRODUCE_MS = 60_000
const INTRODUCE_SOON_MS = 50
/** Validity of a ticket, in ms; long, so that hosts go on among themselves while the supernode is away. */
export const TICKET_MS = 24 * 60 * 60_000
/** Time that streams have to send what is queued when the service stops, in ms. */
const CLOSE_TIMEOUT_MS = 500

/** What the source says of a small blob that no other way to it would change. */
const refusingCodes = new Set<string>([
  'SOURCE_UNAUTHORIZED',
  'SOURCE_DENIED',
  'SOURCE_BLOB_UNKNOWN',
  'SOURCE_DIGEST_MISMATCH',
  'SOURCE_LENGTH_WRONG',
])

/** What of the edge is counted. */
export interface EdgeCounts {
  observeSchedule(seconds: number): void
}

export interface RpcComponents {
  readonly libp2p: Libp2p
  readonly scheduler: Scheduler
  readonly streams: HostStreams
  /** Absent: relays are refused and small blobs are tasks like others. */
  readonly relay?: SourceRelay
  readonly issueTicket: (hostId: HostId, expiresAt: number) => Uint8Array
  readonly clock: Clock
  readonly logger: Logger
  readonly counts?: EdgeCounts
}

export interface RpcInit {
  readonly secret?: string
  readonly expireMs: number
}

export class ScheduleService {
  readonly #components: RpcComponents
  readonly #init: RpcInit
  #flushTimer: Timer | undefined
  #sweepTimer: Timer | undefined
  #introduceTimer: Timer | undefined
  readonly #sessions = new Set<HostSession>()
  #flushMs = FLUSH_MS
  #stopped = false

  constructor(components: RpcComponents, init: RpcInit) {
    this.#components = components
    this.#init = init
  }

  async start(): Promise<void> {
    await this.#components.libp2p.handle(SCHEDULE_PROTOCOL, this.#accept, { maxInboundStreams: 2 })
    this.#sweepLater()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#flushTimer?.cancel()
    this.#sweepTimer?.cancel()
    this.#introduceTimer?.cancel()
    await this.#components.libp2p.unhandle(SCHEDULE_PROTOCOL)
    await this.#components.streams.closeAll(CLOSE_TIMEOUT_MS)
  }

  readonly #accept = (stream: Stream, connection: Connection): void => {
    const host = connection.remotePeer.toString()
    const session: HostSession = new HostSession(this.#components, this.#init, {
      host,
      stream,
      onHandled: this.#flushLater,
      onJoined: () => {
        this.#sessions.add(session)
        this.#introduceLater()
      },
      onGone: () => this.#sessions.delete(session),
    })
  }

  /** In a small cluster everyone hears of a new host at once; in a large one a few more or less make no difference. */
  readonly #introduceLater = (): void => {
    const { scheduler, clock } = this.#components
    if (scheduler.hostCount > NEIGHBOURS_MAX + 1) return
    this.#introduceTimer ??= clock.after(INTRODUCE_SOON_MS, () => {
      this.#introduceTimer = undefined
      for (const session of this.#sessions) session.introduceMore()
    })
  }

  readonly #flushLater = (): void => {
    const { scheduler, clock } = this.#components
    if (this.#flushTimer !== undefined || !scheduler.pending || this.#stopped) return
    this.#flushTimer = clock.after(this.#flushMs, () => {
      this.#flushTimer = undefined
      const startedAt = clock.monotonic()
      scheduler.flush(startedAt)
      const tookMs = clock.monotonic() - startedAt
      this.#flushMs = Math.min(FLUSH_MS_MAX, Math.max(FLUSH_MS, tookMs / FLUSH_SHARE))
      this.#flushLater()
    })
  }

  #sweepLater(): void {
    const { scheduler, clock, logger } = this.#components
    this.#sweepTimer = clock.after(SWEEP_MS, () => {
      try {
        scheduler.sweep(clock.monotonic())
      } catch (error) {
        logger.error({ err: error }, 'sweep failed')
      }
      this.#flushLater()
      if (!this.#stopped) this.#sweepLater()
    })
  }
}

/** One host's stream, from its opening to its end. */
class HostSession {
  readonly #components: RpcComponents
  readonly #init: RpcInit
  readonly #host: HostId
  readonly #frames: FrameStream
  readonly #onHandled: () => void
  readonly #onJoined: () => void
  readonly #onGone: () => void
  readonly #rate: InboundRate
  readonly #gone = new AbortController()
  readonly #helloTimer: Timer
  #resumeTimer: Timer | undefined
  #welcomed = false
  #ticket: Uint8Array | undefined
  #ticketEnds = 0
  #introduceAt = 0
  #introduced = 0
  #introducedHosts = 0
  #questions = 0

  constructor(
    components: RpcComponents,
    init: RpcInit,
    opened: {
      host: HostId
      stream: Stream
      onHandled: () => void
      onJoined: () => void
      onGone: () => void
    },
  ) {
    this.#components = components
    this.#init = init
    this.#host = opened.host
    this.#onHandled = opened.onHandled
    this.#onJoined = opened.onJoined
    this.#onGone = opened.onGone
    this.#rate = new InboundRate(components.clock.monotonic())
    this.#helloTimer = components.clock.after(HELLO_TIMEOUT_MS, () =>
      this.#frames.abort(new PantalaError('DEADLINE_PASSED', { detail: 'no hello' })),
    )
    this.#frames = new FrameStream(
      opened.stream,
      { frameBytesMax: HOST_FRAME_BYTES_MAX, sendQueueBytesMax: OUTBOUND_BYTES_MAX },
      { onFrame: frame => this.#onFrame(frame), onClose: error => this.#onClose(error) },
    )
  }

  #onFrame(frame: Uint8Array): void {
    const { clock } = this.#components
    const now = clock.monotonic()
    const waitMs = this.#rate.take(frame.byteLength, now)
    if (waitMs > 0) {
      this.#frames.pause()
      this.#resumeTimer = clock.after(waitMs, () => this.#frames.resume())
    }
    const message = decodeHostMessage(frame)
    if (!this.#welcomed) this.#admit(message, now)
    else this.#handle(message, now)
    this.#components.counts?.observeSchedule((clock.monotonic() - now) / 1000)
    this.#onHandled()
  }

  #admit(message: HostMessage, now: number): void {
    const { libp2p, scheduler, streams, logger } = this.#components
    if (message.type !== 'hello') throw new PantalaError('MESSAGE_INVALID', { detail: 'no hello' })
    const { secret } = this.#init
    if (secret !== undefined && !checkProof(secret, libp2p.peerId.toString(), this.#host, message.proof)) {
      // Told before the end, so that the operator of the host reads why.
      logger.warn(
        { host: this.#host, name: message.name },
        'host not admitted: wrong or missing cluster secret',
      )
      this.#refuse(0, new PantalaError('ADMISSION_REFUSED', { detail: 'wrong or missing cluster secret' }))
      void this.#frames.close(CLOSE_TIMEOUT_MS)
      return
    }
    this.#helloTimer.cancel()
    this.#welcomed = true
    streams.open(this.#host, this.#frames)
    scheduler.join(this.#host, message as Hello, now)
    this.#welcome()
    this.#onJoined()
    logger.info({ host: this.#host, name: message.name, seed: message.seed }, 'host joined')
  }

  /** Another welcome, if there are hosts to tell of. */
  introduceMore(): void {
    const { scheduler } = this.#components
    if (scheduler.hostCount !== this.#introducedHosts) this.#welcome()
  }

  #welcome(): void {
    const { issueTicket, streams, clock } = this.#components
    const now = clock.now()
    if (this.#ticket === undefined || this.#ticketEnds - now < TICKET_MS / 2) {
      this.#ticketEnds = now + TICKET_MS
      this.#ticket = issueTicket(this.#host, this.#ticketEnds)
    }
    streams.send(this.#host, {
      type: 'welcome',
      ticket: this.#ticket,
      ticketMs: Math.trunc(this.#ticketEnds - now),
      heartbeatMs: Math.max(20, Math.floor(this.#init.expireMs / 3)),
      ...this.#introduce(),
    })
  }

  /** Other hosts, when there are new ones to tell of: soon in a small cluster that grows, now and then in a large one. */
  #introduce(): { neighbours?: readonly Candidate[] } {
    const { scheduler, clock } = this.#components
    const now = clock.monotonic()
    const hosts = scheduler.hostCount
    const grew = hosts !== this.#introducedHosts && this.#introduced < NEIGHBOURS_MAX
    if (!grew && now < this.#introduceAt) return {}
    this.#introduceAt = now + INTRODUCE_MS
    this.#introducedHosts = hosts
    const neighbours = scheduler.neighboursOf(this.#host)
    this.#introduced = neighbours.length
    return { neighbours }
  }

  #handle(message: HostMessage, now: number): void {
    const { scheduler, relay } = this.#components
    if (message.type === 'hello') throw new PantalaError('MESSAGE_INVALID', { detail: 'a second hello' })
    if (message.type === 'relay') this.#answerRelay(message)
    else if (message.type === 'register' && message.size <= SMALL_BLOB_BYTES_MAX && relay !== undefined)
      this.#answerSmall(message, relay)
    else scheduler.handle(this.#host, message, now)
    // The answer to a heartbeat, so that a host notices a supernode that fell silent.
    if (message.type === 'heartbeat') this.#welcome()
  }

  #answerRelay(message: Relay): void {
    const { relay, streams } = this.#components
    const { id } = message
    if (relay === undefined) {
      this.#refuse(id, new PantalaError('SUPERNODE_REFUSED', { detail: 'this supernode relays nothing' }))
      return
    }
    this.#ask(id, async signal => {
      const answer = await relay.relay(message, signal)
      streams.send(this.#host, { type: 'relayed', id, ...answer })
    })
  }

  #answerSmall(message: Register, relay: SourceRelay): void {
    const { streams, scheduler, clock } = this.#components
    const { id, digest } = message
    this.#ask(id, async signal => {
      try {
        const content = await relay.smallBlob(message, signal)
        streams.send(this.#host, {
          type: 'registered',
          id,
          digest,
          pieceSize: 1024 * 1024,
          hashed: new Uint8Array(message.size === 0 ? 0 : 1),
          hashes: new Uint8Array(),
          parents: [],
          content,
        })
      } catch (error) {
        // Out of the supernode's reach it is a task like others: some host may have it, or reach the source.
        if (signal.aborted || !isPantalaError(error) || refusingCodes.has(error.code)) throw error
        scheduler.handle(this.#host, message, clock.monotonic())
        this.#onHandled()
      }
    })
  }

  /** Runs a question to the source; its failure is the answer. */
  #ask(id: number, question: (signal: AbortSignal) => Promise<void>): void {
    if (this.#questions >= QUESTIONS_PER_HOST_MAX) {
      this.#refuse(id, new PantalaError('OVERLOADED', { detail: `${this.#questions} questions wait` }))
      return
    }
    this.#questions++
    question(this.#gone.signal)
      .catch(error => {
        if (!this.#gone.signal.aborted) this.#refuse(id, toPantalaError(error, 'SUPERNODE_REFUSED'))
      })
      .finally(() => {
        this.#questions--
      })
  }

  #refuse(id: number, error: PantalaError): void {
    const frame = { type: 'refused', id, code: error.code, detail: clipDetail(error.detail ?? '') } as const
    const message = error.challenge === undefined ? frame : { ...frame, challenge: error.challenge }
    if (this.#welcomed) this.#components.streams.send(this.#host, message)
    else this.#frames.send(encodeMessage(message))
  }

  #onClose(error: Error | undefined): void {
    const { streams, scheduler, clock, logger } = this.#components
    this.#helloTimer.cancel()
    this.#resumeTimer?.cancel()
    this.#onGone()
    this.#gone.abort(new PantalaError('SUPERNODE_REFUSED', { detail: 'the host is gone' }))
    if (!this.#welcomed) {
      logger.debug({ host: this.#host, err: error }, 'stream ended before it was admitted')
      return
    }
    // Later, since a send from inside a decision may be what ended the stream.
    queueMicrotask(() => {
      if (!streams.close(this.#host, this.#frames)) return
      logger.info({ host: this.#host, err: error }, 'host left')
      scheduler.lose(this.#host, clock.monotonic())
      this.#onHandled()
    })
  }
}
