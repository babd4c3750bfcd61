// Which parents a child is given: a pure choice among hosts that have something it lacks. The cap on children spreads the load.

import type { ClusterState } from '../state/cluster-state.ts'
import type { Host } from '../state/host.ts'
import type { Peer } from '../state/peer.ts'

/** Holders looked at for one choice; more are sampled, so that a choice costs the same in a cluster of any size. */
export const SAMPLE_MAX = 24
const OTHER_ZONE_COST = 0.3
/** A seed is the last resort of many: others come first where they are as free. */
const SEED_COST = 0.1

export interface Choice {
  readonly now: number
  readonly random: () => number
  readonly count: number
  /** Also hosts at their cap, for a child that would otherwise wait for nothing. */
  readonly overCap?: boolean
}

/**
 * Up to `count` hosts for `child` that it was not given yet, best first. Empty: it has to wait.
 *
 * Each has a piece that the child lacks or is fetching one from the source. A piece is asked only of a host that has it, so pieces
 * cannot travel in circles even if two hosts are each other's parents.
 */
export function chooseParents(state: ClusterState, child: Peer, choice: Choice): Host[] {
  const { task } = child
  const { now, random } = choice
  const scored: { host: Host; cost: number }[] = []
  const consider = (host: Host) => {
    if (host === child.host || child.parents.has(host.id) || host.uploadSlots === 0) return
    if (choice.overCap !== true && host.load >= host.uploadSlots) return
    if (child.isBlocked(host, now) || state.corruptReports.isQuarantined(host.id, now)) return
    scored.push({ host, cost: costOf(host, child.host) + random() * 0.01 })
  }
  if (!child.have.isFull) {
    for (const host of task.full.sample(SAMPLE_MAX, random)) consider(host)
    for (const peer of task.offering.sample(SAMPLE_MAX, random)) if (canGive(peer, child)) consider(peer.host)
  }
  scored.sort((a, b) => a.cost - b.cost)
  return scored.slice(0, choice.count).map(({ host }) => host)
}

/** True if `parent` has a grant, or a piece that `child` lacks. */
export function canGive(parent: Peer, child: Peer): boolean {
  if (parent.granted) return true
  const theirs = parent.have.bytes
  const ours = child.have.bytes
  for (let index = 0; index < theirs.length; index++) if ((theirs[index]! & ~ours[index]!) !== 0) return true
  return false
}

/** True if one of the parents the child was given can give it something. */
export function hasUsefulParent(state: ClusterState, child: Peer): boolean {
  for (const id of child.parents) {
    const host = state.hosts.get(id)
    if (host === undefined) continue
    if (host.full.has(child.task)) return true
    const peer = child.task.peers.get(id)
    if (peer !== undefined && canGive(peer, child)) return true
  }
  return false
}

function costOf(host: Host, child: Host): number {
  const zoneCost = host.zone === child.zone ? 0 : OTHER_ZONE_COST
  return host.load / host.uploadSlots + zoneCost + (host.seed ? SEED_COST : 0)
}
