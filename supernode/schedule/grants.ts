// Who fetches what from the source: a pure choice that leaves no piece of an active task without a holder or a grantee.
import { pieceLength } from '../../shared/piece.ts'
import type { PieceRun, SourceRef } from '../../shared/protocol/messages.ts'
import { orderByRendezvous } from '../../shared/rendezvous.ts'
import type { ClusterState } from '../state/cluster-state.ts'
import type { Host } from '../state/host.ts'
import type { Peer } from '../state/peer.ts'
import { isSameSource, type Task } from '../state/task.ts'
import { piecesOf } from '../state/wishes.ts'
import { splitPieces, toRuns } from './runs.ts'
import { remainingBytes } from './source-budget.ts'

/** Hosts among which the pieces are shared out where no seed can fetch them. */
export const GRANTEES_MAX = 4
/** Failed grants of one host in one task before it is asked no more. */
export const HOST_FAILURES_MAX = 2

export interface GrantChoice {
  readonly host: Host
  readonly source: SourceRef
  readonly runs: readonly PieceRun[]
  /** Readers wait for these: to be fetched before all else. */
  readonly urgent: boolean
  /** What this host fetched before was wrong, but so was what all others did: the source is the likelier culprit, and it is believed again. */
  readonly isLastResort?: boolean
}

interface Fetcher {
  readonly host: Host
  readonly source: SourceRef
  readonly isLastResort?: boolean
}

export type GrantDecision =
  | { readonly kind: 'grant'; readonly grants: readonly GrantChoice[] }
  /** Nobody can fetch what is missing: the task fails for all who want it. */
  | { readonly kind: 'fail'; readonly code: string; readonly detail: string }

/** Pieces that are wanted, that no live host offers and none fetches, in rising order. */
export function findMissing(task: Task, now: number): number[] {
  if (now < task.settleUntil) return []
  const missing: number[] = []
  const inGrace = now < task.graceUntil ? task.graced : undefined
  const isWhole = task.isWantedWhole
  for (let piece = 0; piece < task.pieces; piece++) {
    if (!isWhole && task.urgent?.has(piece) !== true) continue
    if (task.isAvailable(piece) || inGrace?.has(piece)) continue
    if (task.granteeOf(piece) === undefined) missing.push(piece)
  }
  return missing
}

/** Shares out what is missing. Grants are disjoint: a piece that has a live grantee is not missing. */
export function decideGrants(state: ClusterState, task: Task, now: number, ratio: number): GrantDecision {
  if (task.wanting.size === 0) return { kind: 'grant', grants: [] }
  const missing = findMissing(task, now)
  if (missing.length === 0) return { kind: 'grant', grants: [] }
  const fetchers = findFetchers(state, task, now)
  if (fetchers.length === 0) return failure(task)
  const urgent = missing.filter(piece => task.urgent?.has(piece))
  const others = urgent.length === 0 ? missing : missing.filter(piece => !task.urgent!.has(piece))
  const affordable = takeAffordable(task, [...urgent, ...others], ratio)
  if (affordable.length === 0) {
    if (task.grants.size > 0) return { kind: 'grant', grants: [] }
    return { kind: 'fail', code: 'SOURCE_BUDGET_SPENT', detail: `${task.sourceBytes} bytes were fetched` }
  }
  const share = (pieces: readonly number[], isUrgent: boolean): GrantChoice[] =>
    splitPieces(pieces, fetchers.length).map((part, index) => ({
      ...fetchers[index]!,
      runs: toRuns(part),
      urgent: isUrgent,
    }))
  return {
    kind: 'grant',
    grants: [
      ...share(affordable.slice(0, urgent.length), true),
      ...share(affordable.slice(urgent.length), false),
    ],
  }
}

/**
 * Of pieces that readers wait for, those that a host was granted earlier and not yet told to fetch first; by grant. A host that has none of them
 * still hears once that ranges are read, since it must not keep fresh pieces from those that wait.
 */
export function findHastening(state: ClusterState, task: Task, urgent: readonly PieceRun[]): GrantChoice[] {
  const waiting = [...new Set(piecesOf(urgent, task.pieces))].filter(piece => !task.isAvailable(piece))
  return [...task.grants.values()].flatMap(grant => {
    const host = state.hosts.get(grant.host)
    const pieces = waiting.filter(piece => grant.pieces.has(piece) && !grant.hastened.has(piece))
    if (host === undefined || (pieces.length === 0 && grant.isHastened)) return []
    return [{ host, source: grant.source, runs: toRuns(pieces.sort((a, b) => a - b)), urgent: true }]
  })
}

/** Those whose bytes were not wrong before, or, if nobody else is left, the others. */
function findFetchers(state: ClusterState, task: Task, now: number): Fetcher[] {
  const isSound = (host: Host) => !state.corruptReports.isQuarantined(host.id, now)
  const isTrusted = (host: Host) => !task.distrusted.has(host.id)
  // What a host fetches that nobody can dial is of use to itself alone.
  const isOpen = (host: Host) => !state.unreachable.isShut(host.id, now)
  const open = findAble(state, task, host => isSound(host) && isTrusted(host) && isOpen(host))
  if (open.length > 0) return open
  const trusted = findAble(state, task, host => isSound(host) && isTrusted(host))
  if (trusted.length > 0) return trusted
  const rest = findAble(state, task, host => isSound(host) && !isTrusted(host))
  return rest.map(fetcher => ({ ...fetcher, isLastResort: true }))
}

/**
 * One seed if there is one, else a few of those that want the task; with the source each shall use. Hosts that failed come again only
 * when all others failed as often.
 */
function findAble(state: ClusterState, task: Task, able: (host: Host) => boolean): Fetcher[] {
  const source = findSource(task)
  if (source === undefined) return []
  const seeds = orderByRendezvous(state.seeds, task.digest, host => host.id).filter(able)
  const others = [...task.wanting].filter(peer => able(peer.host))
  for (let failures = 0; failures < HOST_FAILURES_MAX; failures++) {
    const hasFailed = (host: Host) => (task.failures.get(host.id) ?? 0) !== failures
    const seed = seeds.find(host => !hasFailed(host))
    if (seed !== undefined) return [{ host: seed, source }]
    const found: Fetcher[] = []
    for (const peer of others) {
      const own = hasFailed(peer.host) ? undefined : usableSource(task, peer)
      if (own !== undefined) found.push({ host: peer.host, source: own })
      if (found.length === GRANTEES_MAX) break
    }
    if (found.length > 0) return found
  }
  return []
}

/** A source that one of those who want the task came with, and that was not refused. */
export function findSource(task: Task): SourceRef | undefined {
  for (const peer of task.wanting) {
    const source = usableSource(task, peer)
    if (source !== undefined) return source
  }
  return undefined
}

export function usableSource(task: Task, peer: Peer): SourceRef | undefined {
  return peer.source === undefined ? undefined : usable(task, peer.source)
}

function usable(task: Task, source: SourceRef): SourceRef | undefined {
  return task.refusedSources.some(refused => isSameSource(refused.source, source)) ? undefined : source
}

/** As many of `pieces` as the budget bears. */
export function takeAffordable(task: Task, pieces: readonly number[], ratio: number): number[] {
  let left = remainingBytes(task, ratio)
  const taken: number[] = []
  for (const piece of pieces) {
    left -= pieceLength(task, piece)
    if (left < 0) break
    taken.push(piece)
  }
  return taken
}

function failure(task: Task): GrantDecision {
  const code = task.lastFailure ?? task.refusedSources.at(-1)?.code ?? 'BLOB_INCOMPLETE'
  return { kind: 'fail', code, detail: 'no host can fetch what is missing' }
}

/** What a child may fetch of pieces that the cluster holds out of its reach, as a multiple of the size beyond the budget: what was fetched is lost to it. */
const OUT_OF_REACH_RATIO = 1

/**
 * What one child must fetch itself: pieces whose every holder or grantee is hopeless for it (it found them corrupt, or cannot reach them).
 * Undefined where that does not arise.
 */
export function decideOwnGrant(
  state: ClusterState,
  child: Peer,
  now: number,
  ratio: number,
): GrantChoice | undefined {
  const { task } = child
  const source = usableSource(task, child)
  if (source === undefined || !(child.hasHopeless || !state.unreachable.isEmpty)) return undefined
  const lacking: number[] = []
  for (let piece = 0; piece < task.pieces; piece++)
    if (
      child.wantsPiece(piece) &&
      !child.have.has(piece) &&
      !hasHopefulHolder(state, child, piece, now) &&
      !isGrantedElsewhere(task, child, piece)
    )
      lacking.push(piece)
  const spare = hasHolderOutOfReach(state, child, now) ? OUT_OF_REACH_RATIO : 0
  const affordable = takeAffordable(task, lacking, ratio + spare)
  if (affordable.length === 0 || (task.failures.get(child.host.id) ?? 0) >= HOST_FAILURES_MAX)
    return undefined
  if (findMissing(task, now).length > 0) return undefined
  return { host: child.host, source, runs: toRuns(affordable), urgent: false }
}

function hasHolderOutOfReach(state: ClusterState, child: Peer, now: number): boolean {
  const isShut = (host: Host) => state.unreachable.isShutTo(host.id, child.host.id, now)
  const { full, offering } = child.task
  return [...full].some(isShut) || [...offering].some(peer => peer !== child && isShut(peer.host))
}

function hasHopefulHolder(state: ClusterState, child: Peer, piece: number, now: number): boolean {
  const { task } = child
  const isHopeful = (host: Host) =>
    !child.isHopeless(host) && !state.unreachable.isShutTo(host.id, child.host.id, now)
  for (const host of task.full) if (isHopeful(host)) return true
  for (const peer of task.offering)
    if (peer !== child && peer.have.has(piece) && isHopeful(peer.host)) return true
  const grantee = task.granteeOf(piece)
  const host = grantee === undefined ? undefined : state.hosts.get(grantee)
  return host !== undefined && host !== child.host && isHopeful(host)
}

/** True if the piece has a live grantee: also this child itself. Grants stay disjoint even then. */
function isGrantedElsewhere(task: Task, child: Peer, piece: number): boolean {
  return task.granteeOf(piece) !== undefined || child.have.has(piece)
}
