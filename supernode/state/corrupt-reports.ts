// Who said that a host gave corrupt pieces; enough distinct accusers put it out of the candidates for a while.
import type { HostId } from '../../shared/protocol/messages.ts'
import { Accusations } from './accusations.ts'

/** Distinct accusers at which a host is no longer a candidate. */
export const CORRUPT_REPORTERS_MAX = 3
/** How long an accusation counts, in ms. */
export const CORRUPT_REPORT_MS = 10 * 60_000

export class CorruptReports extends Accusations {
  constructor() {
    super(CORRUPT_REPORT_MS)
  }

  isQuarantined(host: HostId, now: number): boolean {
    return !this.isEmpty && this.count(host, now) >= CORRUPT_REPORTERS_MAX
  }
}
