// Remembers which endpoints failed a moment ago, so that requests go to the others first, and when to look at them again. Sends nothing.
import type { Clock } from '../clock.ts'
import type { Logger } from '../logger.ts'
import type { SourceFailure } from './source-failure.ts'
import type { Endpoint } from './upstreams.ts'

/** An endpoint that failed is asked last for this long, in ms; twice as long after each further failure, up to the second. */
const AVOID_MS = 5_000
const AVOID_MS_MAX = 60_000
/** An endpoint that has been well for this long is forgiven what was before, in ms. */
const CALM_MS = 60_000
const REMEMBERED_MAX = 1_024

interface Trouble {
  readonly isUp: boolean
  /** When it was last found up, where it is. */
  readonly since: number
  /** How often it failed, periods of avoidance counted. */
  readonly level: number
  /** End of the avoidance; then somebody looks at it again. */
  readonly until: number
}

export class UpstreamHealth {
  readonly #clock: Clock
  readonly #logger: Logger
  /** Only endpoints that were in trouble. */
  readonly #troubles = new Map<string, Trouble>()

  constructor(components: { readonly clock: Clock; readonly logger: Logger }) {
    this.#clock = components.clock
    this.#logger = components.logger
  }

  isUp(endpoint: Endpoint): boolean {
    return this.#troubles.get(nameOf(endpoint))?.isUp ?? true
  }

  /** The configured order, those in trouble last. */
  inOrder(endpoints: readonly Endpoint[]): readonly Endpoint[] {
    if (this.#troubles.size === 0) return endpoints
    return [...endpoints.filter(each => this.isUp(each)), ...endpoints.filter(each => !this.isUp(each))]
  }

  /** True once for each period of avoidance that is over: the caller looks whether the endpoint is well again, and says so if it is. */
  takeProbe(endpoint: Endpoint): boolean {
    const trouble = this.#troubles.get(nameOf(endpoint))
    const now = this.#clock.monotonic()
    if (trouble === undefined || trouble.isUp || now < trouble.until) return false
    // Taken for a failure until it is known better.
    const level = trouble.level + 1
    this.#note(endpoint, { ...trouble, level, until: now + avoidMs(level) })
    return true
  }

  /** The endpoint gave an answer, whatever it was. */
  answered(endpoint: Endpoint): void {
    const trouble = this.#troubles.get(nameOf(endpoint))
    if (trouble === undefined) return
    const now = this.#clock.monotonic()
    if (trouble.isUp) {
      if (now - trouble.since > CALM_MS) this.#troubles.delete(nameOf(endpoint))
      return
    }
    this.#note(endpoint, { ...trouble, isUp: true, since: now })
    this.#logger.info({ endpoint: nameOf(endpoint) }, 'upstream answers again')
  }

  /** The endpoint failed, as far as it is to blame: it is asked last for a while. */
  failed(endpoint: Endpoint, reason: Pick<SourceFailure, 'message' | 'retryAfterMs'>): void {
    const now = this.#clock.monotonic()
    const last = this.#troubles.get(nameOf(endpoint))
    if (last !== undefined && !last.isUp && now < last.until && reason.retryAfterMs === 0) return
    const isCalm = last === undefined || (last.isUp && now - last.since > CALM_MS)
    const level = isCalm ? 1 : last.level + 1
    const until = now + Math.max(avoidMs(level), Math.min(reason.retryAfterMs, AVOID_MS_MAX))
    this.#note(endpoint, { isUp: false, since: 0, level, until })
    if (last === undefined || last.isUp)
      this.#logger.warn(
        { endpoint: nameOf(endpoint), reason: reason.message },
        'upstream fails: the others are asked first',
      )
  }

  #note(endpoint: Endpoint, trouble: Trouble): void {
    const name = nameOf(endpoint)
    this.#troubles.delete(name)
    this.#troubles.set(name, trouble)
    if (this.#troubles.size > REMEMBERED_MAX) this.#troubles.delete(this.#troubles.keys().next().value!)
  }
}

function avoidMs(level: number): number {
  return Math.min(AVOID_MS * 2 ** Math.min(level - 1, 10), AVOID_MS_MAX)
}

/** What logs and metrics call an endpoint. */
export function nameOf(endpoint: Endpoint): string {
  return endpoint.prefix === '' ? endpoint.origin : `${endpoint.origin}/${endpoint.prefix.slice(0, -1)}`
}
