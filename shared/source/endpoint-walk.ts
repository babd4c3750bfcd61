// Tries a registry's endpoints in turn, with the caller's rights at each, until one answers; the race of several is run elsewhere.
import type { Clock } from '../clock.ts'
import type { Logger } from '../logger.ts'
import type { SourceRef } from '../protocol/messages.ts'
import type { AuthScope, TokenCache } from './auth.ts'
import type { ConfiguredCredentials } from './credentials/configured-credentials.ts'
import { EndpointRace } from './endpoint-race.ts'
import { discardBody, type Exchange, type Exchanges } from './exchange.ts'
import { SourceFailure } from './source-failure.ts'
import { nameOf, UpstreamHealth } from './upstream-health.ts'
import type { Endpoint, Upstreams } from './upstreams.ts'

/** A look at an endpoint that failed takes no longer than this, in ms. */
const PROBE_MS = 2_000
/** Headers of a client that are passed on by `forward`; its credentials come in the SourceRef. */
const forwardedHeaders = new Set(['accept', 'if-none-match', 'if-modified-since', 'range', 'user-agent'])

export interface WalkComponents {
  readonly upstreams: Upstreams
  readonly exchanges: Exchanges
  readonly tokens: TokenCache
  readonly credentials: ConfiguredCredentials
  readonly clock: Clock
  readonly logger: Logger
  readonly random: () => number
}

export interface Asked {
  readonly source: SourceRef
  /** Asked by this service for itself, not for a client. */
  readonly isOwn: boolean
  /** So many endpoints are asked last, because they sent wrong bytes; 0 if absent. */
  readonly passOver?: number
}

export interface EndpointWalkInit {
  readonly retryPauseMs: number
  /** See RaceInit. */
  readonly failoverMs: number
}

export class EndpointWalk {
  readonly #components: WalkComponents
  readonly #init: EndpointWalkInit
  readonly #health: UpstreamHealth

  constructor(components: WalkComponents, init: EndpointWalkInit) {
    this.#components = components
    this.#init = init
    this.#health = new UpstreamHealth(components)
  }

  /**
   * Runs `run` at one endpoint after another until it does not throw SourceFailure; at the next one too where an endpoint says nothing for
   * a while, so it must ask for nothing that may not be asked twice. A mirror's refusal sends it on, the registry's own is final; what may
   * pass (no connection, 5xx, 429, wrong bytes) is tried again after a pause.
   * @throws PantalaError with what was tried, or the signal's reason
   */
  async tryEach<T>(asked: Asked, signal: AbortSignal, run: (attempt: EndpointTry) => Promise<T>): Promise<T> {
    const { upstreams, clock, logger, random } = this.#components
    signal.throwIfAborted()
    const { source } = asked
    const endpoints = upstreams.endpointsOf(source.registry)
    if (endpoints.length > 1) this.#lookAgain(endpoints)
    const onFailure = (error: SourceFailure) =>
      logger.debug(
        { registry: source.registry, code: error.code, status: error.status, tried: error.message },
        'the source failed a request',
      )
    const race: EndpointRace<T> = new EndpointRace(
      { clock, random, onFailure, health: this.#health },
      {
        ...this.#init,
        endpoints: turnBy(this.#health.inOrder(endpoints), asked.passOver ?? 0),
        run: (endpoint, signal) =>
          run(
            new EndpointTry(this.#components, {
              ...asked,
              endpoint,
              signal,
              hasOther: () => race.hasOther(endpoint),
              // Alone it is asked again, however it fails.
              rivals: () => endpoints.some(each => each !== endpoint && this.#health.isUp(each)),
              fails: failure => endpoints.length > 1 && this.#health.failed(endpoint, failure),
            }),
          ),
      },
      signal,
    )
    return race.finish()
  }

  /** Every endpoint of a registry that has several, by name, and whether it is asked in its turn. */
  describeHealth(): ReadonlyMap<string, boolean> {
    const rivals = this.#components.upstreams.configured.filter(endpoints => endpoints.length > 1)
    return new Map(rivals.flat().map(endpoint => [nameOf(endpoint), this.#health.isUp(endpoint)]))
  }

  /** Asks endpoints whose time of avoidance is over whether they are there; no client waits for that, and no credentials are sent. */
  #lookAgain(endpoints: readonly Endpoint[]): void {
    for (const endpoint of endpoints) {
      if (!this.#health.takeProbe(endpoint)) continue
      const url = new URL(`${endpoint.origin}/v2/`)
      this.#components.exchanges
        .send(endpoint, 'GET', url, { 'user-agent': 'pantala' }, undefined, AbortSignal.timeout(PROBE_MS))
        .then(
          ({ status, body }) => {
            discardBody(body)
            if (status < 500 && status !== 429) this.#health.answered(endpoint)
          },
          // It is looked at again after a while.
          () => {},
        )
    }
  }
}

/** The same list, begun elsewhere. */
function turnBy<T>(list: readonly T[], by: number): readonly T[] {
  const start = list.length === 0 ? 0 : by % list.length
  return start === 0 ? list : [...list.slice(start), ...list.slice(0, start)]
}

export interface EndpointTryInit extends Asked {
  readonly endpoint: Endpoint
  readonly signal: AbortSignal
  /** See EndpointTry. */
  readonly hasOther: () => boolean
  readonly rivals: () => boolean
  readonly fails: (failure: Pick<SourceFailure, 'message' | 'retryAfterMs'>) => void
}

/** One try at one endpoint. */
export class EndpointTry {
  readonly signal: AbortSignal
  /** True where another endpoint is well: from it a body can go on that breaks off here. */
  readonly rivals: () => boolean
  /** To be told of what goes wrong after the answer began. */
  readonly fails: EndpointTryInit['fails']
  readonly #components: WalkComponents
  readonly #endpoint: Endpoint
  readonly #source: SourceRef
  readonly #isOwn: boolean
  readonly #hasOther: () => boolean

  constructor(components: WalkComponents, init: EndpointTryInit) {
    this.#components = components
    this.#endpoint = init.endpoint
    this.#source = init.source
    this.signal = init.signal
    this.rivals = init.rivals
    this.fails = init.fails
    this.#hasOther = init.hasOther
    this.#isOwn = init.isOwn
  }

  /** True if a refusal is not the end: this is a mirror, and another endpoint is being asked or will be. */
  get hasNext(): boolean {
    return this.#hasOther()
  }

  /** Asks for `path` under the repository, with a token if the endpoint wants one. @throws SourceFailure, or the signal's reason */
  async send(
    method: 'GET' | 'HEAD',
    path: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<Exchange> {
    const { origin, prefix } = this.#endpoint
    const repository = `${prefix}${this.#source.repository}`
    const url = new URL(`${origin}/v2/${repository}/${path}`)
    const { authorization } = await this.#findCredentials(repository)
    const scope = { endpoint: this.#endpoint, repository, authorization }
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
    const { repository } = this.#source
    const { authorization, isConfigured } = await this.#findCredentials(`${prefix}${repository}`)
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
    // Who comes without credentials is not to be sent for a token: it would come back with one that opens nothing.
    if (isConfigured)
      return this.#sendAuthorized(method, url, headers, {
        endpoint: this.#endpoint,
        repository: '',
        authorization,
      })
    checkHeader(authorization)
    return this.#components.exchanges.send(this.#endpoint, method, url, headers, authorization, this.signal)
  }

  /** The caller's own credentials; where it has none and that is allowed, the configured ones for this endpoint. */
  async #findCredentials(
    repository: string,
  ): Promise<{ authorization: string | undefined; isConfigured: boolean }> {
    const { registry, authorization } = this.#source
    const { credentials } = this.#components
    if (authorization !== undefined || !credentials.mayServe(registry, this.#isOwn))
      return { authorization, isConfigured: false }
    const found = await credentials.find(registry, this.#endpoint, repository)
    return { authorization: found, isConfigured: found !== undefined }
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
