// One host's part in one task: what it holds in part, whether it wants the rest, and which parents it was given.
import { Bitfield } from '../../shared/bitfield.ts'
import type { HostId, SourceRef } from '../../shared/protocol/messages.ts'
import type { Host } from './host.ts'
import type { Task } from './task.ts'

/** Faults of one parent after which a child is not made to wait for it. */
export const FAULTS_MAX = 3

export interface Block {
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
  registeredAt = 0
  /** Parents it was given and has not left. */
  readonly parents = new Set<HostId>()
  /** Hosts it complained of. Keyed by the host's state, so that one that comes back starts afresh. */
  readonly blocked = new Map<Host, Block>()

  constructor(host: Host, task: Task) {
    this.host = host
    this.task = task
    this.have = new Bitfield(task.pieces)
  }

  isBlocked(parent: Host, now: number): boolean {
    const block = this.blocked.get(parent)
    return block !== undefined && now < block.until
  }

  /** True if the parent is of no use to this child, however long it waits. */
  isHopeless(parent: Host): boolean {
    const block = this.blocked.get(parent)
    return block !== undefined && (block.until === Number.POSITIVE_INFINITY || block.faults >= FAULTS_MAX)
  }

  /** True if it has a grant for pieces that it has not yet. */
  get granted(): boolean {
    return this.task.grants.has(this.host.id)
  }
}
