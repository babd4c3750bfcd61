// Which URLs stand for a registry name, in the order to try them, and which names may be contacted at all. Speaks to none of them.
import { PantalaError } from '../errors.ts'
import { isLinkLocal, isLoopback } from './reach/address-class.ts'
import type { RegistryConfig, UpstreamsConfig } from './registry-config.ts'

/** One place to ask for a registry's content. */
export interface Endpoint {
  /** Scheme, host and port; no slash at the end. */
  readonly origin: string
  /** Goes before the repository name; empty or `some/path/`. */
  readonly prefix: string
  /** True where plain HTTP may be spoken, also to token servers and after redirects. */
  readonly insecure: boolean
  /** Whose TLS settings apply: a registry's canonical name, or empty for the usual ones. */
  readonly trust: string
  /** False for the registry itself, whose word is final. */
  readonly mirror: boolean
}

/** Endpoint lists kept for names that are not configured. */
const NAMES_MAX = 1_024
const MIRRORS_MAX = 16

const dockerHubNames = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io'])
const namePattern = /^(?:[a-z0-9](?:[a-z0-9._-]{0,253}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?$/

/** The one spelling of a registry's name: lower case, `docker.io` for all names of Docker Hub. */
export function canonicalRegistry(name: string): string {
  const lower = name.toLowerCase()
  return dockerHubNames.has(lower) ? 'docker.io' : lower
}

/**
 * True where requests that bring no credentials may be sent with this service's own, by file or client certificate: what such a registry
 * answers is not what it would tell anyone.
 */
export function hasOwnIdentity(config: UpstreamsConfig, registry: string): boolean {
  const name = canonicalRegistry(registry)
  return Object.entries(config.registries).some(
    ([key, { certFile, credentialsFile }]) =>
      canonicalRegistry(key) === name && (certFile ?? credentialsFile) !== undefined,
  )
}

/** True for what can name a registry: host, or host and port. */
export function isRegistryName(text: string): boolean {
  return namePattern.test(text.toLowerCase())
}

export class Upstreams {
  /** Canonical name of the registry for names that carry none. */
  readonly default: string
  readonly #registries = new Map<string, RegistryConfig>()
  readonly #allowed: ReadonlySet<string>
  readonly #listedHosts = new Set<string>()
  readonly #endpoints = new Map<string, readonly Endpoint[]>()

  /** @throws PantalaError CONFIG_INVALID for a mirror that is no usable URL, or a name that is none */
  constructor(config: UpstreamsConfig) {
    this.default = canonicalRegistry(config.default)
    if (!namePattern.test(this.default))
      throw new PantalaError('CONFIG_INVALID', {
        detail: `upstreams.default: ${config.default} is no registry name`,
      })
    const allowed = new Set(config.allow.map(canonicalRegistry))
    allowed.add(this.default)
    for (const [name, registry] of Object.entries(config.registries)) {
      const canonical = canonicalRegistry(name)
      if (!namePattern.test(canonical))
        throw new PantalaError('CONFIG_INVALID', {
          detail: `upstreams.registries: ${name} is no registry name`,
        })
      if ((registry.mirrors?.length ?? 0) > MIRRORS_MAX)
        throw new PantalaError('CONFIG_INVALID', { detail: `${name} has more than ${MIRRORS_MAX} mirrors` })
      this.#registries.set(canonical, registry)
      allowed.add(canonical)
      for (const mirror of registry.mirrors ?? []) this.#listedHosts.add(parseMirror(mirror).hostname)
    }
    this.#allowed = allowed
    for (const name of allowed) {
      const host = hostOf(name)
      if (host !== undefined) this.#listedHosts.add(host)
    }
  }

  /** Registries with TLS settings of their own, by canonical name. */
  get ownTrusts(): ReadonlyMap<string, RegistryConfig> {
    return new Map([...this.#registries].filter(([, registry]) => hasOwnTrust(registry)))
  }

  /** Endpoints of the registries that the configuration has settings for. */
  get configured(): readonly (readonly Endpoint[])[] {
    return [...this.#registries.keys()].map(name => this.endpointsOf(name))
  }

  /** Registries that are not verified. */
  get unverified(): readonly string[] {
    return [...this.#registries].filter(([, registry]) => registry.skipVerify === true).map(([name]) => name)
  }

  /**
   * Mirrors first, then the registry itself.
   * @throws PantalaError UPSTREAM_UNKNOWN (not a registry name) | UPSTREAM_FORBIDDEN (not allowed)
   */
  endpointsOf(registry: string): readonly Endpoint[] {
    const name = canonicalRegistry(registry)
    const known = this.#endpoints.get(name)
    if (known !== undefined) return known
    const host = namePattern.test(name) ? hostOf(name) : undefined
    if (host === undefined)
      throw new PantalaError('UPSTREAM_UNKNOWN', { detail: JSON.stringify(registry.slice(0, 100)) })
    if (!this.#allowed.has(name)) {
      if (!this.#allowed.has('*')) throw new PantalaError('UPSTREAM_FORBIDDEN', { detail: name })
      if (isLinkLocal(host))
        throw new PantalaError('UPSTREAM_FORBIDDEN', { detail: `${name} is a link-local address` })
    }
    const endpoints = listEndpoints(name, this.#registries.get(name) ?? {})
    if (this.#endpoints.size >= NAMES_MAX) this.#endpoints.clear()
    this.#endpoints.set(name, endpoints)
    return endpoints
  }

  /**
   * Why connections to this host may not use this address (or the host itself, where it is one); undefined if they may. Link-local ones are
   * for hosts that the operator listed; so is loopback where a registry sends there rather than being there itself.
   */
  refusalOf(host: string, address: string, elsewhere: boolean): string | undefined {
    if (this.#listedHosts.has(host)) return undefined
    if (isLinkLocal(address)) return 'a link-local address'
    return elsewhere && isLoopback(address) ? 'a loopback address, where it was sent to' : undefined
  }
}

function hasOwnTrust({ caFile, certFile, keyFile, skipVerify }: RegistryConfig): boolean {
  return caFile !== undefined || certFile !== undefined || keyFile !== undefined || skipVerify === true
}

function listEndpoints(name: string, config: RegistryConfig): readonly Endpoint[] {
  const trust = hasOwnTrust(config) ? name : ''
  const endpoints: Endpoint[] = (config.mirrors ?? []).map(mirror => {
    const url = parseMirror(mirror)
    const path = url.pathname.replace(/^\/(?:v2(?:\/|$))?|\/+$/g, '')
    return {
      origin: url.origin,
      prefix: path === '' ? '' : `${path}/`,
      insecure: url.protocol === 'http:',
      trust,
      mirror: true,
    }
  })
  const insecure = config.insecure === true
  const host = name === 'docker.io' ? 'registry-1.docker.io' : name
  const { origin } = new URL(`${insecure ? 'http' : 'https'}://${host}`)
  endpoints.push({ origin, prefix: '', insecure, trust, mirror: false })
  return endpoints
}

function parseMirror(mirror: string): URL {
  const url = URL.canParse(mirror) ? new URL(mirror) : undefined
  const usable =
    url !== undefined &&
    (url.protocol === 'http:' || url.protocol === 'https:') &&
    url.username === '' &&
    url.password === '' &&
    url.search === '' &&
    url.hash === ''
  if (!usable)
    throw new PantalaError('CONFIG_INVALID', {
      detail: 'a mirror is an http:// or https:// URL without credentials, query or fragment',
    })
  return url
}

/** Host part as a URL has it (numeric spellings of an address made plain); undefined if no URL can have it. */
function hostOf(name: string): string | undefined {
  const text = `https://${name}/`
  return URL.canParse(text) ? new URL(text).hostname : undefined
}
