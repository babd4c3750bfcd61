// Which HTTP proxy, if any, stands between this service and a registry: from the options, or the environment as other tools read it.
import { BlockList, isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { PantalaError } from '../../errors.ts'
import { isLoopback } from './address-class.ts'

/** A proxy to speak to. */
export interface HttpProxy {
  /** Scheme, host and port; no credentials. */
  readonly url: string
  /** The Proxy-Authorization header. */
  readonly token: string | undefined
}

export interface HttpProxySettings {
  /** URL, or `none`; absent: the environment's. */
  readonly proxy?: string | undefined
  readonly noProxy?: readonly string[] | undefined
  readonly env: Readonly<Record<string, string | undefined>>
  /** `host:port` where this very service listens: never asked through a proxy, and never taken for one. */
  readonly ownAddresses: readonly string[]
}

const NO_PROXY_ENTRIES_MAX = 1_000

export class HttpProxies {
  readonly #byScheme: { readonly 'http:': HttpProxy | undefined; readonly 'https:': HttpProxy | undefined }
  readonly #exempt: readonly ((host: string, port: number) => boolean)[]
  /** What of the environment is not used, for the log; names no credentials. */
  readonly warnings: readonly string[]

  /** @throws PantalaError CONFIG_INVALID for a proxy that is no usable URL or this very service */
  constructor(settings: HttpProxySettings) {
    const { proxy, noProxy = [], env, ownAddresses } = settings
    const own = ownAddresses.map(parseOwn)
    const isOwn = (host: string, port: number) => own.some(each => isSame(each, host, port))
    const warnings: string[] = []
    if (proxy !== undefined) {
      const chosen = proxy === 'none' ? undefined : parseProxy(proxy, 'upstreams.proxy')
      if (chosen !== undefined && leadsTo(chosen, isOwn))
        throw invalid('upstreams.proxy', 'is this service itself')
      this.#byScheme = { 'http:': chosen, 'https:': chosen }
    } else {
      const fromEnv = (name: string) => {
        const text = env[name] || env[name.toLowerCase()]
        const chosen = text === undefined || text === '' ? undefined : parseProxy(text, name)
        if (chosen === undefined || !leadsTo(chosen, isOwn)) return chosen
        warnings.push(`${name} names this service itself: not used`)
        return undefined
      }
      this.#byScheme = { 'http:': fromEnv('HTTP_PROXY'), 'https:': fromEnv('HTTPS_PROXY') }
    }
    this.warnings = warnings
    const entries = [...(env['NO_PROXY'] || env['no_proxy'] || '').split(/[\s,]+/), ...noProxy]
    const exempt = entries
      .map(entry => entry.trim().toLowerCase())
      .filter(entry => entry !== '')
      .slice(0, NO_PROXY_ENTRIES_MAX)
    this.#exempt = [host => isLoopback(host), isOwn, ...exempt.map(readExemption)]
  }

  /** All proxies in use, for the log. */
  get used(): readonly string[] {
    const all = [this.#byScheme['https:'], this.#byScheme['http:']]
    return [...new Set(all.flatMap(proxy => (proxy === undefined ? [] : [proxy.url])))]
  }

  proxyFor(url: URL): HttpProxy | undefined {
    const proxy = url.protocol === 'http:' ? this.#byScheme['http:'] : this.#byScheme['https:']
    if (proxy === undefined) return undefined
    const host = bareHost(url.hostname)
    const port = portOf(url)
    return this.#exempt.some(isExempt => isExempt(host, port)) ? undefined : proxy
  }
}

/** What is wrong with a proxy's URL, or undefined. */
export function checkProxyUrl(text: string): string | undefined {
  try {
    if (text !== 'none') parseProxy(text, '')
    return undefined
  } catch {
    return 'must be an http:// or https:// URL, or none'
  }
}

function parseProxy(text: string, from: string): HttpProxy {
  // Others take `proxy.corp:3128` too.
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`
  const url = URL.canParse(full) ? new URL(full) : undefined
  if (url === undefined || url.hostname === '' || !/^https?:$/.test(url.protocol))
    throw invalid(from, 'must be an http:// or https:// URL')
  const { username, password } = url
  const plain = `${decode(username)}:${decode(password)}`
  const token =
    username === '' && password === '' ? undefined : `Basic ${Buffer.from(plain).toString('base64')}`
  return { url: url.origin, token }
}

/** The value is not told: it may hold a password. */
function invalid(from: string, what: string): PantalaError {
  return new PantalaError('CONFIG_INVALID', { detail: `${from} ${what}` })
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function leadsTo(proxy: HttpProxy, isOwn: (host: string, port: number) => boolean): boolean {
  const url = new URL(proxy.url)
  return isOwn(bareHost(url.hostname), portOf(url))
}

interface OwnAddress {
  readonly host: string
  readonly port: number
}

function parseOwn(text: string): OwnAddress {
  const colon = text.lastIndexOf(':')
  return { host: bareHost(text.slice(0, colon)), port: Number(text.slice(colon + 1)) }
}

/** True if `host:port` is where the service listens, also where it listens on all addresses. */
function isSame(own: OwnAddress, host: string, port: number): boolean {
  if (own.port === 0 || own.port !== port) return false
  if (own.host === host || isLoopback(host)) return true
  const everywhere = own.host === '0.0.0.0' || own.host === '::'
  return (
    everywhere &&
    Object.values(networkInterfaces()).some(list => list?.some(({ address }) => address === host) === true)
  )
}

/** One entry of NO_PROXY: `*`, a host and all under it, `.host` for those under it, an address, a range of addresses; all with `:port` if told. */
function readExemption(entry: string): (host: string, port: number) => boolean {
  if (entry === '*') return () => true
  const range = /^(.+)\/(\d{1,3})$/.exec(entry)
  if (range !== null) return readRange(bareHost(range[1]!), Number(range[2]))
  const [, name = '', wantedPort] =
    /^(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?$/.exec(entry) ?? /^(.*)$/.exec(entry) ?? []
  const wanted = bareHost(name.replace(/^\*\./, '.'))
  const under = wanted.startsWith('.') ? wanted : `.${wanted}`
  return (host, port) =>
    (wantedPort === undefined || Number(wantedPort) === port) &&
    (host === wanted || (isIP(host) === 0 && host.endsWith(under)))
}

function readRange(address: string, bits: number): (host: string) => boolean {
  const family = isIP(address)
  if (family === 0 || bits > (family === 4 ? 32 : 128)) return () => false
  const ranges = new BlockList()
  ranges.addSubnet(address, bits, family === 4 ? 'ipv4' : 'ipv6')
  return host => isIP(host) !== 0 && ranges.check(host, isIP(host) === 4 ? 'ipv4' : 'ipv6')
}

function bareHost(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '')
}

function portOf(url: URL): number {
  if (url.port !== '') return Number(url.port)
  return url.protocol === 'http:' ? 80 : 443
}
