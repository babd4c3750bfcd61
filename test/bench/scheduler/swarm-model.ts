// A swarm in virtual time that the real scheduler directs: hosts register layers, take pieces from the parents they are given, and report what landed.
import type { HostId, PieceRun, SupernodeMessage } from '../../../shared/protocol/messages.ts'
import { EventQueue } from './event-queue.ts'
import { ModelHost, ModelSession, ModelTask, UPLOAD_SLOTS } from './model-parts.ts'
import { PieceTrade, type TradeEvent, type TradeListener } from './piece-trade.ts'
import { SchedulerProbe } from './probe.ts'

/** As in the product: how long reports gather, layers side by side, how often a session looks after itself. */
const REPORT_MS = 8
const LAYERS_AT_ONCE = 3
const WATCH_MS = 500
const FLUSH_MS = 5
const FLUSH_MS_MAX = 200
const SWEEP_MS = 250
/** A flush that sent many messages is followed by a longer pause, as at the edge; by a fixed time for each, so that runs are alike. */
const FLUSH_PAUSE_PER_MESSAGE_MS = 0.025

export interface Pull {
  readonly atMs: number
  readonly host: number
  /** Numbers of tasks, in order. */
  readonly layers: readonly number[]
}

export interface SwarmInit {
  readonly hosts: number
  readonly seeds: number
  /** Bytes of each task. */
  readonly taskBytes: readonly number[]
  readonly pulls: readonly Pull[]
  /** Bytes per ms of each host's uplink and downlink, and of the source. */
  readonly hostRate: number
  readonly sourceRate: number
  /** 0: hosts say nothing while idle, and are not lost for it. */
  readonly heartbeatMs: number
  readonly random: () => number
  /** The simulation fails past this virtual time, in ms. */
  readonly untilMs: number
}

type ModelEvent =
  | TradeEvent
  | { readonly type: 'pull'; readonly pull: Pull }
  | { readonly type: 'watch'; readonly session: ModelSession }
  | { readonly type: 'report'; readonly host: ModelHost }
  | { readonly type: 'heartbeat'; readonly host: ModelHost }
  | { readonly type: 'flush' }
  | { readonly type: 'sweep' }

/** One finished pull: how long it took, and the least it could take, in ms. */
export interface PullTime {
  readonly atMs: number
  readonly tookMs: number
  readonly boundMs: number
}

export class SwarmModel implements TradeListener {
  readonly probe: SchedulerProbe
  readonly hosts: ModelHost[] = []
  readonly tasks: ModelTask[]
  readonly times: PullTime[] = []
  transfers = 0
  refusals = 0
  sourceBytes = 0
  now = 0
  readonly #init: SwarmInit
  readonly #byId = new Map<HostId, ModelHost>()
  readonly #byDigest = new Map<string, ModelTask>()
  readonly #queue = new EventQueue<ModelEvent>()
  readonly #trade: PieceTrade
  #pullsLeft: number
  #sessions = 0
  #flushDue = false
  #flushMs = FLUSH_MS
  #sweepDue = false
  #nextId = 1

  constructor(init: SwarmInit) {
    this.#init = init
    this.probe = new SchedulerProbe({
      random: init.random,
      expireMs: init.heartbeatMs === 0 ? Number.POSITIVE_INFINITY : init.heartbeatMs * 3,
    })
    this.#trade = new PieceTrade({ queue: this.#queue, random: init.random, listener: this })
    this.tasks = init.taskBytes.map((bytes, index) => new ModelTask(index, bytes))
    for (const task of this.tasks) this.#byDigest.set(task.digest, task)
    this.#pullsLeft = init.pulls.length
    for (const pull of init.pulls) this.#queue.push(pull.atMs, { type: 'pull', pull })
  }

  /** Hosts say hello; apart from `run`, so that memory can be looked at in between. */
  joinAll(): void {
    const { hosts, seeds, hostRate, heartbeatMs, random } = this.#init
    for (let index = 0; index < hosts + seeds; index++) {
      const id = peerIdOf(index)
      const seed = index >= hosts
      const host = new ModelHost({ index, id, seed, upRate: hostRate, downRate: hostRate })
      this.hosts.push(host)
      this.#byId.set(id, host)
      this.probe.join(
        id,
        {
          type: 'hello',
          name: `host-${index}`,
          addresses: [addressOf(index, id)],
          zone: 'a',
          seed,
          uploadSlots: UPLOAD_SLOTS,
          version: '0',
        },
        0,
      )
      if (heartbeatMs > 0) this.#queue.push(random() * heartbeatMs, { type: 'heartbeat', host })
    }
    this.#hear()
  }

  /** Runs until every pull is done. @throws Error if one is not by `untilMs`, or a task fails */
  run(): void {
    while (this.#pullsLeft > 0) {
      const at = this.#queue.nextAt
      if (at === undefined || at > this.#init.untilMs)
        throw new Error(
          `${this.#pullsLeft} pulls do not come to an end by ${this.#init.untilMs} ms: ${this.#describeStuck()}`,
        )
      this.now = at
      this.#take(this.#queue.pop()!)
    }
  }

  #take(event: ModelEvent): void {
    switch (event.type) {
      case 'piece':
      case 'sent':
      case 'timer':
        this.#trade.take(event, this.now)
        return
      case 'watch':
        this.#watch(event.session)
        return
      case 'report':
        this.#report(event.host)
        return
      case 'pull':
        this.#startPull(event.pull)
        return
      case 'heartbeat':
        this.#heartbeat(event.host)
        return
      case 'flush':
        this.#flush()
        return
      case 'sweep':
        this.#sweep()
        return
    }
  }

  // ---- what hosts do ----

  #startPull({ host: index, layers }: Pull): void {
    const host = this.hosts[index]!
    const wanted = layers.map(layer => this.tasks[layer]!).filter(task => !host.sessions.has(task))
    host.queue.push(...wanted)
    if (host.startedAt < 0) host.startedAt = this.now
    host.boundMs += wanted.reduce((sum, task) => sum + task.size, 0) / host.downRate
    if (wanted.length === 0) this.#endPull(host)
    else this.#startLayers(host)
  }

  #startLayers(host: ModelHost): void {
    while (host.pulling < LAYERS_AT_ONCE && host.queue.length > 0) {
      const task = host.queue.shift()!
      const session = this.#sessionOf(host, task)
      session.wants = true
      task.wanting.add(session)
      host.pulling++
      this.#sessions++
      this.#sweepLater()
      this.#queue.push(this.now + WATCH_MS, { type: 'watch', session })
      const source = {
        registry: 'registry.example',
        repository: 'team/application',
        authorization: 'Bearer abcdefghijklmnopqrstuvwxyz',
      }
      this.#say(host, { type: 'register', id: this.#nextId++, digest: task.digest, size: task.size, source })
    }
  }

  #endPull(host: ModelHost): void {
    this.#pullsLeft--
    if (host.boundMs > 0)
      this.times.push({ atMs: host.startedAt, tookMs: this.now - host.startedAt, boundMs: host.boundMs })
    host.finishedAt = this.now
    host.startedAt = -1
    host.boundMs = 0
  }

  #sessionOf(host: ModelHost, task: ModelTask): ModelSession {
    let session = host.sessions.get(task)
    if (session === undefined) {
      session = new ModelSession(host, task)
      host.sessions.set(task, session)
    }
    return session
  }

  onLanded(session: ModelSession, piece: number, from: ModelHost | undefined): void {
    const { host, task } = session
    const bytes = task.bytesOf(piece)
    this.transfers++
    session.landed.push(piece)
    if (from === undefined) {
      session.landedFromSource += bytes
      this.sourceBytes += bytes
    } else session.landedFrom.set(from.id, (session.landedFrom.get(from.id) ?? 0) + bytes)
    host.unreported.add(session)
    if (!host.reportDue) {
      host.reportDue = true
      this.#queue.push(this.now + REPORT_MS, { type: 'report', host })
    }
    if (session.held === task.pieces) this.#complete(session)
  }

  onRefused(session: ModelSession, parent: ModelHost): void {
    this.refusals++
    const { digest } = session.task
    this.#say(session.host, { type: 'parent-fault', digest, host: parent.id, fault: 'refused' })
  }

  #watch(session: ModelSession): void {
    if (!session.wants) return
    this.#trade.watch(session, this.now)
    this.#queue.push(this.now + WATCH_MS, { type: 'watch', session })
  }

  #complete(session: ModelSession): void {
    const { host, task } = session
    session.state = task.full
    this.#trade.leaveAll(session)
    if (!session.wants) return
    session.wants = false
    session.hungry = false
    task.wanting.delete(session)
    this.#sessions--
    this.#report(host)
    this.#say(host, { type: 'finish', digest: task.digest, outcome: 'done' })
    host.pulling--
    this.#startLayers(host)
    if (host.pulling === 0) this.#endPull(host)
  }

  #report(host: ModelHost): void {
    host.reportDue = false
    for (const session of host.unreported) {
      const { landed, landedFromSource } = session
      this.#say(host, {
        type: 'report',
        digest: session.task.digest,
        pieces: landed.slice(),
        hashes: landedFromSource > 0 ? new Uint8Array(landed.length * 32).fill(7) : undefined,
        fromSourceBytes: landedFromSource,
        parents: [...session.landedFrom].map(([id, bytes]) => ({ host: id, bytes })),
        slotsBusy: host.sending.length,
      })
      landed.length = 0
      session.landedFromSource = 0
      session.landedFrom.clear()
    }
    host.unreported.clear()
  }

  #heartbeat(host: ModelHost): void {
    const slotsBusy = host.sending.length
    this.#say(host, { type: 'heartbeat', slotsBusy, storeBytes: 0 })
    this.#queue.push(this.now + this.#init.heartbeatMs, { type: 'heartbeat', host })
  }

  // ---- the supernode's side ----

  #say(host: ModelHost, message: Parameters<SchedulerProbe['say']>[1]): void {
    this.probe.say(host.id, message, this.now)
    this.#hear()
  }

  #flush(): void {
    this.#flushDue = false
    const before = this.probe.messagesOut
    this.probe.flush(this.now)
    const sent = this.probe.messagesOut - before
    this.#flushMs = Math.min(FLUSH_MS_MAX, Math.max(FLUSH_MS, sent * FLUSH_PAUSE_PER_MESSAGE_MS))
    this.#hear()
  }

  #sweep(): void {
    this.#sweepDue = false
    this.probe.sweep(this.now)
    this.#hear()
    if (this.#sessions > 0) this.#sweepLater()
  }

  #sweepLater(): void {
    if (this.#sweepDue) return
    this.#sweepDue = true
    this.#queue.push(this.now + SWEEP_MS, { type: 'sweep' })
  }

  /** What the supernode said reaches the hosts; and a flush is put on the agenda where one is due. */
  #hear(): void {
    for (const { to, message } of this.probe.takeSaid()) {
      if (message.type === 'hashes') this.#takeHashes(message)
      else for (const id of to) this.#takeAnswer(this.#byId.get(id)!, message)
    }
    if (this.#flushDue || !this.probe.scheduler.pending) return
    this.#flushDue = true
    this.#queue.push(this.now + this.#flushMs, { type: 'flush' })
  }

  #takeHashes(message: Extract<SupernodeMessage, { type: 'hashes' }>): void {
    const task = this.#byDigest.get(message.digest)!
    for (const piece of message.pieces) task.hashed[piece] = 1
    for (const session of [...task.wanting]) if (session.hungry) this.#trade.ask(session, this.now)
  }

  #takeAnswer(host: ModelHost, message: SupernodeMessage): void {
    switch (message.type) {
      case 'registered':
      case 'parents': {
        const task = this.#byDigest.get(message.digest)!
        const session = host.sessions.get(task)
        if (session?.wants !== true) return
        if (message.type === 'parents') this.#leave(session, message.drop)
        for (const { host: id } of message.parents) {
          this.#trade.addParent(session, this.#sessionOf(this.#byId.get(id)!, task))
        }
        this.#trade.ask(session, this.now)
        return
      }
      case 'grant': {
        const task = this.#byDigest.get(message.digest)!
        this.#fetch(this.#sessionOf(host, task), message.runs)
        return
      }
      case 'task-failed':
      case 'refused':
      case 'task-reset':
        throw new Error(`${host.id} was told ${JSON.stringify(message)}`)
    }
  }

  #leave(session: ModelSession, drop: readonly HostId[]): void {
    for (const link of [...session.parents]) if (drop.includes(link.parent.host.id)) this.#trade.leave(link)
  }

  #fetch(session: ModelSession, runs: readonly PieceRun[]): void {
    for (const run of runs)
      for (let piece = run.first; piece < run.first + run.count; piece++)
        this.#trade.fetchFromSource(session, piece, this.#init.sourceRate, this.now)
  }

  #describeStuck(): string {
    const stuck = this.tasks.flatMap(task => [...task.wanting]).slice(0, 5)
    return stuck
      .map(
        ({ host, task, held, asked, parents }) =>
          `${host.id} ${task.index}: ${held}/${task.pieces}, ${asked} asked, ${parents.length} parents`,
      )
      .join('; ')
  }
}

/** A text that looks like a PeerId: base58, of the usual length. */
export function peerIdOf(index: number): HostId {
  const digits = [...index.toString(7)].map(digit => Number(digit) + 1)
  return `12D3KooW${digits.join('').padStart(44, 'A')}`
}

export function addressOf(index: number, id: HostId): string {
  return `/ip4/10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}/tcp/65002/p2p/${id}`
}
