// The other hosts this one knows of, whoever told; for each blob the few to ask first while no supernode answers. Dials nobody.
import type { Digest } from '../../shared/digest.ts'
import type { Candidate, HostId } from '../../shared/protocol/messages.ts'
import { orderByRendezvous } from '../../shared/rendezvous.ts'

/** Hosts remembered; those longest not heard of go first. */
const KNOWN_MAX = 512

/** Hosts asked for one blob: so many that everyone would choose alike, where seekers of a blob meet, and so many at random. */
const MEETING_HOSTS = 6
const RANDOM_HOSTS = 4

export class Neighbours {
  readonly #self: HostId
  readonly #random: () => number
  /** Least recently heard of first. */
  readonly #known = new Map<HostId, Candidate>()

  constructor(components: { random(): number }, init: { self: HostId }) {
    this.#random = () => components.random()
    this.#self = init.self
  }

  get size(): number {
    return this.#known.size
  }

  has(host: HostId): boolean {
    return this.#known.has(host)
  }

  /** Those heard of last, at most `count`. */
  newest(count: number): Candidate[] {
    return [...this.#known.values()].slice(-count)
  }

  /** Hosts without an address can't be dialled and are passed over. */
  learn(candidates: Iterable<Candidate>): void {
    for (const candidate of candidates) {
      if (candidate.host === this.#self || candidate.addresses.length === 0) continue
      this.#known.delete(candidate.host)
      this.#known.set(candidate.host, candidate)
      if (this.#known.size > KNOWN_MAX) this.#known.delete(this.#known.keys().next().value!)
    }
  }

  /**
   * Hosts to ask about a blob. The first ones are the same for all who know the same hosts, whether they hold anything or not: there
   * those who seek the blob hear of each other.
   */
  toAsk(digest: Digest): Candidate[] {
    const ordered = orderByRendezvous(this.#known.values(), digest, ({ host }) => host)
    const chosen = ordered.slice(0, MEETING_HOSTS)
    const rest = ordered.slice(MEETING_HOSTS)
    for (let left = RANDOM_HOSTS; left > 0 && rest.length > 0; left--)
      chosen.push(...rest.splice(Math.min(rest.length - 1, Math.floor(this.#random() * rest.length)), 1))
    return chosen
  }
}
