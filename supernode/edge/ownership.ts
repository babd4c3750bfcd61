// Which of a cluster's supernodes owns which task: the same rule as on the hosts. Pure.
import type { Digest } from '../../shared/digest.ts'
import type { HostId } from '../../shared/protocol/messages.ts'
import { orderByRendezvous } from '../../shared/rendezvous.ts'
import type { Task } from '../state/task.ts'

export interface OwnedTasks {
  readonly id: HostId
  /** True for the supernode that tells this. */
  readonly self: boolean
  /** Tasks that somebody wants now, known to the supernode that tells this, by who owns them; others may stand in. */
  readonly activeTasks: number
}

/** The supernode that owns the task; hosts turn to another one only while it is away. */
export function ownerOf(digest: Digest, supernodes: readonly HostId[]): HostId | undefined {
  return orderByRendezvous(supernodes, digest, id => id)[0]
}

export function countOwned(
  active: Iterable<Task>,
  supernodes: readonly HostId[],
  self: HostId,
): OwnedTasks[] {
  const counts = new Map(supernodes.map(id => [id, 0]))
  for (const { digest } of active) {
    const owner = ownerOf(digest, supernodes)
    if (owner !== undefined) counts.set(owner, counts.get(owner)! + 1)
  }
  return [...counts].map(([id, activeTasks]) => ({ id, self: id === self, activeTasks }))
}
