// The leaf certificates in use: minted when a host is first asked for, kept, and renewed well before they end.
import type { Clock } from '../../../shared/clock.ts'
import { PantalaError } from '../../../shared/errors.ts'
import { type KeyedCertificate, LEAF_LIFE_MS, makeLeaf } from './authority-certificate.ts'
import { type Authority, vouchesFor } from './authority-files.ts'

/** Hosts whose certificate is kept; the longest unused goes first. */
const LEAVES_MAX = 256

/** A leaf is renewed when so much of its life is left, in ms. */
const LEAF_RENEWAL_MS = LEAF_LIFE_MS / 2

interface Kept {
  readonly leaf: Promise<KeyedCertificate>
  readonly renewMs: number
}

export class LeafCertificates {
  readonly #authority: Authority
  readonly #clock: Clock
  readonly #kept = new Map<string, Kept>()

  constructor(components: { authority: Authority; clock: Clock }) {
    this.#authority = components.authority
    this.#clock = components.clock
  }

  /** Hosts with a certificate at hand. */
  get size(): number {
    return this.#kept.size
  }

  /** True if clients that trust the authority would take its word for this host now. */
  vouchesFor(host: string): boolean {
    return vouchesFor(this.#authority, host) && this.#clock.now() < this.#authority.endsMs
  }

  /** The host's certificate, the same object until it is renewed. @throws PantalaError UPSTREAM_FORBIDDEN for a host it does not vouch for */
  async get(host: string): Promise<KeyedCertificate> {
    if (!this.vouchesFor(host))
      throw new PantalaError('UPSTREAM_FORBIDDEN', { detail: `${host} is not a host of the authority` })
    const now = this.#clock.now()
    let entry = this.#kept.get(host)
    this.#kept.delete(host)
    if (entry === undefined || now >= entry.renewMs) entry = this.#mint(host, now)
    this.#kept.set(host, entry)
    if (this.#kept.size > LEAVES_MAX) this.#kept.delete(this.#kept.keys().next().value!)
    return entry.leaf
  }

  #mint(host: string, now: number): Kept {
    const leaf = makeLeaf(this.#authority, host, now)
    const entry = { leaf, renewMs: now + LEAF_RENEWAL_MS }
    leaf.catch(() => {
      if (this.#kept.get(host) === entry) this.#kept.delete(host)
    })
    return entry
  }
}
