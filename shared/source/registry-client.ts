// Talks to registries as a client of the OCI distribution API: puts together endpoints, tokens, credentials, proxies and bounds.
import type { Clock } from '../clock.ts'
import type { Logger } from '../logger.ts'
import type { SourceRef } from '../protocol/messages.ts'
import { TokenCache } from './auth.ts'
import { ConfiguredCredentials } from './credentials/configured-credentials.ts'
import { EndpointWalk } from './endpoint-walk.ts'
import { Exchanges } from './exchange.ts'
import type { NameLookup } from './reach/agents.ts'
import { HttpProxies } from './reach/http-proxy.ts'
import type { UpstreamsConfig } from './registry-config.ts'
import { RegistryRequests } from './registry-requests.ts'
import type { SourceClient } from './source-client.ts'
import { Upstreams } from './upstreams.ts'
import type { WriteAnswer, WriteClient, WriteRequest } from './write-client.ts'
import { WriteForwarding } from './write-forwarding.ts'

export interface RegistryClientComponents {
  readonly logger: Logger
  readonly clock: Clock
  /** Spreads retries; Math.random if absent. */
  readonly random?: () => number
  /** Finds the addresses of a name; dns.lookup if absent. */
  readonly lookup?: NameLookup
}

export interface RegistryClientInit {
  readonly upstreams: UpstreamsConfig
  /** A body that sends nothing for this long, while it is being read, is given up. */
  readonly stallTimeoutMs: number
  readonly connectTimeoutMs?: number
  readonly headersTimeoutMs?: number
  /** `host:port` of this service's own listeners: never reached through an HTTP proxy, nor taken for one. */
  readonly ownAddresses?: readonly string[]
  /** Where HTTPS_PROXY, HTTP_PROXY and NO_PROXY are looked for; empty if absent. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** First pause between rounds over all endpoints, in ms; doubled once. */
  readonly retryPauseMs?: number
}

/** See SourceClient and WriteClient; asked on behalf of clients. */
export class RegistryClient extends RegistryRequests implements SourceClient, WriteClient {
  /**
   * The same for this service's own requests (preheats): where they bring no credentials, the configured ones are used. What is learned so
   * says nothing of what a client may read.
   */
  readonly own: RegistryRequests
  readonly #exchanges: Exchanges
  readonly #writes: WriteForwarding
  readonly #walk: EndpointWalk
  readonly #credentials: ConfiguredCredentials

  /** @throws PantalaError CONFIG_INVALID for upstreams that cannot be used */
  constructor(components: RegistryClientComponents, init: RegistryClientInit) {
    const { logger, clock, random = Math.random, lookup } = components
    const upstreams = new Upstreams(init.upstreams)
    const { env = {}, ownAddresses = [] } = init
    const { proxy, noProxy } = init.upstreams
    const proxies = new HttpProxies({ proxy, noProxy, env, ownAddresses })
    const timeouts = {
      stallTimeoutMs: init.stallTimeoutMs,
      connectTimeoutMs: init.connectTimeoutMs ?? 5_000,
      headersTimeoutMs: init.headersTimeoutMs ?? 30_000,
    }
    const exchanges = new Exchanges({ upstreams, proxies, lookup }, timeouts)
    const credentials = new ConfiguredCredentials(components, init.upstreams.registries)
    for (const warning of proxies.warnings) logger.warn(warning)
    if (proxies.used.length > 0)
      logger.info({ proxies: proxies.used }, 'registries are reached through a proxy')
    for (const name of upstreams.unverified)
      logger.warn(
        { registry: name },
        'skipVerify: whoever answers is taken for this registry, and is given credentials',
      )
    const walk = new EndpointWalk(
      {
        upstreams,
        exchanges,
        tokens: new TokenCache({ exchanges, clock }),
        credentials,
        clock,
        logger,
        random,
      },
      { retryPauseMs: init.retryPauseMs ?? 300, failoverMs: init.upstreams.failoverMs ?? 1_500 },
    )
    super(walk, { isOwn: false })
    this.own = new RegistryRequests(walk, { isOwn: true })
    this.#walk = walk
    this.#credentials = credentials
    this.#exchanges = exchanges
    this.#writes = new WriteForwarding({ upstreams, proxies, lookup }, timeouts)
  }

  usesConfigured(source: SourceRef): boolean {
    return source.authorization === undefined && this.#credentials.mayServe(source.registry, false)
  }

  write(source: SourceRef, request: WriteRequest, signal: AbortSignal): Promise<WriteAnswer> {
    return this.#writes.write(source, request, signal)
  }

  /** For each endpoint of a registry that has several: true if it is asked in its turn, false if it failed and is asked last. */
  get upstreamHealth(): ReadonlyMap<string, boolean> {
    return this.#walk.describeHealth()
  }

  /** Cuts what is open. */
  async close(): Promise<void> {
    await Promise.all([this.#exchanges.close(), this.#writes.close()])
  }
}
