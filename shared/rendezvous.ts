// Rendezvous hashing: every name has its own fixed order of hosts, so that all who know the same hosts agree, and one host's coming or going moves little.

/** Items in the order in which they should have `name`; `idOf` gives the host id of an item. */
export function orderByRendezvous<T>(items: Iterable<T>, name: string, idOf: (item: T) => string): T[] {
  return [...items]
    .map(item => ({ item, id: idOf(item), weight: rendezvousWeight(name, idOf(item)) }))
    .sort((a, b) => b.weight - a.weight || (a.id < b.id ? -1 : 1))
    .map(({ item }) => item)
}

/** FNV-1a over both names with a final mix: even enough, and no secret is involved. */
export function rendezvousWeight(name: string, hostId: string): number {
  let hash = 0x811c9dc5
  for (const text of [name, hostId])
    for (let index = 0; index < text.length; index++)
      hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
