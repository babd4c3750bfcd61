// Gives children their parents: carries out what the candidate decider says.

import type { HostId } from '../shared/protocol/messages.ts'
import type { Outbox } from './outbox.ts'
import { chooseParents, hasUsefulParent } from './schedule/candidates.ts'
import type { ClusterState } from './state/cluster-state.ts'
import type { StateEvent } from './state/events.ts'
import type { Host } from './state/host.ts'
import type { Peer } from './state/peer.ts'

/** Parents in the first answer, and up to which a child is given more as holders appear. */
export const PARENTS_FIRST = 4
/** Most parents a child has at a time. */
export const PARENTS_MAX = 8
/** How long a child may wait for a parent below its cap, in ms. */
const OVER_CAP_AFTER_MS = 1000

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
  link(child: Peer, now: number, count: number, overCap = false): Host[] {
    const { state, random, apply } = this.#components
    const parents = chooseParents(state, child, { now, random, count, overCap })
    if (parents.length > 0)
      apply({
        type: 'linked',
        child: child.host.id,
        digest: child.task.digest,
        parents: parents.map(parent => parent.id),
      })
    return parents
  }

  /** Chooses parents and tells the child, and which to leave; says nothing where there is nothing to say. */
  offer(child: Peer, now: number, count: number, drop: readonly HostId[] = [], overCap = false): void {
    const room = PARENTS_MAX - child.parents.size
    const parents = this.link(child, now, Math.min(count, room), overCap)
    if (parents.length === 0 && drop.length === 0) return
    this.#components.outbox.send(child.host.id, {
      type: 'parents',
      digest: child.task.digest,
      parents: parents.map(parent => parent.candidate),
      drop,
    })
  }

  /** Gives a child that has fewer than `count` parents more. */
  fillUp(child: Peer, now: number, count = PARENTS_FIRST): void {
    if (child.have.isFull || child.parents.size >= count) return
    this.offer(child, now, count - child.parents.size)
  }

  /**
   * A child none of whose parents has anything for it gets one that has; at its limit it leaves two of the useless ones.
   * True if it was in that state.
   */
  helpStuck(child: Peer, now: number): boolean {
    const { state, apply } = this.#components
    if (!child.wants || child.have.isFull || child.granted || hasUsefulParent(state, child)) return false
    const drop = child.parents.size >= PARENTS_MAX ? [...child.parents].slice(0, 2) : []
    if (drop.length > 0)
      apply({ type: 'unlinked', child: child.host.id, digest: child.task.digest, parents: drop })
    this.offer(child, now, 2, drop, now - child.registeredAt > OVER_CAP_AFTER_MS)
    return true
  }
}
