// The one writer: turns what hosts say into events, asks the deciders, and puts their answers out as messages. No I/O, clock or timer of its own.
import { isSoundGeometry, PIECE_HASH_BYTES, pieceLength, pieceSizeFor } from '../shared/piece.ts'
import { clipDetail } from '../shared/protocol/limits.ts'
import type {
  Announce,
  Finish,
  Grant,
  GrantFailed,
  Hello,
  HostId,
  HostMessage,
  ParentFault,
  Register,
  Report,
  SupernodeMessage,
} from '../shared/protocol/messages.ts'
import { Pushes } from './pushes.ts'
import { chooseParents, hasUsefulParent } from './schedule/candidates.ts'
import { decideGrants, decideOwnGrant, type GrantChoice } from './schedule/grants.ts'
import type { ClusterState } from './state/cluster-state.ts'
import type { StateEvent } from './state/events.ts'
import type { Host } from './state/host.ts'
import type { Peer } from './state/peer.ts'
import type { Task } from './state/task.ts'

/** Where messages to hosts go; a host that is not there any more is no error. */
export interface Outbox {
  send(host: HostId, message: SupernodeMessage): void
  /** The same message to many, encoded once. */
  broadcast(hosts: Iterable<HostId>, message: SupernodeMessage): void
  /** Ends the stream of a host that was silent too long. */
  cut(host: HostId, reason: string): void
}

/** Takes the events that a restart must know. */
export interface EventSink {
  record(event: StateEvent): void
}

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

/** Parents in the first answer, and at which a child is given no more of its own accord. */
export const PARENTS_FIRST = 4
/** Most parents a child has at a time. */
export const PARENTS_MAX = 8
/** How long pieces that only a lost host held are not granted again, in ms: it may come straight back. */
export const LOST_GRACE_MS = 500
/** How long a grantee may go without landing a piece, in ms. */
export const GRANT_STALL_MS = 20_000
/** Times that a task's hashes may be withdrawn while it is remembered. */
export const RESETS_MAX = 3
/** Children looked at in one sweep. */
const SWEEP_CHILDREN_MAX = 2000
/** How long a child may wait for a parent below its cap, in ms. */
const OVER_CAP_AFTER_MS = 1000

/** Errors that the source would answer to anyone with the same repository and credentials. */
const refusingCodes = new Set(['SOURCE_UNAUTHORIZED', 'SOURCE_DENIED', 'SOURCE_BLOB_UNKNOWN'])

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
  readonly #init: SchedulerInit
  readonly #pushes: Pushes

  constructor(
    components: { state: ClusterState; outbox: Outbox; journal: EventSink; random: () => number },
    init: SchedulerInit,
  ) {
    this.#state = components.state
    this.#outbox = components.outbox
    this.#journal = components.journal
    this.#random = components.random
    this.#init = init
    this.#pushes = new Pushes(components.outbox)
  }

  /** True if `flush` has something to send. */
  get pending(): boolean {
    return this.#pushes.pending
  }

  join(hostId: HostId, hello: Hello, now: number): void {
    // A host that opens another stream starts afresh.
    this.lose(hostId, now)
    const { type: _, proof: __, ...facts } = hello
    this.#apply({ type: 'host-joined', host: hostId, ...facts, at: now })
    // A seed that appears may be the first that can fetch what others wait for.
    if (hello.seed) for (const task of [...this.#state.active]) this.#cover(task, now)
  }

  /** The host's stream is over, or it was silent too long (`expired`). */
  lose(hostId: HostId, now: number, expired = false): void {
    const host = this.#state.hosts.get(hostId)
    if (host === undefined) return
    const tasks = [...host.full, ...[...host.peers.values()].map(peer => peer.task)]
    const active = tasks.filter(task => task.wanting.size > 0)
    const orphans = active.flatMap(task => [...task.wanting].filter(child => child.parents.has(hostId)))
    this.#apply({ type: 'host-lost', host: hostId, graceUntil: now + LOST_GRACE_MS })
    for (const task of active) this.#cover(task, now)
    // A stream that closed says little about the host's other connections, and its children see for themselves; silence is another matter.
    for (const child of orphans) if (child.wants) this.#offer(child, now, 1, expired ? [hostId] : [])
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
          if (task !== undefined) this.#cover(task, now)
        }
        return
      case 'grant-failed':
        this.#takeGrantFailure(host, message, now)
        return
      case 'digest-mismatch':
        this.#takeMismatch(host, message.digest, now)
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
    for (const task of this.#pushes.takeFresh())
      for (const child of task.wanting)
        if (child.parents.size < PARENTS_FIRST && !child.have.isFull)
          this.#offer(child, now, PARENTS_FIRST - child.parents.size, [])
  }

  /** Looks after what no message starts: the silent, grants without progress, children without a useful parent. */
  sweep(now: number): void {
    for (const host of [...this.#state.hosts.values()]) {
      if (now - host.seenAt <= this.#init.expireMs) continue
      this.lose(host.id, now, true)
      this.#outbox.cut(host.id, 'silent too long')
    }
    let children = 0
    for (const task of [...this.#state.active]) {
      for (const grant of [...task.grants.values()])
        if (now - grant.progressAt > GRANT_STALL_MS)
          this.#apply({
            type: 'grant-ended',
            host: grant.host,
            digest: task.digest,
            failure: 'SOURCE_STALLED',
          })
      this.#cover(task, now)
      for (const child of [...task.wanting]) {
        if (++children > SWEEP_CHILDREN_MAX) return
        this.#helpStuck(child, now)
      }
    }
  }

  #apply(event: StateEvent): void {
    this.#state.apply(event)
    this.#journal.record(event)
  }

  #takeAnnounce(host: Host, message: Announce, now: number): void {
    if (this.#state.corruptReports.isQuarantined(host.id, now)) return
    for (const { digest, size, pieceSize, have } of message.holdings) {
      const task = this.#state.tasks.get(digest)
      if (task === undefined) {
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
    const bits = have?.byteLength === task.hashed.bytes.byteLength ? have : undefined
    this.#apply({ type: 'registered', host: host.id, digest, source, have: bits, at: now })
    const child = task.peers.get(host.id)!
    const decision = decideGrants(this.#state, task, now, this.#init.budgetRatio)
    if (decision.kind === 'grant') for (const choice of decision.grants) this.#grant(task, choice, now)
    const parents = this.#link(child, now, PARENTS_FIRST)
    this.#outbox.send(host.id, {
      type: 'registered',
      id,
      digest,
      pieceSize: task.pieceSize,
      hashed: task.hashed.bytes,
      hashes: task.packHashes(),
      parents: parents.map(parent => parent.candidate),
    })
    if (decision.kind === 'fail') this.#fail(task, decision.code, decision.detail)
    else for (const choice of decision.grants) this.#sendGrant(task, choice)
  }

  #refuse(host: Host, id: number, detail: string): void {
    this.#outbox.send(host.id, { type: 'refused', id, code: 'SUPERNODE_REFUSED', detail })
  }

  #takeReport(host: Host, message: Report, now: number): void {
    this.counts.reports++
    host.slotsBusy = message.slotsBusy
    const task = this.#state.tasks.get(message.digest)
    const peer = task?.peers.get(host.id)
    if (task === undefined || peer === undefined) return
    const offeredBefore = task.offering.has(peer) && peer.have.count > 0
    const { landed, fresh, hashes, bytes } = this.#sortPieces(task, host, message)
    if (fresh.length > 0) {
      task.hashedBy.add(host.id)
      this.#apply({ type: 'hashes-known', digest: task.digest, pieces: fresh, hashes })
      this.#pushes.addHashes(task, fresh)
    }
    // A lost attempt may cost bytes of pieces that never land, but not without end.
    const fromSourceBytes = Math.min(message.fromSourceBytes, bytes + task.pieceSize)
    this.counts.sourceBytes += fromSourceBytes
    for (const parent of message.parents) this.counts.peerBytes += Math.min(parent.bytes, task.size)
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
    // Pieces that landed without a hash are of no use to others: somebody has to cut them again.
    if (landed.some(piece => !task.hashed.has(piece))) this.#cover(task, now)
  }

  /** Which reported pieces are believed, and which hashes are new. A hash that differs from the recorded one disqualifies its piece. */
  #sortPieces(task: Task, host: Host, message: Report) {
    const landed: number[] = []
    const fresh: number[] = []
    const freshHashes: Uint8Array[] = []
    let bytes = 0
    const believed = message.hashes !== undefined && !task.distrusted.has(host.id)
    message.pieces.forEach((piece, index) => {
      if (piece >= task.pieces) return
      bytes += pieceLength(task, piece)
      const hash = believed
        ? message.hashes!.subarray(index * PIECE_HASH_BYTES, (index + 1) * PIECE_HASH_BYTES)
        : undefined
      const known = task.hashOf(piece)
      if (hash !== undefined && known !== undefined && !Buffer.from(known).equals(hash)) {
        this.counts.hashConflicts++
        return
      }
      landed.push(piece)
      if (hash === undefined || known !== undefined || fresh.includes(piece)) return
      fresh.push(piece)
      freshHashes.push(hash)
    })
    return { landed, fresh, hashes: Buffer.concat(freshHashes), bytes }
  }

  #takeFault(host: Host, message: ParentFault, now: number): void {
    this.counts.faults++
    const task = this.#state.tasks.get(message.digest)
    const child = task?.peers.get(host.id)
    // Only of a parent it was given: nobody may accuse a host it never met.
    if (task === undefined || child === undefined || !child.wants || !child.parents.has(message.host)) return
    this.#apply({
      type: 'parent-faulted',
      child: host.id,
      digest: message.digest,
      parent: message.host,
      fault: message.fault,
      at: now,
    })
    if (this.#state.corruptReports.isQuarantined(message.host, now)) {
      const accused = this.#state.hosts.get(message.host)
      const tasks =
        accused === undefined ? [] : [...accused.full, ...[...accused.peers.values()].map(p => p.task)]
      this.#apply({ type: 'host-distrusted', host: message.host })
      for (const touched of tasks) this.#cover(touched, now)
    }
    this.#offer(child, now, 2, [])
    this.#coverOwn(child, now)
  }

  #finish(host: Host, message: Finish, now: number): void {
    const task = this.#state.tasks.get(message.digest)
    if (task === undefined || !task.peers.has(host.id)) return
    this.#apply({ type: 'finished', host: host.id, digest: message.digest, outcome: message.outcome })
    if (message.outcome === 'done') this.#pushes.markFresh(task)
    this.#cover(task, now)
  }

  #takeGrantFailure(host: Host, message: GrantFailed, now: number): void {
    const task = this.#state.tasks.get(message.digest)
    if (task === undefined || !task.grants.has(host.id)) return
    this.#apply({
      type: 'grant-ended',
      host: host.id,
      digest: message.digest,
      runs: message.runs.length === 0 ? undefined : message.runs,
      failure: message.code,
      sourceRefused: refusingCodes.has(message.code),
    })
    this.#cover(task, now, message.detail)
  }

  #takeMismatch(host: Host, digest: Task['digest'], now: number): void {
    const task = this.#state.tasks.get(digest)
    if (task === undefined || !task.peers.has(host.id)) return
    this.#apply({ type: 'mismatch-reported', host: host.id, digest, at: now })
    const credible = task.hashedBy.has(host.id) || task.mismatchReporters.size >= 2
    if (!credible || task.resets >= RESETS_MAX || task.hashed.count === 0) return
    this.counts.resets++
    const wanting = [...task.wanting].map(peer => peer.host.id)
    this.#apply({ type: 'task-reset', digest, reporter: host.id })
    this.#outbox.broadcast(wanting, { type: 'task-reset', digest })
    this.#cover(task, now)
  }

  /** Sees to it that every piece of an active task has a holder or a grantee. */
  #cover(task: Task, now: number, detail?: string): void {
    const decision = decideGrants(this.#state, task, now, this.#init.budgetRatio)
    if (decision.kind === 'fail') {
      this.#fail(task, decision.code, detail ?? decision.detail)
      return
    }
    for (const choice of decision.grants) {
      this.#grant(task, choice, now)
      this.#sendGrant(task, choice)
    }
  }

  #coverOwn(child: Peer, now: number): void {
    const own = decideOwnGrant(this.#state, child, now, this.#init.budgetRatio)
    if (own === undefined) return
    this.#grant(child.task, own, now)
    this.#sendGrant(child.task, own)
  }

  #grant(task: Task, choice: GrantChoice, now: number): void {
    const { host, source, runs } = choice
    this.#apply({ type: 'granted', host: host.id, digest: task.digest, source, runs, at: now })
    this.#pushes.markFresh(task)
  }

  #sendGrant(task: Task, { host, source, runs }: GrantChoice): void {
    const { digest, size, pieceSize } = task
    const grant: Grant = { type: 'grant', digest, size, pieceSize, source, runs }
    this.#outbox.send(host.id, grant)
  }

  #fail(task: Task, code: string, detail: string): void {
    const { digest } = task
    const hosts = [...task.wanting].map(peer => peer.host.id)
    this.#outbox.broadcast(hosts, { type: 'task-failed', digest, code, detail: clipDetail(detail) })
    for (const host of hosts) this.#apply({ type: 'finished', host, digest, outcome: 'failed' })
  }

  #link(child: Peer, now: number, count: number, overCap = false): Host[] {
    const parents = chooseParents(this.#state, child, { now, random: this.#random, count, overCap })
    if (parents.length > 0)
      this.#apply({
        type: 'linked',
        child: child.host.id,
        digest: child.task.digest,
        parents: parents.map(parent => parent.id),
      })
    return parents
  }

  #offer(child: Peer, now: number, count: number, drop: readonly HostId[], overCap = false): void {
    const parents = this.#link(child, now, Math.min(count, PARENTS_MAX - child.parents.size), overCap)
    if (parents.length === 0 && drop.length === 0) return
    this.#outbox.send(child.host.id, {
      type: 'parents',
      digest: child.task.digest,
      parents: parents.map(parent => parent.candidate),
      drop,
    })
  }

  /** A child none of whose parents has anything for it gets one that has; at its limit it leaves the useless ones. */
  #helpStuck(child: Peer, now: number): void {
    if (!child.wants || child.have.isFull || child.granted || hasUsefulParent(this.#state, child)) return
    const drop = child.parents.size >= PARENTS_MAX ? [...child.parents].slice(0, 2) : []
    if (drop.length > 0)
      this.#apply({ type: 'unlinked', child: child.host.id, digest: child.task.digest, parents: drop })
    this.#offer(child, now, 2, drop, now - child.registeredAt > OVER_CAP_AFTER_MS)
    this.#coverOwn(child, now)
  }
}
