// Remembers what was written through this host, and when, so that nothing heard before is taken for the source's word any more. In memory only.
import type { Clock } from '../../shared/clock.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import { canonicalRegistry } from '../../shared/source/upstreams.ts'

/** How long a write is remembered, in ms: longer than any answer here or at the supernode counts as fresh. */
const WRITTEN_MS = 3_600_000
const WRITES_MAX = 20_000

export class WriteMemory {
  readonly #clock: Clock
  /** By registry, repository and reference; the latest write last. */
  readonly #writes = new Map<string, number>()

  constructor(components: { readonly clock: Clock }) {
    this.#clock = components.clock
  }

  /** The time that writes are told by, in ms since 1970. */
  now(): number {
    return this.#clock.now()
  }

  /** Tag or digest: it was pushed or deleted just now, or may have been. */
  noteWrite(source: SourceRef, reference: string): void {
    const key = keyOf(source, reference)
    this.#writes.delete(key)
    this.#writes.set(key, this.now())
    if (this.#writes.size > WRITES_MAX) this.#writes.delete(this.#writes.keys().next().value!)
  }

  /** When it was last written, in ms since 1970; undefined if not within the last hour. */
  writtenAt(source: SourceRef, reference: string): number | undefined {
    if (this.#writes.size === 0) return undefined
    const key = keyOf(source, reference)
    const at = this.#writes.get(key)
    if (at === undefined) return undefined
    const ageMs = this.now() - at
    if (ageMs >= 0 && ageMs < WRITTEN_MS) return at
    this.#writes.delete(key)
    return undefined
  }

  /** The source was asked anew at `askedAt`, and still has it: what was heard since holds again. */
  settle(source: SourceRef, reference: string, askedAt: number): void {
    const at = this.writtenAt(source, reference)
    if (at !== undefined && at < askedAt) this.#writes.delete(keyOf(source, reference))
  }
}

function keyOf({ registry, repository }: SourceRef, reference: string): string {
  return `${canonicalRegistry(registry)}/${repository} ${reference}`
}
