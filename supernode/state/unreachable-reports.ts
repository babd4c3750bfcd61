// Who could not dial a host, as one behind NAT: it is served like any other, and nobody is sent to it for a while.
import type { HostId } from '../../shared/protocol/messages.ts'
import { Accusations } from './accusations.ts'

/** Distinct children at which a host counts as one that nobody can dial. */
export const UNREACHABLE_REPORTERS_MAX = 2
/** How long it counts that a child could not dial a host, in ms. */
export const UNREACHABLE_MS = 60_000

/** One child whose own network is broken keeps nobody else from a good host; a piece that anyone got from it voids all that was said. */
export class UnreachableReports extends Accusations {
  constructor() {
    super(UNREACHABLE_MS)
  }

  /** True if nobody seems to be able to dial the host. */
  isShut(host: HostId, now: number): boolean {
    return !this.isEmpty && this.count(host, now) >= UNREACHABLE_REPORTERS_MAX
  }

  /** True if this child should not be sent to the host. */
  isShutTo(host: HostId, child: HostId, now: number): boolean {
    return !this.isEmpty && (this.has(host, child, now) || this.isShut(host, now))
  }
}
