// Runs one request at a registry's endpoints: one after another as they fail, the next beside the last where that one keeps it waiting, and
// whoever succeeds first ends it. So a dead endpoint costs a moment, and a slow one that is the only one left is still waited for.
import type { Clock, Timer } from '../clock.ts'
import { concludeFailures, SourceFailure } from './source-failure.ts'
import type { UpstreamHealth } from './upstream-health.ts'
import type { Endpoint } from './upstreams.ts'

const ROUNDS_MAX = 3
/** No new round begins after this long, in ms: a client waits. */
const ROUNDS_MS_MAX = 10_000
/** Who asks to wait longer than this is not asked again for this request, in ms. */
const PAUSE_MS_MAX = 5_000

export interface RaceComponents {
  readonly clock: Clock
  readonly health: UpstreamHealth
  readonly random: () => number
  /** Told of every failure. */
  readonly onFailure: (error: SourceFailure) => void
}

export interface RaceInit<T> {
  /** In the order to ask them; at least one. */
  readonly endpoints: readonly Endpoint[]
  /** How long an endpoint may say nothing before the next is asked too, in ms. */
  readonly failoverMs: number
  readonly retryPauseMs: number
  /** One try at one endpoint; to be stopped by the signal, also what it returned. */
  readonly run: (endpoint: Endpoint, signal: AbortSignal) => Promise<T>
}

type Outcome<T> = { readonly endpoint: Endpoint } & ({ readonly value: T } | { readonly error: unknown })

export class EndpointRace<T> {
  readonly #components: RaceComponents
  readonly #init: RaceInit<T>
  readonly #signal: AbortSignal
  readonly #begunAt: number
  /** To be asked, in this order. */
  #waiting: Endpoint[]
  readonly #running = new Map<Endpoint, AbortController | undefined>()
  /** Failed in this round, in a way that may pass. */
  #again: Endpoint[] = []
  #round = 1
  #retryAfterMs = 0
  readonly #failures: SourceFailure[] = []
  #decisive: SourceFailure | undefined
  readonly #outcomes: Outcome<T>[] = []
  #wake: () => void = () => {}

  constructor(components: RaceComponents, init: RaceInit<T>, signal: AbortSignal) {
    this.#components = components
    this.#init = init
    this.#signal = signal
    this.#waiting = [...init.endpoints]
    this.#begunAt = components.clock.monotonic()
  }

  /** True while a refusal of this endpoint is not the end: it is a mirror, and another is being asked or will be. */
  hasOther(endpoint: Endpoint): boolean {
    return endpoint.mirror && (this.#waiting.length > 0 || this.#running.size > 1)
  }

  /** @throws PantalaError with what was tried, what `run` threw other than SourceFailure, or the signal's reason */
  async finish(): Promise<T> {
    let winner: Endpoint | undefined
    try {
      for (;;) {
        const started = this.#startNext()
        const outcome = await this.#nextOutcome(this.#patienceMs())
        if (outcome === undefined) this.#endPatience(started)
        else if ('value' in outcome) {
          winner = outcome.endpoint
          this.#components.health.answered(winner)
          return outcome.value
        } else this.#noteFailure(outcome)
        if (this.#running.size === 0 && this.#waiting.length === 0) await this.#nextRound()
      }
    } finally {
      for (const [endpoint, controller] of this.#running) if (endpoint !== winner) controller?.abort()
    }
  }

  #startNext(): Endpoint | undefined {
    const endpoint = this.#waiting.shift()
    if (endpoint === undefined) return undefined
    // Where nobody competes, nobody is stopped.
    const controller = this.#init.endpoints.length === 1 ? undefined : new AbortController()
    const signal =
      controller === undefined ? this.#signal : AbortSignal.any([this.#signal, controller.signal])
    this.#running.set(endpoint, controller)
    this.#init.run(endpoint, signal).then(
      value => this.#tell({ endpoint, value }),
      error => this.#tell({ endpoint, error }),
    )
    return endpoint
  }

  #tell(outcome: Outcome<T>): void {
    this.#outcomes.push(outcome)
    this.#wake()
  }

  /** How long to wait for what is running before more is begun; undefined: until it ends. */
  #patienceMs(): number | undefined {
    const { failoverMs } = this.#init
    if (this.#waiting.length > 0) return failoverMs
    // Those that failed are not asked again while the last of all may be about to answer.
    return this.#again.length > 0 && this.#mayGoOn() ? Math.max(failoverMs, this.#pauseMs()) : undefined
  }

  #endPatience(started: Endpoint | undefined): void {
    const { failoverMs } = this.#init
    if (this.#waiting.length === 0) this.#beginRound()
    else if (started !== undefined)
      this.#components.health.failed(started, {
        message: `no answer within ${failoverMs} ms`,
        retryAfterMs: 0,
      })
  }

  #noteFailure({ endpoint, error }: { readonly endpoint: Endpoint; readonly error: unknown }): void {
    this.#running.delete(endpoint)
    if (this.#signal.aborted) throw this.#signal.reason
    if (!(error instanceof SourceFailure)) throw error
    const { health, onFailure } = this.#components
    onFailure(error)
    this.#failures.push(error)
    if (!endpoint.mirror || this.#decisive === undefined) this.#decisive = error
    if (!error.isPassing) {
      health.answered(endpoint)
      if (!endpoint.mirror) throw concludeFailures(this.#failures, error)
      return
    }
    if (this.#init.endpoints.length > 1) health.failed(endpoint, error)
    this.#again.push(endpoint)
    this.#retryAfterMs = Math.max(this.#retryAfterMs, error.retryAfterMs)
  }

  async #nextRound(): Promise<void> {
    if (this.#again.length === 0 || !this.#mayGoOn()) throw concludeFailures(this.#failures, this.#decisive!)
    await pause(this.#components.clock, this.#pauseMs(), this.#signal)
    this.#beginRound()
  }

  #beginRound(): void {
    this.#waiting = this.#again
    this.#again = []
    this.#retryAfterMs = 0
    this.#round++
  }

  #mayGoOn(): boolean {
    const spentMs = this.#components.clock.monotonic() - this.#begunAt
    return this.#round < ROUNDS_MAX && spentMs <= ROUNDS_MS_MAX && this.#retryAfterMs <= PAUSE_MS_MAX
  }

  #pauseMs(): number {
    const pauseMs = this.#init.retryPauseMs * 2 ** (this.#round - 1)
    // Never sooner than asked for, and not all at the same moment.
    if (this.#retryAfterMs > 0)
      return Math.max(pauseMs, this.#retryAfterMs) + pauseMs * this.#components.random()
    return pauseMs * (0.5 + this.#components.random())
  }

  /** The next end of a try; undefined if there is none in time. @throws the signal's reason */
  async #nextOutcome(patienceMs: number | undefined): Promise<Outcome<T> | undefined> {
    this.#signal.throwIfAborted()
    if (this.#outcomes.length === 0)
      await new Promise<void>(resolve => {
        let timer: Timer | undefined
        const end = () => {
          timer?.cancel()
          this.#signal.removeEventListener('abort', end)
          resolve()
        }
        if (patienceMs !== undefined) timer = this.#components.clock.after(patienceMs, end)
        this.#signal.addEventListener('abort', end)
        this.#wake = end
      })
    this.#signal.throwIfAborted()
    return this.#outcomes.shift()
  }
}

async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  await new Promise<void>((resolve, reject) => {
    const stop = () => {
      timer.cancel()
      reject(signal.reason)
    }
    const timer = clock.after(ms, () => {
      signal.removeEventListener('abort', stop)
      resolve()
    })
    signal.addEventListener('abort', stop, { once: true })
  })
}
