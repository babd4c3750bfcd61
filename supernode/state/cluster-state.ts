// The supernode's whole state, changed only by `apply(event)`: synchronous, without I/O or clock, so that replaying events rebuilds it.
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import { PIECE_HASH_BYTES } from '../../shared/piece.ts'
import type { HostId } from '../../shared/protocol/messages.ts'
import { CorruptReports } from './corrupt-reports.ts'
import type { GrantEnded, StateEvent, TaskKnown } from './events.ts'
import { addPiece, clearPieces, dropIfIdle, graceLost } from './holdings.ts'
import { Host } from './host.ts'
import { PARENT_BLOCK_MS, Peer } from './peer.ts'
import { SampleSet } from './sample-set.ts'
import { isSameSource, Task } from './task.ts'
import { UnreachableReports } from './unreachable-reports.ts'
import { addWishes, dropWishes, piecesOf } from './wishes.ts'

type EventOf<T extends StateEvent['type']> = Extract<StateEvent, { type: T }>

export class ClusterState {
  readonly hosts = new Map<HostId, Host>()
  /** All hosts once more, for choosing some at random. */
  readonly everyone = new SampleSet<Host>()
  readonly seeds = new Set<Host>()
  readonly tasks = new Map<Digest, Task>()
  /** Tasks that somebody wants. */
  readonly active = new Set<Task>()
  readonly corruptReports = new CorruptReports()
  readonly unreachable = new UnreachableReports()

  apply(event: StateEvent): void {
    switch (event.type) {
      case 'host-joined': {
        this.#removeHost(event.host, 0)
        this.unreachable.clear(event.host)
        const host = new Host(event)
        this.hosts.set(host.id, host)
        this.everyone.add(host)
        if (host.seed) this.seeds.add(host)
        return
      }
      case 'host-seen': {
        const host = this.hosts.get(event.host)
        if (host === undefined) return
        host.seenAt = event.at
        host.slotsBusy = event.slotsBusy
        if (event.storeBytes !== undefined) host.storeBytes = event.storeBytes
        return
      }
      case 'host-lost':
        this.#removeHost(event.host, event.graceUntil)
        return
      case 'host-distrusted':
        this.#distrustHost(event.host)
        return
      case 'task-known':
        this.#learnTask(event)
        return
      case 'task-forgotten':
        this.#forgetTask(event.digest)
        return
      case 'hashes-known':
        this.#learnHashes(event)
        return
      case 'task-reset':
        this.#resetTask(event)
        return
      case 'held':
        this.#hold(event)
        return
      case 'evicted': {
        const found = this.#find(event.host, event.digest)
        if (found === undefined) return
        found.host.full.delete(found.task)
        found.task.full.delete(found.host)
        const peer = found.task.peers.get(event.host)
        if (peer === undefined) return
        clearPieces(peer)
        dropIfIdle(peer)
        return
      }
      case 'registered':
        this.#register(event)
        return
      case 'wanted': {
        const peer = this.#peer(event.host, event.digest)
        if (peer?.wants) addWishes(peer, event)
        return
      }
      case 'pieces-landed':
        this.#landPieces(event)
        return
      case 'linked': {
        const child = this.#peer(event.child, event.digest)
        if (child === undefined) return
        for (const id of event.parents) {
          const parent = this.hosts.get(id)
          if (parent === undefined || child.parents.has(id)) continue
          child.parents.add(id)
          parent.addChild(child.task)
          if (parent.isElsewhere(child.host)) child.task.sendAcross(child, event.at)
        }
        return
      }
      case 'unlinked': {
        const child = this.#peer(event.child, event.digest)
        if (child !== undefined) for (const id of event.parents) this.#unlink(child, id)
        return
      }
      case 'parent-faulted':
        this.#faultParent(event)
        return
      case 'parent-reached':
        this.unreachable.clear(event.parent)
        this.#peer(event.child, event.digest)?.forgive(this.hosts.get(event.parent))
        return
      case 'granted':
        this.#grant(event)
        return
      case 'grant-ended':
        this.#endGrant(event)
        return
      case 'finished':
        this.#finish(event)
        return
      case 'mismatch-reported':
        this.tasks.get(event.digest)?.mismatchReporters.add(event.host)
        return
    }
  }

  #find(hostId: HostId, digest: Digest): { host: Host; task: Task } | undefined {
    const host = this.hosts.get(hostId)
    const task = this.tasks.get(digest)
    return host === undefined || task === undefined ? undefined : { host, task }
  }

  #peer(hostId: HostId, digest: Digest): Peer | undefined {
    return this.tasks.get(digest)?.peers.get(hostId)
  }

  #makePeer(host: Host, task: Task): Peer {
    const known = task.peers.get(host.id)
    if (known !== undefined) return known
    const peer = new Peer(host, task)
    task.peers.set(host.id, peer)
    host.peers.set(task.digest, peer)
    if (task.full.delete(host)) {
      host.full.delete(task)
      for (let piece = 0; piece < task.pieces; piece++) addPiece(peer, piece)
    }
    return peer
  }

  #removeHost(hostId: HostId, graceUntil: number): void {
    const host = this.hosts.get(hostId)
    if (host === undefined) return
    this.hosts.delete(hostId)
    this.everyone.delete(host)
    this.seeds.delete(host)
    for (const task of host.full) {
      task.full.delete(host)
      if (task.full.size === 0) graceLost(task, undefined, graceUntil)
    }
    for (const peer of host.peers.values()) {
      const { task } = peer
      const held = peer.have.clone()
      task.grants.delete(hostId)
      clearPieces(peer)
      graceLost(task, held, graceUntil)
      this.#stopWanting(peer)
      task.peers.delete(hostId)
      task.offering.delete(peer)
    }
    // Children elsewhere keep no link to a host that is gone.
    for (const task of host.tasksWithChildren) for (const child of task.wanting) child.parents.delete(hostId)
  }

  #distrustHost(hostId: HostId): void {
    const host = this.hosts.get(hostId)
    if (host === undefined) return
    for (const task of host.full) task.full.delete(host)
    host.full.clear()
    for (const peer of [...host.peers.values()]) {
      peer.task.grants.delete(hostId)
      clearPieces(peer)
      peer.task.offering.delete(peer)
      dropIfIdle(peer)
    }
  }

  #learnTask(event: TaskKnown): void {
    let task = this.tasks.get(event.digest)
    if (task === undefined) {
      task = new Task(event.digest, event, event.at)
      this.tasks.set(event.digest, task)
    }
    task.settleUntil = Math.max(task.settleUntil, event.settleUntil ?? 0)
    task.registry ??= event.registry
    task.repository ??= event.repository
  }

  #forgetTask(digest: Digest): void {
    const task = this.tasks.get(digest)
    if (task === undefined) return
    for (const host of task.full) host.full.delete(task)
    for (const peer of task.peers.values()) {
      this.#stopWanting(peer)
      peer.host.peers.delete(digest)
    }
    this.tasks.delete(digest)
  }

  #learnHashes(event: EventOf<'hashes-known'>): void {
    const task = this.tasks.get(event.digest)
    if (task === undefined) return
    task.hashes ??= new Uint8Array(task.pieces * PIECE_HASH_BYTES)
    event.pieces.forEach((piece, index) => {
      if (!task.hashed.add(piece)) return
      task.hashes!.set(
        event.hashes.subarray(index * PIECE_HASH_BYTES, (index + 1) * PIECE_HASH_BYTES),
        piece * PIECE_HASH_BYTES,
      )
    })
  }

  #resetTask(event: EventOf<'task-reset'>): void {
    const task = this.tasks.get(event.digest)
    if (task === undefined) return
    for (const giver of task.hashedBy) task.distrusted.add(giver)
    task.hashedBy.clear()
    task.mismatchReporters.clear()
    task.resets++
    task.resetsEver++
    // What was fetched was wrong; the budget is for the right bytes. RESETS_MAX bounds how often.
    task.sourceBytes = 0
    for (const piece of [...task.hashed.pieces()]) task.hashed.remove(piece)
    task.hashes = undefined
    task.grants.clear()
    // Full holders checked the whole digest themselves; partial ones believed the hashes that are now withdrawn.
    for (const peer of [...task.peers.values()]) {
      // Who has nothing need not begin anew.
      if (peer.have.count === 0) peer.resetsSeen = task.resetsEver
      clearPieces(peer)
      task.offering.delete(peer)
      dropIfIdle(peer)
    }
  }

  #hold(event: EventOf<'held'>): void {
    const found = this.#find(event.host, event.digest)
    if (found === undefined) return
    const { host, task } = found
    const peer = task.peers.get(host.id)
    if (event.have === undefined && peer === undefined) {
      host.full.add(task)
      task.full.add(host)
      return
    }
    const holder = peer ?? this.#makePeer(host, task)
    const have = event.have === undefined ? Bitfield.full(task.pieces) : new Bitfield(task.pieces, event.have)
    for (const piece of have.pieces()) addPiece(holder, piece)
    dropIfIdle(holder)
  }

  #register(event: EventOf<'registered'>): void {
    const found = this.#find(event.host, event.digest)
    if (found === undefined) return
    const { host, task } = found
    if (task.wanting.size === 0 && task.grants.size === 0) {
      task.sourceBytes = 0
      task.resets = 0
      task.failures.clear()
      task.refusedSources.length = 0
      task.lastFailure = undefined
    }
    const peer = this.#makePeer(host, task)
    peer.source = host.shareSource(event.source)
    if (!peer.wants) host.wanting++
    peer.wants = true
    peer.registeredAt = event.at
    peer.resetsSeen = task.resetsEver
    task.wanting.add(peer)
    this.active.add(task)
    task.usedAt = event.at
    if (event.have !== undefined)
      for (const piece of new Bitfield(task.pieces, event.have).pieces()) addPiece(peer, piece)
  }

  #landPieces(event: EventOf<'pieces-landed'>): void {
    const found = this.#find(event.host, event.digest)
    if (found === undefined) return
    const { host, task } = found
    const peer = this.#makePeer(host, task)
    peer.landedAt = event.at
    task.sourceBytes += event.fromSourceBytes
    const grant = task.grants.get(host.id)
    for (const piece of event.pieces) {
      addPiece(peer, piece)
      if (grant?.pieces.remove(piece)) grant.progressAt = event.at
    }
    if (grant !== undefined && grant.pieces.count === 0) task.grants.delete(host.id)
  }

  #unlink(child: Peer, parentId: HostId): void {
    if (!child.parents.delete(parentId)) return
    this.hosts.get(parentId)?.removeChild(child.task)
  }

  #stopWanting(peer: Peer): void {
    for (const id of [...peer.parents]) this.#unlink(peer, id)
    peer.forgetBlocks()
    if (peer.wants) peer.host.stopWanting()
    peer.wants = false
    peer.source = undefined
    peer.task.wanting.delete(peer)
    const { zone } = peer.host
    if (zone !== undefined && peer.task.gateways.get(zone) === peer) peer.task.gateways.delete(zone)
    if (peer.task.wanting.size === 0) this.active.delete(peer.task)
    dropWishes(peer)
  }

  #faultParent(event: EventOf<'parent-faulted'>): void {
    const child = this.#peer(event.child, event.digest)
    if (child === undefined) return
    this.#unlink(child, event.parent)
    const parent = this.hosts.get(event.parent)
    if (parent !== undefined) child.block(parent, event.at + PARENT_BLOCK_MS[event.fault])
    if (event.fault === 'corrupt') this.corruptReports.add(event.parent, event.child, event.at)
    if (event.fault === 'unreachable') this.unreachable.add(event.parent, event.child, event.at)
  }

  #grant(event: EventOf<'granted'>): void {
    const found = this.#find(event.host, event.digest)
    if (found === undefined) return
    const { host, task } = found
    const peer = this.#makePeer(host, task)
    let grant = task.grants.get(host.id)
    if (grant === undefined) {
      grant = {
        host: host.id,
        source: event.source,
        pieces: new Bitfield(task.pieces),
        hastened: new Bitfield(task.pieces),
        isHastened: false,
        progressAt: event.at,
      }
      task.grants.set(host.id, grant)
    }
    if (event.isLastResort) task.distrusted.delete(host.id)
    peer.resetsSeen = task.resetsEver
    grant.isHastened ||= event.urgent === true
    for (const piece of piecesOf(event.runs, task.pieces)) {
      grant.pieces.add(piece)
      if (event.urgent) grant.hastened.add(piece)
    }
    task.offering.add(peer)
  }

  #endGrant(event: GrantEnded): void {
    const task = this.tasks.get(event.digest)
    const grant = task?.grants.get(event.host)
    if (task === undefined || grant === undefined) return
    if (event.runs === undefined) task.grants.delete(event.host)
    else {
      for (const piece of piecesOf(event.runs, task.pieces)) grant.pieces.remove(piece)
      if (grant.pieces.count === 0) task.grants.delete(event.host)
    }
    if (event.failure !== undefined) {
      task.lastFailure = event.failure
      if (event.sourceRefused) {
        if (!task.refusedSources.some(refused => isSameSource(refused.source, grant.source)))
          task.refusedSources.push({ source: grant.source, code: event.failure })
      } else {
        const failures = (task.failures.get(event.host) ?? 0) + 1
        task.failures.set(event.host, event.lasting ? Number.POSITIVE_INFINITY : failures)
      }
    }
    const peer = task.peers.get(event.host)
    if (peer !== undefined && peer.have.count === 0 && !peer.granted) task.offering.delete(peer)
    if (peer !== undefined) dropIfIdle(peer)
  }

  #finish(event: EventOf<'finished'>): void {
    const peer = this.#peer(event.host, event.digest)
    if (peer === undefined) return
    const { host, task } = peer
    this.#stopWanting(peer)
    task.grants.delete(host.id)
    if (event.outcome === 'done' || peer.have.isFull) {
      clearPieces(peer)
      task.peers.delete(host.id)
      host.peers.delete(task.digest)
      task.offering.delete(peer)
      host.full.add(task)
      task.full.add(host)
      return
    }
    if (peer.have.count === 0) task.offering.delete(peer)
    dropIfIdle(peer)
  }
}
