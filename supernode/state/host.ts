// What the supernode knows of one connected host.
import type { Digest } from '../../shared/digest.ts'
import type { Candidate, HostId, SourceRef } from '../../shared/protocol/messages.ts'
import type { HostJoined } from './events.ts'
import type { Peer } from './peer.ts'
import { isSameSource, type Task } from './task.ts'

/** Children of all tasks that may share an upload slot: each asks only now and then for what its other parents lack. */
export const CHILDREN_PER_SLOT = 4

export class Host {
  readonly id: HostId
  readonly name: string
  readonly zone: string | undefined
  readonly seed: boolean
  readonly uploadSlots: number
  readonly version: string
  readonly joinedAt: number
  readonly candidate: Candidate
  seenAt: number
  slotsBusy = 0
  storeBytes = 0
  /** Children the supernode has sent here and that may still be at it; in all, and by task while there are any. */
  children = 0
  #childrenIn: Map<Task, number> | undefined
  /** Its peers that want their tasks. */
  wanting = 0
  /** What it registered with last, while it wants anything: the layers of an image come with the same long token, kept once. */
  #source: SourceRef | undefined
  /** Tasks it takes part in or holds in part. */
  readonly peers = new Map<Digest, Peer>()
  /** Tasks it holds whole and takes no other part in; no bit field for these. */
  readonly full = new Set<Task>()

  constructor(joined: HostJoined) {
    this.id = joined.host
    this.name = joined.name
    this.zone = joined.zone
    this.seed = joined.seed
    this.uploadSlots = joined.uploadSlots
    this.version = joined.version
    this.joinedAt = joined.at
    this.seenAt = joined.at
    this.candidate = { host: joined.host, addresses: joined.addresses, seed: joined.seed }
  }

  /** Upload slots that are taken, by the supernode's count or the host's own, whichever is more. */
  get load(): number {
    return Math.max(this.children / CHILDREN_PER_SLOT, this.slotsBusy)
  }

  /** Children in one task. */
  childrenIn(task: Task): number {
    return this.#childrenIn?.get(task) ?? 0
  }

  /** Tasks in which it has children. */
  get tasksWithChildren(): readonly Task[] {
    return this.#childrenIn === undefined ? [] : [...this.#childrenIn.keys()]
  }

  addChild(task: Task): void {
    this.children++
    this.#childrenIn ??= new Map()
    this.#childrenIn.set(task, this.childrenIn(task) + 1)
  }

  removeChild(task: Task): void {
    const count = this.childrenIn(task)
    if (count === 0) return
    this.children--
    if (count > 1) this.#childrenIn!.set(task, count - 1)
    else if (this.#childrenIn!.size > 1) this.#childrenIn!.delete(task)
    else this.#childrenIn = undefined
  }

  /** True if both say where they are, and that is not the same place. */
  isElsewhere(other: Host): boolean {
    return this.zone !== undefined && other.zone !== undefined && this.zone !== other.zone
  }

  /** The same source as `source`: the one object that others of this host's peers have, if it is the same. */
  shareSource(source: SourceRef): SourceRef {
    if (this.#source === undefined || !isSameSource(this.#source, source)) this.#source = source
    return this.#source
  }

  /** One of its peers wants its task no more; no credential outlives the last. */
  stopWanting(): void {
    this.wanting--
    if (this.wanting === 0) this.#source = undefined
  }
}
