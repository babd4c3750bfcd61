// Rendezvous hashing: every task has its own fixed order of hosts, so that a seed's coming or going moves few tasks.
import type { Digest } from '../../shared/digest.ts'
import type { Host } from '../state/host.ts'

/** Hosts in the order in which they should have the task. */
export function orderByRendezvous(hosts: Iterable<Host>, digest: Digest): Host[] {
  return [...hosts]
    .map(host => ({ host, weight: weigh(digest, host.id) }))
    .sort((a, b) => b.weight - a.weight || (a.host.id < b.host.id ? -1 : 1))
    .map(({ host }) => host)
}

/** FNV-1a over both names with a final mix: even enough, and no secret is involved. */
function weigh(digest: string, hostId: string): number {
  let hash = 0x811c9dc5
  for (const text of [digest, hostId])
    for (let index = 0; index < text.length; index++)
      hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
