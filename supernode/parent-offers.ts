// Gives children their parents: carries out what the candidate decider says.
import { Bitfield } from '../shared/bitfield.ts'
import type { HostId, PieceRun } from '../shared/protocol/messages.ts'
import type { Outbox } from './outbox.ts'
import { CHILDREN_PER_PEER_MAX, chooseParents, hasUsefulParent } from './schedule/candidates.ts'
import type { ClusterState } from './state/cluster-state.ts'
import type { StateEvent } from './state/events.ts'
import type { Host } from './state/host.ts'
import type { Peer } from './state/peer.ts'
import type { Task } from './state/task.ts'
import { piecesOf } from './state/wishes.ts'

/** Parents in the first answer, and up to which a child is given more as holders appear. */
export const PARENTS_FIRST = 16
/** Most parents a child has at a time. */
export const PARENTS_MAX = 20
/** How long a child may wait for a parent below its cap, in ms. */
const OVER_CAP_AFTER_MS = 1000

/** Parents that each child has while there are too few holders for more, so that the first children do not take what all need to begin. */
const PARENTS_SCARCE = 4

/** Parents that each child has where as many hold all as want it: any of these has all that the child lacks. */
const PARENTS_FULL = 8

/** How many parents a child of the task is given for now: its share of the children that the holders take. */
export function parentsWished(task: Task): number {
  if (task.full.size >= PARENTS_FULL && task.full.size >= task.wanting.size) return PARENTS_FULL
  const holders = task.offering.size + task.full.size
  const share = Math.floor((holders * CHILDREN_PER_PEER_MAX) / Math.max(1, task.wanting.size))
  return Math.min(PARENTS_FIRST, Math.max(PARENTS_SCARCE, share))
}

export interface ParentOffersComponents {
  readonly state: ClusterState
  readonly apply: (event: StateEvent) => void
  readonly outbox: Outbox
  readonly random: () => number
}

export class ParentOffers {
  readonly #components: ParentOffersComponents

  constructor(components: ParentOffersComponents) {
    this.#components = components
  }

  /** Chooses parents and enters them in the state. */
  link(child: Peer, now: number, count: number, overCap = false, pieces?: Bitfield): Host[] {
    const { state, random, apply } = this.#components
    const crossing = child.gateway
    const parents = chooseParents(state, child, { now, random, count, overCap, pieces })
    if (parents.length > 0)
      apply({
        type: 'linked',
        child: child.host.id,
        digest: child.task.digest,
        parents: parents.map(parent => parent.id),
        at: now,
      })
    if (crossing !== undefined && crossing !== child && child.gateway === child) this.#callBack(crossing)
    return parents
  }

  /** Another crosses to other zones in its place: it takes what it lacks from that one, so that nothing crosses twice. */
  #callBack(child: Peer): void {
    const { state, apply, outbox } = this.#components
    const { digest } = child.task
    const far = [...child.parents].filter(id => state.hosts.get(id)?.isElsewhere(child.host) === true)
    if (far.length === 0) return
    apply({ type: 'unlinked', child: child.host.id, digest, parents: far })
    outbox.send(child.host.id, { type: 'parents', digest, parents: [], drop: far })
  }

  /** Chooses parents and tells the child, and which to leave; says nothing where there is nothing to say. */
  offer(
    child: Peer,
    now: number,
    count: number,
    drop: readonly HostId[] = [],
    overCap = false,
    pieces?: Bitfield,
  ): void {
    const room = PARENTS_MAX - child.parents.size
    const parents = this.link(child, now, Math.min(count, room), overCap, pieces)
    if (parents.length === 0 && drop.length === 0) return
    this.#components.outbox.send(child.host.id, {
      type: 'parents',
      digest: child.task.digest,
      parents: parents.map(parent => parent.candidate),
      drop,
    })
  }

  /** Gives a child that has fewer than `count` parents more; false if it has as many. */
  fillUp(child: Peer, now: number, count = parentsWished(child.task)): boolean {
    if (child.parents.size >= count || child.isSated) return false
    this.offer(child, now, count - child.parents.size)
    return true
  }

  /** A child that waits for these pieces, and whose parents have none of them, gets one that has; at its limit it leaves two others. */
  offerUrgent(child: Peer, now: number, urgent: readonly PieceRun[]): void {
    const pieces = new Bitfield(child.task.pieces)
    for (const piece of piecesOf(urgent, pieces.length)) pieces.add(piece)
    if (child.isSated || hasUsefulParent(this.#components.state, child, pieces)) return
    this.offer(child, now, 2, this.#makeRoom(child), false, pieces)
  }

  /**
   * A child none of whose parents has anything for it gets one that has; at its limit it leaves two of the useless ones.
   * True if it was in that state.
   */
  helpStuck(child: Peer, now: number): boolean {
    const { state } = this.#components
    if (!child.wants || child.isSated || child.granted || hasUsefulParent(state, child)) return false
    this.offer(child, now, 2, this.#makeRoom(child), now - child.registeredAt > OVER_CAP_AFTER_MS)
    return true
  }

  /** Takes two parents from a child at its limit. */
  #makeRoom(child: Peer): HostId[] {
    if (child.parents.size < PARENTS_MAX) return []
    const drop = [...child.parents].slice(0, 2)
    this.#components.apply({
      type: 'unlinked',
      child: child.host.id,
      digest: child.task.digest,
      parents: drop,
    })
    return drop
  }
}
