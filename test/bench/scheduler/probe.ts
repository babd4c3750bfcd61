// Stands between the simulated hosts and the real scheduler: times every call, messages decoded and encoded as the edge does, and keeps the answers.
import { decodeHostMessage, encodeMessage } from '../../../shared/protocol/codec.ts'
import type { Hello, HostId, HostMessage, SupernodeMessage } from '../../../shared/protocol/messages.ts'
import type { Outbox } from '../../../supernode/outbox.ts'
import { Scheduler } from '../../../supernode/scheduler.ts'
import { ClusterState } from '../../../supernode/state/cluster-state.ts'
import { LogHistogram } from '../log-histogram.ts'

/** What the supernode said, to one or many. */
export interface Said {
  readonly to: readonly HostId[]
  readonly message: SupernodeMessage
}

/** Kinds of calls that are timed apart. */
export type CallKind = 'join' | 'register' | 'report' | 'finish' | 'other' | 'flush' | 'sweep'

export class SchedulerProbe implements Outbox {
  readonly state = new ClusterState()
  readonly scheduler: Scheduler
  /** Real time of calls in ms, by kind; decoding is not in them, encoding of the answers is. */
  readonly calls: Readonly<Record<CallKind, LogHistogram>> = {
    join: new LogHistogram(),
    register: new LogHistogram(),
    report: new LogHistogram(),
    finish: new LogHistogram(),
    other: new LogHistogram(),
    flush: new LogHistogram(),
    sweep: new LogHistogram(),
  }
  decodeMs = 0
  encodeMs = 0
  encodedBytes = 0
  messagesOut = 0
  piecesReported = 0
  /** CPU time of the longest flush or sweep, in ms. */
  longestHoldMs = 0
  /** Real ms of the calls of each second of virtual time. */
  readonly busyMs: number[] = []
  #said: Said[] = []

  constructor(init: { random: () => number; expireMs: number }) {
    this.scheduler = new Scheduler(
      { state: this.state, outbox: this, journal: { record() {} }, random: init.random },
      { budgetRatio: 1.6, expireMs: init.expireMs },
    )
  }

  /** What was said since the last call. */
  takeSaid(): Said[] {
    const said = this.#said
    this.#said = []
    return said
  }

  join(host: HostId, hello: Hello, now: number): void {
    this.#time('join', now, () => this.scheduler.join(host, hello, now))
  }

  say(host: HostId, message: HostMessage, now: number): void {
    const frame = encodeMessage(message)
    const startedAt = performance.now()
    const decoded = decodeHostMessage(frame)
    const tookMs = performance.now() - startedAt
    this.decodeMs += tookMs
    this.#note(now, tookMs)
    if (decoded.type === 'report') this.piecesReported += decoded.pieces.length
    this.#time(kindOf(decoded), now, () => this.scheduler.handle(host, decoded, now))
  }

  flush(now: number): void {
    this.#hold(() => this.#time('flush', now, () => this.scheduler.flush(now)))
  }

  sweep(now: number): void {
    this.#hold(() => this.#time('sweep', now, () => this.scheduler.sweep(now)))
  }

  /** By CPU time, since others may take the core in between. */
  #hold(call: () => void): void {
    const before = process.threadCpuUsage()
    call()
    const { user, system } = process.threadCpuUsage(before)
    this.longestHoldMs = Math.max(this.longestHoldMs, (user + system) / 1000)
  }

  // ---- the outbox ----
  send(host: HostId, message: SupernodeMessage): void {
    this.#encode(message)
    this.messagesOut++
    this.#said.push({ to: [host], message })
  }

  broadcast(hosts: Iterable<HostId>, message: SupernodeMessage): void {
    this.#encode(message)
    const to = [...hosts]
    this.messagesOut += to.length
    this.#said.push({ to, message })
  }

  cut(host: HostId, reason: string): void {
    throw new Error(`${host} was cut: ${reason}`)
  }

  #encode(message: SupernodeMessage): void {
    const startedAt = performance.now()
    this.encodedBytes += encodeMessage(message).byteLength
    this.encodeMs += performance.now() - startedAt
  }

  #time(kind: CallKind, now: number, call: () => void): void {
    const startedAt = performance.now()
    call()
    const tookMs = performance.now() - startedAt
    this.calls[kind].record(tookMs)
    this.#note(now, tookMs)
  }

  #note(now: number, tookMs: number): void {
    const second = Math.floor(now / 1000)
    this.busyMs[second] = (this.busyMs[second] ?? 0) + tookMs
  }
}

function kindOf(message: HostMessage): CallKind {
  switch (message.type) {
    case 'register':
    case 'report':
    case 'finish':
      return message.type
    default:
      return 'other'
  }
}
