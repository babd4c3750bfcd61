// What the supernode knows of one connected host.
import type { Digest } from '../../shared/digest.ts'
import type { Candidate, HostId } from '../../shared/protocol/messages.ts'
import type { HostJoined } from './events.ts'
import type { Peer } from './peer.ts'
import type { Task } from './task.ts'

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
  /** Children the supernode has sent here and that may still be at it. */
  children = 0
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
    return Math.max(this.children, this.slotsBusy)
  }
}
