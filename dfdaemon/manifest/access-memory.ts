// Remembers which callers the source accepted for which repository, and what the source said belongs to it; in memory only, credentials as
// HMACs under a key of this process. Asks nobody.
import { createHmac, randomBytes } from 'node:crypto'
import type { Clock } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import { canonicalRegistry } from '../../shared/source/upstreams.ts'

/** Registry, repository and caller, as a name that tells nothing. */
export type ScopeKey = string

/** Callers remembered: one for each credential and repository. */
const SCOPES_MAX = 50_000
/** Repositories whose scope for callers without credentials is not computed anew. */
const ANYONES_MAX = 4096
/** Digests remembered as belonging to a repository, all repositories together. */
const MEMBERS_MAX = 100_000

/** `confirmed`: the source itself answered for it under this repository; `listed`: a manifest of the repository names it, which whoever pushed it may have made up. */
export type Standing = 'confirmed' | 'listed'

export interface AccessInit {
  /** How long the source's yes to a credential counts for a repository, in ms. */
  readonly freshMs: number
  /** How long it counts while the source is away, in ms; 0: not at all. */
  readonly awayMs: number
}

export class AccessMemory {
  readonly #clock: Clock
  readonly #init: AccessInit
  readonly #key = randomBytes(32)
  /** Scopes of callers without credentials, by registry and repository; the oldest first. */
  readonly #anyones = new Map<string, ScopeKey>()
  /** When the source said yes, by scope; the one accepted longest ago first. */
  readonly #accepted = new Map<ScopeKey, number>()
  /** Until when a no is not asked about again, by scope; the oldest first. */
  readonly #refusedUntil = new Map<ScopeKey, number>()
  /** By repository and digest, least recently noted first. */
  readonly #members = new Map<string, Standing>()

  constructor(components: { readonly clock: Clock }, init: AccessInit) {
    this.#clock = components.clock
    this.#init = init
  }

  scopeOf(source: SourceRef): ScopeKey {
    if (source.authorization !== undefined) return this.#hashScope(source)
    // There is nothing to keep secret of who brings no credential.
    const name = `${source.registry}/${source.repository}`
    const known = this.#anyones.get(name)
    if (known !== undefined) return known
    const scope = this.#hashScope(source)
    put(this.#anyones, name, scope, ANYONES_MAX)
    return scope
  }

  #hashScope(source: SourceRef): ScopeKey {
    const parts = JSON.stringify([
      canonicalRegistry(source.registry),
      source.repository,
      source.authorization ?? null,
    ])
    return createHmac('sha256', this.#key).update(parts).digest('base64url').slice(0, 22)
  }

  /** The source accepted this scope `ageMs` ago; a later word is not replaced by an older one. */
  accept(scope: ScopeKey, ageMs = 0): void {
    const at = Math.max(
      this.#clock.monotonic() - ageMs,
      this.#accepted.get(scope) ?? Number.NEGATIVE_INFINITY,
    )
    put(this.#accepted, scope, at, SCOPES_MAX)
    this.#refusedUntil.delete(scope)
  }

  /** The source no longer accepts this scope; for `forMs` that need not be asked again by who would only like to know. */
  refuse(scope: ScopeKey, forMs = 0): void {
    this.#accepted.delete(scope)
    this.postpone(scope, forMs)
  }

  /** Nothing is known of this scope, nor can be for so long. */
  postpone(scope: ScopeKey, forMs: number): void {
    if (forMs > 0) put(this.#refusedUntil, scope, this.#clock.monotonic() + forMs, SCOPES_MAX)
  }

  /** True if the source accepted this scope a moment ago. */
  accepts(scope: ScopeKey): boolean {
    return this.#ageMs(scope) < this.#init.freshMs
  }

  /** What holds where the source cannot be asked. */
  acceptsWhileAway(scope: ScopeKey): boolean {
    return this.#ageMs(scope) < this.#init.awayMs
  }

  /** True if it was refused, or could not be asked about, a moment ago. */
  isRefused(scope: ScopeKey): boolean {
    return this.#clock.monotonic() < (this.#refusedUntil.get(scope) ?? 0)
  }

  /** The source answered for the digest under this repository, whoever asked. */
  confirm(source: SourceRef, digest: Digest): void {
    put(this.#members, memberKey(source, digest), 'confirmed', MEMBERS_MAX)
  }

  /** A manifest that the source gave for this repository names these. */
  list(source: SourceRef, digests: Iterable<Digest>): void {
    for (const digest of digests) {
      const key = memberKey(source, digest)
      put(this.#members, key, this.#members.get(key) ?? 'listed', MEMBERS_MAX)
    }
  }

  /** The source says that the repository has no such content. */
  forget(source: SourceRef, digest: Digest): void {
    this.#members.delete(memberKey(source, digest))
  }

  standingOf(source: SourceRef, digest: Digest): Standing | undefined {
    return this.#members.get(memberKey(source, digest))
  }

  #ageMs(scope: ScopeKey): number {
    return this.#clock.monotonic() - (this.#accepted.get(scope) ?? Number.NEGATIVE_INFINITY)
  }
}

function memberKey(source: SourceRef, digest: Digest): string {
  return `${canonicalRegistry(source.registry)}/${source.repository} ${digest}`
}

/** Sets an entry as the newest, and forgets the oldest beyond `entriesMax`. */
function put<V>(map: Map<string, V>, key: string, value: V, entriesMax: number): void {
  map.delete(key)
  map.set(key, value)
  if (map.size > entriesMax) map.delete(map.keys().next().value!)
}
