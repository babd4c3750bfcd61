// Who said something bad of a host, and when: distinct accusers count, for a while.
import type { HostId } from '../../shared/protocol/messages.ts'

const ACCUSED_MAX = 10_000
const REPORTERS_KEPT_MAX = 16

export class Accusations {
  readonly #lifeMs: number
  readonly #reporters = new Map<HostId, Map<HostId, number>>()

  /** `lifeMs`: how long an accusation counts. */
  constructor(lifeMs: number) {
    this.#lifeMs = lifeMs
  }

  /** True while nobody was accused. */
  get isEmpty(): boolean {
    return this.#reporters.size === 0
  }

  add(host: HostId, reporter: HostId, at: number): void {
    let reporters = this.#reporters.get(host)
    if (reporters === undefined) {
      if (this.#reporters.size >= ACCUSED_MAX) this.#reporters.delete(this.#reporters.keys().next().value!)
      reporters = new Map()
      this.#reporters.set(host, reporters)
    }
    reporters.delete(reporter)
    reporters.set(reporter, at)
    if (reporters.size > REPORTERS_KEPT_MAX) reporters.delete(reporters.keys().next().value!)
  }

  /** All that was said of the host is void. */
  clear(host: HostId): void {
    this.#reporters.delete(host)
  }

  /** True if this one's word of that host still counts. */
  has(host: HostId, reporter: HostId, now: number): boolean {
    const at = this.#reporters.get(host)?.get(reporter)
    return at !== undefined && now - at < this.#lifeMs
  }

  /** Distinct accusers whose word still counts. */
  count(host: HostId, now: number): number {
    const reporters = this.#reporters.get(host)
    if (reporters === undefined) return 0
    let count = 0
    for (const at of reporters.values()) if (now - at < this.#lifeMs) count++
    return count
  }
}
