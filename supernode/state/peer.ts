// One host's part in one task: what it holds in part, whether it wants the rest, and which parents it was given.
import { Bitfield } from '../../shared/bitfield.ts'
import type { HostId, ParentFault, SourceRef } from '../../shared/protocol/messages.ts'
import type { Host } from './host.ts'
import type { Task } from './task.ts'

/** What a child leaves a parent for. */
export type CountedFault = Exclude<ParentFault['fault'], 'stalled'>

/** Faults of one parent, with no byte from it between, after which a child is not made to wait for it. */
export const FAULTS_MAX = 3

/** How long a child is not given a parent again after a fault, in ms. */
export const PARENT_BLOCK_MS: Readonly<Record<CountedFault, number>> = {
  refused: 1000,
  gone: 2000,
  unreachable: 60_000,
  silent: 10_000,
  protocol: 60_000,
  corrupt: Number.POSITIVE_INFINITY,
}

const BLOCKED_PER_PEER_MAX = 256

interface Block {
  /** Until when the parent is not given to this child again, ms. */
  readonly until: number
  readonly faults: number
}

export class Peer {
  readonly host: Host
  readonly task: Task
  readonly have: Bitfield
  /** True while its session runs. */
  wants = false
  /** What it registered with, credentials included; memory only. */
  source: SourceRef | undefined
  /** True if it wants only the urgent pieces. */
  partial = false
  /** Pieces that its readers wait for, or waited for, since it registered; undefined until some were named. */
  urgent: Bitfield | undefined
  registeredAt = 0
  /** How often the task's hashes had been withdrawn when it last began to gather it: what it gathered before says nothing of those known now. */
  resetsSeen = 0
  /** Since when it crosses to other zones for its own, ms; see Task.gateways. */
  crossesSince = 0
  /** When it last reported pieces, ms. */
  landedAt = 0
  /** Parents it was given and has not left. */
  readonly parents = new Set<HostId>()
  /** Hosts it complained of; most never do, so there is no map until then. Keyed by the host's state, so that one that comes back starts afresh. */
  #blocked: Map<Host, Block> | undefined

  constructor(host: Host, task: Task) {
    this.host = host
    this.task = task
    this.have = new Bitfield(task.pieces)
  }

  /** The one of its zone that crosses to others for the task. */
  get gateway(): Peer | undefined {
    return this.host.zone === undefined ? undefined : this.task.gateways.get(this.host.zone)
  }

  /** Children in this task that were given this host as a parent and have not left it. */
  get children(): number {
    return this.host.childrenIn(this.task)
  }

  /** It complained of the parent and is not given it again before `until`, ms. The complaints that are longest past are forgotten first. */
  block(parent: Host, until: number): void {
    this.#blocked ??= new Map()
    const faults = (this.#blocked.get(parent)?.faults ?? 0) + 1
    this.#blocked.delete(parent)
    this.#blocked.set(parent, { until, faults })
    if (this.#blocked.size > BLOCKED_PER_PEER_MAX) this.#blocked.delete(this.#blocked.keys().next().value!)
  }

  /** The parent gave it something after all. */
  forgive(parent: Host | undefined): void {
    if (parent === undefined || !this.hasComplained(parent)) return
    const { until } = this.#blocked!.get(parent)!
    this.#blocked!.set(parent, { until, faults: 0 })
  }

  /** True if it complained of the parent, of something that what the parent gives it later makes up for. */
  hasComplained(parent: Host): boolean {
    const block = this.#blocked?.get(parent)
    return block !== undefined && block.faults > 0 && block.until !== Number.POSITIVE_INFINITY
  }

  forgetBlocks(): void {
    this.#blocked = undefined
  }

  isBlocked(parent: Host, now: number): boolean {
    const block = this.#blocked?.get(parent)
    return block !== undefined && now < block.until
  }

  /** True if the parent is of no use to this child, however long it waits. */
  isHopeless(parent: Host): boolean {
    const block = this.#blocked?.get(parent)
    return block !== undefined && isHopeless(block)
  }

  /** True if some parent is of no use to this child. */
  get hasHopeless(): boolean {
    return this.#blocked !== undefined && [...this.#blocked.values()].some(isHopeless)
  }

  /** True if it wants the piece, held or not. */
  wantsPiece(piece: number): boolean {
    return !this.partial || this.urgent?.has(piece) === true
  }

  /** True if it holds all that it wants. */
  get isSated(): boolean {
    if (this.have.isFull) return true
    return this.partial && !hasMore(this.urgent, this.have)
  }

  /** True if it has a grant for pieces that it has not yet. */
  get granted(): boolean {
    return this.task.grants.has(this.host.id)
  }
}

function isHopeless({ until, faults }: Block): boolean {
  return until === Number.POSITIVE_INFINITY || faults >= FAULTS_MAX
}

/** True if `wanted` names a piece that `held` lacks. */
function hasMore(wanted: Bitfield | undefined, held: Bitfield): boolean {
  return wanted?.bytes.some((byte, index) => (byte & ~held.bytes[index]!) !== 0) === true
}
