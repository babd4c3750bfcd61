// Remembers when the source last accepted a credential for a repository; in memory only, as an HMAC under a key of this process. Asks nobody.
import { createHmac, randomBytes } from 'node:crypto'
import type { Clock } from '../../shared/clock.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import { canonicalRegistry } from '../../shared/source/upstreams.ts'

/** Callers remembered: one for each credential and repository. */
const CALLERS_MAX = 100_000

export class AcceptedCallers {
  readonly #clock: Clock
  readonly #key = randomBytes(32)
  /** The one accepted longest ago first. */
  readonly #acceptedAt = new Map<string, number>()

  constructor(components: { readonly clock: Clock }) {
    this.#clock = components.clock
  }

  /** Registry, repository and credential, as a name that tells nothing. */
  scopeOf({ registry, repository, authorization }: SourceRef): string {
    const parts = JSON.stringify([canonicalRegistry(registry), repository, authorization ?? null])
    return createHmac('sha256', this.#key).update(parts).digest('base64url').slice(0, 22)
  }

  /** The source said yes just now. */
  accept(scope: string): void {
    this.#acceptedAt.delete(scope)
    this.#acceptedAt.set(scope, this.#clock.monotonic())
    if (this.#acceptedAt.size > CALLERS_MAX) this.#acceptedAt.delete(this.#acceptedAt.keys().next().value!)
  }

  refuse(scope: string): void {
    this.#acceptedAt.delete(scope)
  }

  /** Time since the source said yes, in ms; infinite if it did not. */
  ageMs(scope: string): number {
    return this.#clock.monotonic() - (this.#acceptedAt.get(scope) ?? Number.NEGATIVE_INFINITY)
  }
}
