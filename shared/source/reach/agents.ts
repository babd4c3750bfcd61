// Gives each request the undici agent it may go by: with the right trust, the right proxy, and addresses held against the rules at connect.
import { lookup as dnsLookup, type LookupAddress, type LookupAllOptions } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { Agent, Pool, ProxyAgent } from 'undici'
import type { Endpoint, Upstreams } from '../upstreams.ts'
import type { HttpProxies, HttpProxy } from './http-proxy.ts'
import { TlsTrust, TrustedRoots } from './tls-trust.ts'

const CONNECTIONS_PER_ORIGIN_MAX = 64
const ORIGINS_MAX = 1_024
const KEEP_ALIVE_MS = 15_000

/** All addresses of a name; as dns.lookup. */
export type NameLookup = (
  hostname: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void

export interface AgentsComponents {
  readonly upstreams: Upstreams
  readonly proxies: HttpProxies
  /** dns.lookup if absent. */
  readonly lookup?: NameLookup | undefined
}

/** The endpoint's own host, the same with no certificate of ours shown, or a host that it sends to. */
type Place = 'own' | 'unnamed' | 'elsewhere'

export class Agents {
  readonly #upstreams: Upstreams
  readonly #proxies: HttpProxies
  readonly #lookup: NameLookup
  readonly #connectTimeoutMs: number
  readonly #ownPlace: Place
  readonly #trusts = new Map<string, TlsTrust>()
  /** As many as there are trusts, places and proxies at most. */
  readonly #agents = new Map<string, Agent | ProxyAgent>()
  #closed = false

  /** @throws PantalaError CONFIG_INVALID for files of certificates or keys that cannot be used */
  constructor(
    components: AgentsComponents,
    init: {
      readonly connectTimeoutMs: number
      /** False: client certificates are shown to nobody. */
      readonly showsCertificates?: boolean
    },
  ) {
    this.#ownPlace = init.showsCertificates === false ? 'unnamed' : 'own'
    this.#upstreams = components.upstreams
    this.#proxies = components.proxies
    this.#lookup = components.lookup ?? dnsLookup
    this.#connectTimeoutMs = init.connectTimeoutMs
    const roots = new TrustedRoots()
    this.#trusts.set('', new TlsTrust(roots, {}))
    for (const [name, config] of this.#upstreams.ownTrusts)
      this.#trusts.set(name, new TlsTrust(roots, config))
  }

  /** The agent for a URL asked on behalf of an endpoint; whether it leads through a proxy. */
  agentFor(endpoint: Endpoint, url: URL): { agent: Agent | ProxyAgent; proxied: boolean } {
    const place = url.hostname === new URL(endpoint.origin).hostname ? this.#ownPlace : 'elsewhere'
    const proxy = this.#proxies.proxyFor(url)
    const key = JSON.stringify([endpoint.trust, place, proxy?.url ?? '', url.protocol])
    let agent = this.#agents.get(key)
    if (agent === undefined) {
      agent = this.#makeAgent(this.#trusts.get(endpoint.trust)!, place, url.protocol, proxy)
      if (this.#closed) void agent.destroy()
      this.#agents.set(key, agent)
    }
    return { agent, proxied: proxy !== undefined }
  }

  /** Cuts what is open; nothing is sent any more. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#agents.values()].map(agent => agent.destroy()))
  }

  #makeAgent(
    trust: TlsTrust,
    place: Place,
    protocol: string,
    proxy: HttpProxy | undefined,
  ): Agent | ProxyAgent {
    const timeout = this.#connectTimeoutMs
    // Only where TLS is spoken: the roots take a moment to read.
    const tls = protocol === 'https:' ? trust[place] : {}
    const pools = {
      connections: CONNECTIONS_PER_ORIGIN_MAX,
      maxOrigins: ORIGINS_MAX,
      keepAliveTimeout: KEEP_ALIVE_MS,
    }
    if (proxy === undefined) {
      const lookup = this.#lookupFor(place)
      return new Agent({ ...pools, connect: { timeout, lookup, ...tls } })
    }
    const isTls = proxy.url.startsWith('https:')
    return new ProxyAgent({
      ...pools,
      uri: proxy.url,
      ...(proxy.token === undefined ? {} : { token: proxy.token }),
      requestTls: { timeout, ...tls },
      proxyTls: { timeout, ...(isTls ? this.#trusts.get('')!.elsewhere : {}) },
      // Plain HTTP is asked of the proxy by whole URL: few let CONNECT through to other ports than 443.
      proxyTunnel: protocol === 'https:',
      // A proxy that takes the connection and then says nothing.
      clientFactory: (origin, options) => new Pool(origin, { ...options, headersTimeout: timeout }),
    })
  }

  /** dns.lookup that leaves out addresses which this host may not be contacted at. */
  #lookupFor(place: Place): LookupFunction {
    return (hostname, options, callback) => {
      this.#lookup(hostname, { ...options, all: true }, (error, found) => {
        if (error !== null) return callback(error, '', 0)
        const usable = found.filter(
          entry => this.#upstreams.refusalOf(hostname, entry.address, place === 'elsewhere') === undefined,
        )
        const first = usable[0]
        if (first === undefined)
          return callback(new ForbiddenAddressError(`${hostname} has only forbidden addresses`), '', 0)
        if (options.all === true) return callback(null, usable)
        callback(null, first.address, first.family)
      })
    }
  }
}

/** A name resolves only to addresses that may not be contacted. */
export class ForbiddenAddressError extends Error {
  readonly code = 'FORBIDDEN_ADDRESS'
}
