// Which parents a child is given: a pure choice among hosts that have something it lacks. The cap on children spreads the load.
import type { Bitfield } from '../../shared/bitfield.ts'
import type { ClusterState } from '../state/cluster-state.ts'
import type { Host } from '../state/host.ts'
import type { Peer } from '../state/peer.ts'
import type { Task } from '../state/task.ts'

/** Holders looked at for one choice; more are sampled, so that a choice costs the same in a cluster of any size. */
export const SAMPLE_MAX = 24
/** Children in one task that a host takes which pulls it itself. */
export const CHILDREN_PER_PEER_MAX = 20
/**
 * In a task with fewer holders and grantees than this a host takes a child for each of its slots, however many it has in other tasks: else a
 * seed that is busy with some keeps the rest from beginning.
 */
export const FEW_HOLDERS = 8
/** For a child that waited for nothing: how far over its cap a host may go. */
const OVER_CAP_TIMES = 2
/**
 * How long the one that crosses zones may go without a piece before another does, in ms: over a thin link that several layers share, the first
 * of a dozen pieces under way takes seconds. One that is frozen is lost sooner (probes.ts).
 */
export const GATEWAY_STALL_MS = 8000
const OTHER_ZONE_COST = 0.3
/** A seed is the last resort of many: others come first where they are as free. */
const SEED_COST = 0.1

export interface Choice {
  readonly now: number
  readonly random: () => number
  readonly count: number
  /** Also hosts at their cap, for a child that would otherwise wait for nothing. */
  readonly overCap?: boolean
  /** Only hosts that can give one of these pieces; absent: of those that the child wants. */
  readonly pieces?: Bitfield
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
  const pieces = choice.pieces ?? wantedPieces(child)
  const consider = (host: Host) => {
    if (host === child.host || child.parents.has(host.id) || host.uploadSlots === 0) return
    if (!hasFreeSlot(host, task, choice)) return
    if (child.isBlocked(host, now) || state.corruptReports.isQuarantined(host.id, now)) return
    if (state.unreachable.isShutTo(host.id, child.host.id, now)) return
    scored.push({ host, cost: costOf(host, child.host) + random() * 0.01 })
  }
  if (!child.isSated) {
    for (const host of task.full.sample(SAMPLE_MAX, random)) consider(host)
    // Where so many have all of it, those that pull it themselves need not be looked at.
    const enough = scored.length >= choice.count * 2
    for (const peer of enough ? [] : task.offering.sample(SAMPLE_MAX, random))
      if (hasRoom(peer, choice) && canGive(peer, child, pieces)) consider(peer.host)
    // Few hosts hold a few pieces, and a sample may miss them; what was asked of the source for somebody, a seed holds.
    if (pieces !== undefined) {
      for (const host of state.seeds) {
        const peer = task.peers.get(host.id)
        const isThere = scored.some(one => one.host === host)
        if (peer !== undefined && !isThere && canGive(peer, child, pieces)) consider(host)
      }
    }
  }
  const near = mayCross(state, child, now, scored)
    ? scored
    : scored.filter(({ host }) => !host.isElsewhere(child.host))
  near.sort((a, b) => a.cost - b.cost)
  return near.slice(0, choice.count).map(({ host }) => host)
}

/**
 * True if the child may be sent to hosts of other zones: where its own zone has nothing, nor a parent there that it has already, and nobody of
 * it crosses already who gets on. One host for each task and zone does, so that the links between zones carry each piece about once.
 */
function mayCross(state: ClusterState, child: Peer, now: number, found: readonly { host: Host }[]): boolean {
  const { host, gateway } = child
  if (gateway === child) return true
  if (gateway !== undefined) return now - Math.max(gateway.landedAt, gateway.crossesSince) > GATEWAY_STALL_MS
  if (found.some(other => !other.host.isElsewhere(host))) return false
  for (const id of child.parents) {
    const parent = state.hosts.get(id)
    if (parent !== undefined && !parent.isElsewhere(host) && isUseful(parent, child)) return false
  }
  return true
}

/** True if the host has, or is granted, something that the child lacks. */
function isUseful(parent: Host, child: Peer, pieces = wantedPieces(child)): boolean {
  if (parent.full.has(child.task)) return true
  const peer = child.task.peers.get(parent.id)
  return peer !== undefined && canGive(peer, child, pieces)
}

/** Also where its slots are taken: for the first children of a task that few hold, and, within bounds, for those that waited for nothing. */
function hasFreeSlot(host: Host, task: Task, { overCap }: Choice): boolean {
  if (host.load < host.uploadSlots) return true
  if (overCap === true && host.load < host.uploadSlots * OVER_CAP_TIMES) return true
  return task.full.size + task.offering.size < FEW_HOLDERS && host.childrenIn(task) < host.uploadSlots
}

/**
 * Of those that pull the task themselves each takes a bounded number of children, so that whoever has the first pieces does not end up with
 * all children and the others with none.
 */
function hasRoom(peer: Peer, choice: Choice): boolean {
  return choice.overCap === true || !peer.wants || peer.children < CHILDREN_PER_PEER_MAX
}

/** True if `parent` has a grant, or a piece that `child` lacks; with `pieces` only those count. */
export function canGive(parent: Peer, child: Peer, pieces?: Bitfield): boolean {
  const granted = parent.task.grants.get(parent.host.id)?.pieces
  if (granted !== undefined && (pieces === undefined || overlaps(granted, child.have, pieces))) return true
  return overlaps(parent.have, child.have, pieces)
}

/** True if `theirs` has a piece that `ours` lacks; with `pieces` only those count. */
function overlaps(theirs: Bitfield, ours: Bitfield, pieces: Bitfield | undefined): boolean {
  const [offered, held, counted] = [theirs.bytes, ours.bytes, pieces?.bytes]
  for (let index = 0; index < offered.length; index++)
    if ((offered[index]! & ~held[index]! & (counted?.[index] ?? 0xff)) !== 0) return true
  return false
}

/** The only pieces that the child wants; undefined: all. */
function wantedPieces(child: Peer): Bitfield | undefined {
  return child.partial ? child.urgent : undefined
}

/** True if one of the parents the child was given can give it something; with `pieces`, one of those. */
export function hasUsefulParent(
  state: ClusterState,
  child: Peer,
  pieces: Bitfield | undefined = wantedPieces(child),
): boolean {
  for (const id of child.parents) {
    const host = state.hosts.get(id)
    if (host !== undefined && isUseful(host, child, pieces)) return true
  }
  return false
}

function costOf(host: Host, child: Host): number {
  const zoneCost = host.zone === child.zone ? 0 : OTHER_ZONE_COST
  return host.load / host.uploadSlots + zoneCost + (host.seed ? SEED_COST : 0)
}
