// Tries a registry's endpoints in turn, with the caller's rights at each, until one answers; decides what is tried again and when.
import type { Clock } from '../clock.ts'
import type { Logger } from '../logger.ts'
import type { SourceRef } from '../protocol/messages.ts'
import type { AuthScope, TokenCache } from './auth.ts'
import { discardBody, type Exchange, type Exchanges } from './exchange.ts'
import { concludeFailures, SourceFailure } from './source-failure.ts'
import type { Endpoint, Upstreams } from './upstreams.ts'

const ROUNDS_MAX = 3
/** No new round begins after this long, in ms: a client waits. */
const ROUNDS_MS_MAX = 10_000
const PAUSE_MS_MAX = 5_000
/** An endpoint that could not be reached is asked last for this long, in ms. */
const AVOID_MS = 15_000
/** Headers of a client that are passed on by `forward`; its credentials come in the SourceRef. */
const forwardedHeaders = new Set(['accept', 'if-none-match', 'if-modified-since', 'range', 'user-agent'])

export interface WalkComponents {
  readonly upstreams: Upstreams
  readonly exchanges: Exchanges
  readonly tokens: TokenCache
  readonly clock: Clock
  readonly logger: Logger
  readonly random: () => number
}

export class EndpointWalk {
  readonly #components: WalkComponents
  readonly #retryPauseMs: number
  readonly #avoidUntil = new WeakMap<Endpoint, number>()

  constructor(components: WalkComponents, init: { readonly retryPauseMs: number }) {
    this.#components = components
    this.#retryPauseMs = init.retryPauseMs
  }

  /**
   * Runs `run` at one endpoint after another until it does not throw SourceFailure. A mirror's refusal sends it on, the registry's own is
   * final; what may pass (no connection, 5xx, 429, wrong bytes) is tried again after a pause.
   * @throws PantalaError with what was tried, or the signal's reason
   */
  async tryEach<T>(
    source: SourceRef,
    signal: AbortSignal,
    run: (attempt: EndpointTry) => Promise<T>,
  ): Promise<T> {
    const { upstreams, clock, logger, random } = this.#components
    signal.throwIfAborted()
    let endpoints = this.#inOrder(upstreams.endpointsOf(source.registry))
    const failures: SourceFailure[] = []
    let decisive: SourceFailure | undefined
    const begun = clock.monotonic()
    for (let round = 1; ; round++) {
      const again: Endpoint[] = []
      let retryAfterMs = 0
      for (const endpoint of endpoints) {
        const hasNext = endpoint !== endpoints.at(-1)
        try {
          return await run(new EndpointTry(this.#components, { endpoint, source, signal, hasNext }))
        } catch (error) {
          if (signal.aborted) throw signal.reason
          if (!(error instanceof SourceFailure)) throw error
          logger.debug(
            { registry: source.registry, code: error.code, status: error.status, tried: error.message },
            'the source failed a request',
          )
          failures.push(error)
          if (!endpoint.mirror || decisive === undefined) decisive = error
          if (error.isPassing) {
            again.push(endpoint)
            retryAfterMs = Math.max(retryAfterMs, error.retryAfterMs)
            if (error.code === 'SOURCE_AWAY' || error.code === 'SOURCE_STALLED')
              this.#avoidUntil.set(endpoint, clock.monotonic() + AVOID_MS)
          } else if (!endpoint.mirror) throw concludeFailures(failures, error)
        }
      }
      const spentMs = clock.monotonic() - begun
      if (
        again.length === 0 ||
        round === ROUNDS_MAX ||
        spentMs > ROUNDS_MS_MAX ||
        retryAfterMs > PAUSE_MS_MAX
      )
        throw concludeFailures(failures, decisive!)
      endpoints = again
      const pauseMs = this.#retryPauseMs * 2 ** (round - 1) * (0.5 + random())
      await pause(clock, Math.max(pauseMs, retryAfterMs), signal)
    }
  }

  /** Those that could not be reached a moment ago come last, otherwise the order is the configured one. */
  #inOrder(endpoints: readonly Endpoint[]): readonly Endpoint[] {
    if (endpoints.length === 1) return endpoints
    const now = this.#components.clock.monotonic()
    const isAvoided = (endpoint: Endpoint) => (this.#avoidUntil.get(endpoint) ?? 0) > now
    return [...endpoints.filter(each => !isAvoided(each)), ...endpoints.filter(isAvoided)]
  }
}

export interface EndpointTryInit {
  readonly endpoint: Endpoint
  readonly source: SourceRef
  readonly signal: AbortSignal
  /** True if another endpoint is tried after this one. */
  readonly hasNext: boolean
}

/** One try at one endpoint. */
export class EndpointTry {
  readonly signal: AbortSignal
  readonly hasNext: boolean
  readonly #components: WalkComponents
  readonly #endpoint: Endpoint
  readonly #source: SourceRef

  constructor(components: WalkComponents, init: EndpointTryInit) {
    this.#components = components
    this.#endpoint = init.endpoint
    this.#source = init.source
    this.signal = init.signal
    this.hasNext = init.hasNext
  }

  /** Asks for `path` under the repository, with a token if the endpoint wants one. @throws SourceFailure, or the signal's reason */
  async send(
    method: 'GET' | 'HEAD',
    path: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<Exchange> {
    const { origin, prefix } = this.#endpoint
    const { repository, authorization } = this.#source
    const url = new URL(`${origin}/v2/${prefix}${repository}/${path}`)
    const scope = { endpoint: this.#endpoint, repository: `${prefix}${repository}`, authorization }
    const all = { 'user-agent': 'pantala', 'accept-encoding': 'identity', ...headers }
    return this.#sendAuthorized(method, url, all, scope)
  }

  /** As `send`, for a path after `/v2/` as a client wrote it. Outside the repository no token is fetched: the challenge is the answer. */
  async forward(
    method: 'GET' | 'HEAD',
    path: string,
    clientHeaders: Readonly<Record<string, string>>,
  ): Promise<Exchange> {
    const { origin, prefix } = this.#endpoint
    const { repository, authorization } = this.#source
    const headers: Record<string, string> = { 'user-agent': 'pantala', 'accept-encoding': 'identity' }
    for (const [name, value] of Object.entries(clientHeaders)) {
      const lower = name.toLowerCase()
      if (forwardedHeaders.has(lower) && /^[\x20-\x7e]{0,4096}$/.test(value)) headers[lower] = value
    }
    const url = new URL(`${origin}/v2/${path === '' ? '' : prefix}${path}`)
    if (repository !== '' && path.startsWith(`${repository}/`)) {
      const scope = { endpoint: this.#endpoint, repository: `${prefix}${repository}`, authorization }
      return this.#sendAuthorized(method, url, headers, scope)
    }
    checkHeader(authorization)
    return this.#components.exchanges.send(this.#endpoint, method, url, headers, authorization, this.signal)
  }

  async #sendAuthorized(
    method: 'GET' | 'HEAD',
    url: URL,
    headers: Readonly<Record<string, string>>,
    scope: AuthScope,
  ): Promise<Exchange> {
    const { tokens, exchanges, logger } = this.#components
    checkHeader(scope.authorization)
    const first = tokens.headerFor(scope)
    const answer = await exchanges.send(this.#endpoint, method, url, headers, first, this.signal)
    const challenge = answer.headers['www-authenticate']
    if (answer.status !== 401 || challenge === undefined) return answer
    let renewed: string | undefined
    try {
      renewed = await tokens.renew(scope, first, challenge, this.signal)
    } catch (error) {
      if (this.signal.aborted || !(error instanceof SourceFailure)) throw error
      if (error.isPassing) {
        discardBody(answer.body)
        throw error
      }
      logger.debug({ tried: error.message }, 'no token: the caller is shown the challenge')
    }
    if (renewed === undefined) return answer
    discardBody(answer.body)
    return exchanges.send(this.#endpoint, method, url, headers, renewed, this.signal)
  }
}

/** A caller's header that cannot be sent is as good as wrong. */
function checkHeader(authorization: string | undefined): void {
  if (authorization !== undefined && !/^[\x20-\x7e]{1,16384}$/.test(authorization))
    throw new SourceFailure('SOURCE_UNAUTHORIZED', {
      detail: 'the Authorization header is malformed',
      status: 401,
    })
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
