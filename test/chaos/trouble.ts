// What is broken when: an attempt to pull that fails while the host's own dfdaemon or the registry is down could not have succeeded, and is made again.
import type { HostName } from './cluster.ts'

/** A host whose dfdaemon is down or frozen, or the registry. */
export type Troubled = HostName | 'registry'

interface Interval {
  readonly what: Troubled
  readonly from: number
  until: number
}

/** A request that fails just after something was mended may have been sent before. */
const SLACK_MS = 500

export class TroubleLog {
  readonly #intervals: Interval[] = []

  /** From now on it is in trouble, until the function that is returned is called. */
  begin(what: Troubled): () => void {
    const interval: Interval = { what, from: performance.now(), until: Number.POSITIVE_INFINITY }
    this.#intervals.push(interval)
    return () => {
      interval.until = performance.now()
    }
  }

  /** Whether it was in trouble at any moment between two, as of performance.now(). */
  was(what: Troubled, from: number, until: number): boolean {
    return this.#intervals.some(one => one.what === what && one.from <= until && one.until + SLACK_MS >= from)
  }

  isNow(what: Troubled): boolean {
    return this.#intervals.some(one => one.what === what && one.until === Number.POSITIVE_INFINITY)
  }
}
