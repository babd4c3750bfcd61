// The one writer: turns what hosts say into events, asks the deciders, and puts their answers out as messages. No I/O, clock or timer of its own.
import { isSoundGeometry, pieceSizeFor } from '../shared/piece.ts'
import type {
  Announce,
  Candidate,
  Finish,
  GrantFailed,
  Hello,
  HostId,
  HostMessage,
  ParentFault,
  PieceRun,
  Register,
  Report,
  Want,
} from '../shared/protocol/messages.ts'
import { Coverage } from './coverage.ts'
import { judgeGrantFailure } from './grant-failure.ts'
import { HOST_HELD_MAX, HOST_PEERS_MAX, LOST_GRACE_MS, TASKS_MAX } from './limits.ts'
import { Mismatches } from './mismatches.ts'
import type { EventSink, Outbox } from './outbox.ts'
import { ParentOffers, parentsWished } from './parent-offers.ts'
import { Probes } from './probes.ts'
import { Pushes } from './pushes.ts'
import { sortReport } from './report-pieces.ts'
import { chooseNeighbours } from './schedule/neighbours.ts'
import type { ClusterState } from './state/cluster-state.ts'
import type { StateEvent } from './state/events.ts'
import type { Host } from './state/host.ts'
import type { Peer } from './state/peer.ts'
import { Sweeper } from './sweeper.ts'

export interface SchedulerInit {
  /** Hard cap of source bytes for each task, as a multiple of its size. */
  readonly budgetRatio: number
  /** A host not heard of for this long is lost, in ms. */
  readonly expireMs: number
}

/** Counts since start, for metrics. */
export interface SchedulerCounts {
  registrations: number
  reports: number
  sourceBytes: number
  peerBytes: number
  faults: number
  resets: number
  hashConflicts: number
}

export class Scheduler {
  readonly counts: SchedulerCounts = {
    registrations: 0,
    reports: 0,
    sourceBytes: 0,
    peerBytes: 0,
    faults: 0,
    resets: 0,
    hashConflicts: 0,
  }
  readonly #state: ClusterState
  readonly #outbox: Outbox
  readonly #journal: EventSink
  readonly #random: () => number
  readonly #onSourceBytes: (bytes: number) => void
  readonly #pushes: Pushes
  readonly #coverage: Coverage
  readonly #offers: ParentOffers
  readonly #sweeper: Sweeper
  readonly #mismatches: Mismatches
  readonly #probes: Probes

  constructor(
    components: {
      state: ClusterState
      outbox: Outbox
      journal: EventSink
      random: () => number
      onSourceBytes?: (bytes: number) => void
    },
    init: SchedulerInit,
  ) {
    this.#state = components.state
    this.#outbox = components.outbox
    this.#journal = components.journal
    this.#random = components.random
    this.#onSourceBytes = components.onSourceBytes ?? (() => {})
    this.#pushes = new Pushes(components.outbox)
    const apply = (event: StateEvent) => this.#apply(event)
    this.#coverage = new Coverage({ ...components, apply, pushes: this.#pushes }, init)
    this.#offers = new ParentOffers({ ...components, apply })
    const { state } = components
    this.#probes = new Probes(components)
    this.#mismatches = new Mismatches({ ...components, apply, coverage: this.#coverage })
    this.#sweeper = new Sweeper({ state, apply, coverage: this.#coverage, offers: this.#offers }, init)
  }

  /** True if `flush` has something to send. */
  get pending(): boolean {
    return this.#pushes.pending
  }

  get hostCount(): number {
    return this.#state.hosts.size
  }

  /** Hosts to tell this one of. */
  neighboursOf(hostId: HostId): Candidate[] {
    return chooseNeighbours(this.#state, hostId, this.#random)
  }

  join(hostId: HostId, hello: Hello, now: number): void {
    // A host that opens another stream starts afresh.
    this.lose(hostId, now)
    const { type: _, proof: __, ...facts } = hello
    this.#apply({ type: 'host-joined', host: hostId, ...facts, at: now })
    // A seed that appears may be the first that can fetch what others wait for.
    if (hello.seed) for (const task of [...this.#state.active]) this.#coverage.cover(task, now)
  }

  /** The host's stream is over, or it was silent too long (`expired`). */
  lose(hostId: HostId, now: number, expired = false): void {
    const host = this.#state.hosts.get(hostId)
    if (host === undefined) return
    const tasks = [...host.full, ...[...host.peers.values()].map(peer => peer.task)]
    const active = tasks.filter(task => task.wanting.size > 0)
    const orphans: Peer[] = []
    for (const task of host.tasksWithChildren)
      for (const child of task.wanting) if (child.parents.has(hostId)) orphans.push(child)
    this.#apply({ type: 'host-lost', host: hostId, graceUntil: expired ? now : now + LOST_GRACE_MS })
    for (const task of active) this.#coverage.cover(task, now)
    // A stream that closed says little about the host's other connections, and its children see for themselves; silence is another matter.
    for (const child of orphans) if (child.wants) this.#offers.offer(child, now, 1, expired ? [hostId] : [])
  }

  handle(hostId: HostId, message: HostMessage, now: number): void {
    const host = this.#state.hosts.get(hostId)
    if (host === undefined) return
    host.seenAt = now
    switch (message.type) {
      case 'announce':
        this.#takeAnnounce(host, message, now)
        return
      case 'register':
        this.#register(host, message, now)
        return
      case 'want':
        this.#takeWant(host, message, now)
        return
      case 'report':
        this.#takeReport(host, message, now)
        return
      case 'parent-fault':
        this.#takeFault(host, message, now)
        return
      case 'finish':
        this.#finish(host, message, now)
        return
      case 'evicted':
        for (const digest of message.digests) {
          const task = this.#state.tasks.get(digest)
          this.#apply({ type: 'evicted', host: hostId, digest })
          if (task !== undefined) this.#coverage.cover(task, now)
        }
        return
      case 'grant-failed':
        this.#takeGrantFailure(host, message, now)
        return
      case 'digest-mismatch':
        if (this.#mismatches.take(host, message.digest, now)) this.counts.resets++
        return
      case 'heartbeat':
        this.#apply({
          type: 'host-seen',
          host: hostId,
          slotsBusy: message.slotsBusy,
          storeBytes: message.storeBytes,
          at: now,
        })
        return
      default:
        // hello and relay are the edge's.
        return
    }
  }

  /** Sends what has gathered: hashes to all who want a task, parents to those who have few. */
  flush(now: number): void {
    this.#pushes.sendHashes()
    this.#pushes.giveParents((child, count) => this.#offers.fillUp(child, now, count))
  }

  /** Looks after what no message starts: the silent, grants without progress, children without a useful parent. */
  sweep(now: number): void {
    this.#probes.askIdle(now)
    for (const host of [...this.#sweeper.findSilent(now), ...this.#probes.findMute(now)]) {
      this.lose(host.id, now, true)
      this.#outbox.cut(host.id, 'silent too long')
    }
    this.#sweeper.sweep(now)
  }

  #apply(event: StateEvent): void {
    this.#state.apply(event)
    this.#journal.record(event)
  }

  #takeAnnounce(host: Host, message: Announce, now: number): void {
    if (this.#state.corruptReports.isQuarantined(host.id, now)) return
    for (const { digest, size, pieceSize, have } of message.holdings) {
      const task = this.#state.tasks.get(digest)
      if (host.full.size >= HOST_HELD_MAX || host.peers.size >= HOST_PEERS_MAX) return
      if (task === undefined) {
        if (this.#state.tasks.size >= TASKS_MAX) continue
        // Without hashes a partial holding is of no use to others, and its geometry only one host's word.
        if (have !== undefined || pieceSize !== pieceSizeFor(size)) continue
        this.#apply({ type: 'task-known', digest, size, pieceSize, at: now })
      } else if (task.size !== size || task.pieceSize !== pieceSize) continue
      this.#apply({ type: 'held', host: host.id, digest, have })
      const known = this.#state.tasks.get(digest)
      if (known !== undefined && known.wanting.size > 0) this.#pushes.markFresh(known)
    }
  }

  #register(host: Host, message: Register, now: number): void {
    this.counts.registrations++
    const { id, digest, size, source, have } = message
    const geometry = { size, pieceSize: pieceSizeFor(size) }
    if (!isSoundGeometry(geometry)) {
      this.#refuse(host, id, 'size out of range')
      return
    }
    let task = this.#state.tasks.get(digest)
    if (!host.peers.has(digest) && host.peers.size >= HOST_PEERS_MAX) {
      this.#refuse(host, id, `${HOST_PEERS_MAX} tasks of this host are running`)
      return
    }
    if (task === undefined && this.#state.tasks.size >= TASKS_MAX) {
      this.#refuse(host, id, `${TASKS_MAX} tasks are known`)
      return
    }
    if (task !== undefined && task.size !== size) {
      const believed = task.hashed.count > 0 || task.full.size > 0 || task.wanting.size > 0
      if (believed) {
        this.#refuse(host, id, `size ${size}, but the task is of ${task.size} bytes`)
        return
      }
      this.#apply({ type: 'task-forgotten', digest })
    }
    const { registry, repository } = source
    this.#apply({ type: 'task-known', digest, ...geometry, registry, repository, at: now })
    task = this.#state.tasks.get(digest)!
    const believed = !this.#state.corruptReports.isQuarantined(host.id, now)
    const bits = believed && have?.byteLength === task.hashed.bytes.byteLength ? have : undefined
    this.#apply({ type: 'registered', host: host.id, digest, source, have: bits, at: now })
    const { urgent, partial = false } = message
    if (partial || urgent !== undefined)
      this.#apply({ type: 'wanted', host: host.id, digest, urgent: urgent ?? [], partial })
    const child = task.peers.get(host.id)!
    const decision = this.#coverage.decide(task, now)
    const parents = this.#offers.link(child, now, parentsWished(task))
    this.#outbox.send(host.id, {
      type: 'registered',
      id,
      digest,
      pieceSize: task.pieceSize,
      hashed: task.hashed.bytes,
      hashes: task.packHashes(),
      parents: parents.map(parent => parent.candidate),
    })
    this.#coverage.announce(task, decision)
    if (urgent !== undefined) this.#speedUp(child, urgent, now)
  }

  #takeWant(host: Host, { digest, urgent, partial }: Want, now: number): void {
    const task = this.#state.tasks.get(digest)
    const child = task?.peers.get(host.id)
    if (task === undefined || !child?.wants) return
    this.#apply({ type: 'wanted', host: host.id, digest, urgent, partial })
    this.#coverage.cover(task, now)
    if (child.wants) this.#speedUp(child, urgent, now)
  }

  /** Brings a child to pieces its readers wait for: those who fetch them go for them first, and one who has some becomes a parent. */
  #speedUp(child: Peer, urgent: readonly PieceRun[], now: number): void {
    if (urgent.length === 0) return
    this.#coverage.hasten(child.task, urgent, now)
    this.#offers.offerUrgent(child, now, urgent)
  }

  #refuse(host: Host, id: number, detail: string): void {
    this.#outbox.send(host.id, { type: 'refused', id, code: 'SUPERNODE_REFUSED', detail })
  }

  #takeReport(host: Host, message: Report, now: number): void {
    this.counts.reports++
    host.slotsBusy = message.slotsBusy
    const task = this.#state.tasks.get(message.digest)
    const peer = task?.peers.get(host.id)
    // A seed may still be at a grant from before a restart, and then takes no part that was told.
    if (task === undefined || (peer === undefined && !host.seed)) return
    const offeredBefore = peer !== undefined && peer.have.count > 0
    const hadGrant = task.grants.has(host.id)
    const { landed, fresh, hashes, conflicts, bytes } = sortReport(task, host.id, message)
    this.counts.hashConflicts += conflicts
    if (fresh.length > 0) {
      task.hashedBy.add(host.id)
      this.#apply({ type: 'hashes-known', digest: task.digest, pieces: fresh, hashes })
      this.#pushes.addHashes(task, fresh)
    }
    // A lost attempt may cost bytes of pieces that never land, but not without end.
    const fromSourceBytes = Math.min(message.fromSourceBytes, bytes + task.pieceSize)
    this.counts.sourceBytes += fromSourceBytes
    this.#onSourceBytes(fromSourceBytes)
    for (const parent of message.parents) {
      this.counts.peerBytes += Math.min(parent.bytes, task.size)
      const giver = this.#state.hosts.get(parent.host)
      if (parent.bytes === 0 || giver === undefined) continue
      if (this.#state.unreachable.count(giver.id, now) > 0 || peer?.hasComplained(giver) === true)
        this.#apply({ type: 'parent-reached', parent: giver.id, child: host.id, digest: task.digest })
    }
    if (this.#state.corruptReports.isQuarantined(host.id, now)) return
    this.#apply({
      type: 'pieces-landed',
      host: host.id,
      digest: task.digest,
      pieces: landed,
      fromSourceBytes,
      at: now,
    })
    if (!offeredBefore && landed.length > 0) this.#pushes.markFresh(task)
    // Pieces that landed without a hash are of no use to others: somebody has to cut them again. And the end of a grant may be the time
    // to say that the budget does not bear the rest.
    const grantEnded = hadGrant && !task.grants.has(host.id)
    if (grantEnded || landed.some(piece => !task.hashed.has(piece))) this.#coverage.cover(task, now)
  }

  #takeFault(host: Host, message: ParentFault, now: number): void {
    this.counts.faults++
    const task = this.#state.tasks.get(message.digest)
    const child = task?.peers.get(host.id)
    // Only of a parent it was given: nobody may accuse a host it never met.
    if (task === undefined || child === undefined || !child.wants || !child.parents.has(message.host)) return
    const accused = this.#state.hosts.get(message.host)
    const { fault } = message
    if (accused !== undefined && (fault === 'silent' || fault === 'stalled')) this.#probes.ask(accused, now)
    if (fault === 'stalled') return
    this.#apply({
      type: 'parent-faulted',
      child: host.id,
      digest: message.digest,
      parent: message.host,
      fault,
      at: now,
    })
    if (this.#state.corruptReports.isQuarantined(message.host, now)) {
      const tasks =
        accused === undefined ? [] : [...accused.full, ...[...accused.peers.values()].map(p => p.task)]
      this.#apply({ type: 'host-distrusted', host: message.host })
      for (const touched of tasks) this.#coverage.cover(touched, now)
    }
    this.#offers.offer(child, now, 2)
    this.#coverage.coverOwn(child, now)
  }

  #finish(host: Host, message: Finish, now: number): void {
    const task = this.#state.tasks.get(message.digest)
    if (task === undefined || !task.peers.has(host.id)) return
    this.#apply({ type: 'finished', host: host.id, digest: message.digest, outcome: message.outcome })
    if (message.outcome === 'done') this.#pushes.markFresh(task)
    this.#coverage.cover(task, now)
  }

  #takeGrantFailure(host: Host, message: GrantFailed, now: number): void {
    const task = this.#state.tasks.get(message.digest)
    if (task === undefined || !task.grants.has(host.id)) return
    const { digest } = message
    this.#apply({
      type: 'grant-ended',
      host: host.id,
      digest,
      runs: message.runs.length === 0 ? undefined : message.runs,
      failure: message.code,
      ...judgeGrantFailure(message, task.grants.get(host.id)?.source),
    })
    this.#coverage.cover(task, now, message.detail)
  }
}
