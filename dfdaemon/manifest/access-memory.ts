// Remembers which caller may read what, as the source last said; in memory only, credentials as HMACs under a key of this process.
import { createHmac, randomBytes } from 'node:crypto'
import type { Clock } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import { canonicalRegistry } from '../../shared/source/upstreams.ts'

/** Registry, repository and caller, as a name that tells nothing. */
export type ScopeKey = string

/** How long the source's word on one digest holds, in ms. */
const CHECKED_MS = 60_000
/** How long a manifest vouches for what it lists after the source accepted its reader, in ms: a pull of its layers must fit in. */
const LISTED_MS = 10 * 60_000
/** How long any acceptance holds while the source is away, in ms. */
const AWAY_MS = 3_600_000
const GRANTS_MAX = 100_000

interface Grant {
  readonly acceptedAt: number
  readonly until: number
}

export class AccessMemory {
  readonly #clock: Clock
  readonly #key = randomBytes(32)
  /** By scope and digest, least recently granted first. */
  readonly #grants = new Map<string, Grant>()

  constructor(components: { readonly clock: Clock }) {
    this.#clock = components.clock
  }

  scopeOf(source: SourceRef): ScopeKey {
    const parts = JSON.stringify([
      canonicalRegistry(source.registry),
      source.repository,
      source.authorization ?? null,
    ])
    return createHmac('sha256', this.#key).update(parts).digest('base64url').slice(0, 22)
  }

  /** The source accepted this scope for this digest just now. */
  grantChecked(scope: ScopeKey, digest: Digest): void {
    const now = this.#clock.monotonic()
    this.#grant(scope, digest, now + CHECKED_MS, now)
  }

  /** The scope was given this manifest by its tag, or while the source is away: no new word of the source, but what is listed may be read. */
  grantServed(scope: ScopeKey, digest: Digest): void {
    this.#grant(scope, digest, this.#clock.monotonic() + LISTED_MS, Number.NEGATIVE_INFINITY)
  }

  /**
   * The scope was given the manifest `vouching`, which lists these. What is derived ends with what it is derived from: reading again and
   * again what is cached would otherwise renew a right that the source took back long ago.
   */
  grantListed(scope: ScopeKey, digests: Iterable<Digest>, vouching: Digest): void {
    const grant = this.#grants.get(`${scope} ${vouching}`)
    if (grant === undefined) return
    const until = Math.max(grant.until, grant.acceptedAt + LISTED_MS)
    for (const digest of digests) this.#grant(scope, digest, until, grant.acceptedAt)
  }

  /** The source no longer accepts the scope for this digest. */
  revoke(scope: ScopeKey, digest: Digest): void {
    this.#grants.delete(`${scope} ${digest}`)
  }

  mayRead(scope: ScopeKey, digest: Digest): boolean {
    const grant = this.#grants.get(`${scope} ${digest}`)
    return grant !== undefined && this.#clock.monotonic() < grant.until
  }

  /** What holds where the source cannot be asked. */
  mayReadWhileAway(scope: ScopeKey, digest: Digest): boolean {
    const grant = this.#grants.get(`${scope} ${digest}`)
    return grant !== undefined && this.#clock.monotonic() - grant.acceptedAt < AWAY_MS
  }

  #grant(scope: ScopeKey, digest: Digest, ends: number, accepted: number): void {
    const key = `${scope} ${digest}`
    const last = this.#grants.get(key)
    const acceptedAt = Math.max(last?.acceptedAt ?? Number.NEGATIVE_INFINITY, accepted)
    const until = Math.max(last?.until ?? ends, ends)
    this.#grants.delete(key)
    this.#grants.set(key, { acceptedAt, until })
    if (this.#grants.size > GRANTS_MAX) this.#grants.delete(this.#grants.keys().next().value!)
  }
}
