// Who said that a host gave corrupt pieces; enough distinct accusers put it out of the candidates for a while.
import type { HostId } from '../../shared/protocol/messages.ts'

/** Distinct accusers at which a host is no longer a candidate. */
export const CORRUPT_REPORTERS_MAX = 3
/** How long an accusation counts, in ms. */
export const CORRUPT_REPORT_MS = 10 * 60_000
const ACCUSED_MAX = 10_000
const REPORTERS_KEPT_MAX = 16

export class CorruptReports {
  readonly #reporters = new Map<HostId, Map<HostId, number>>()

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

  /** Distinct accusers whose word still counts. */
  count(host: HostId, now: number): number {
    const reporters = this.#reporters.get(host)
    if (reporters === undefined) return 0
    let count = 0
    for (const at of reporters.values()) if (now - at < CORRUPT_REPORT_MS) count++
    return count
  }

  isQuarantined(host: HostId, now: number): boolean {
    return this.#reporters.size > 0 && this.count(host, now) >= CORRUPT_REPORTERS_MAX
  }
}
