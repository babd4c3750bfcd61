// Which other hosts a host is told of, for the time when no supernode answers: some at random, so that together they know everyone.
import { type Candidate, type HostId, NEIGHBOURS_MAX } from '../../shared/protocol/messages.ts'
import type { ClusterState } from '../state/cluster-state.ts'

/** Up to NEIGHBOURS_MAX hosts, never `self`; all there are in a small cluster. Hosts that serve nobody are left out. */
export function chooseNeighbours(state: ClusterState, self: HostId, random: () => number): Candidate[] {
  return state.everyone
    .sample(NEIGHBOURS_MAX + 1, random)
    .filter(host => host.id !== self && host.uploadSlots > 0)
    .slice(0, NEIGHBOURS_MAX)
    .map(host => host.candidate)
}
