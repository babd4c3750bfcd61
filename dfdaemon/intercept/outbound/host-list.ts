// Reads the lists of hosts in the options: which are intercepted, and which are forwarded to besides registries. Pure.
import { canonicalRegistry } from '../../../shared/source/upstreams.ts'
import { readTarget, showTarget, type Target } from './host-name.ts'

/** Hosts that may be listed: what the authority vouches for is written into its certificate. */
const HOSTS_MAX = 64

const HTTPS_PORT = 443

/** Under which name runtimes connect to Docker Hub. */
const DOCKER_HUB = 'registry-1.docker.io'

/** Hosts and ports of `intercept.hosts`; a name without a port is at 443, every name of Docker Hub is the one runtimes connect to. */
export function readInterceptedHosts(list: readonly string[]): readonly Target[] {
  const targets = new Map<string, Target>()
  for (const entry of list) {
    const target = readTarget(canonicalRegistry(entry) === 'docker.io' ? DOCKER_HUB : entry, HTTPS_PORT)
    if (target !== undefined) targets.set(showTarget(target), target)
  }
  return [...targets.values()]
}

/** Host names and addresses of the list, for the authority's certificate. */
export function listAuthorityHosts(list: readonly string[]): readonly string[] {
  return [...new Set(readInterceptedHosts(list).map(({ host }) => host))]
}

/** What is wrong with `intercept.hosts`; undefined if nothing. */
export function checkInterceptedHosts(list: readonly string[]): string | undefined {
  const wrong = list.find(entry => readTarget(entry, HTTPS_PORT) === undefined)
  if (wrong !== undefined) return `${JSON.stringify(wrong)} is no registry as host or host:port`
  return list.length > HOSTS_MAX ? `${HOSTS_MAX} hosts at most` : undefined
}

/** Whom a list of `host`, `host:port`, `.domain` lets through. */
export class ForwardList {
  readonly #targets = new Set<string>()
  readonly #domains: readonly string[]

  constructor(list: readonly string[]) {
    this.#domains = list.filter(entry => entry.startsWith('.')).map(entry => entry.toLowerCase())
    for (const entry of list) {
      const target = readTarget(entry, HTTPS_PORT)
      if (target === undefined) continue
      this.#targets.add(showTarget(target))
      if (!/:\d+$/.test(entry)) this.#targets.add(showTarget({ host: target.host, port: 80 }))
    }
  }

  /** A host without a port is meant at 443 and 80, a domain with every host below it at these. */
  has(target: Target): boolean {
    if (this.#targets.has(showTarget(target))) return true
    const isUsual = target.port === HTTPS_PORT || target.port === 80
    return isUsual && this.#domains.some(domain => target.host.endsWith(domain))
  }
}

/** What is wrong with `proxy.forward`; undefined if nothing. */
export function checkForwardList(list: readonly string[]): string | undefined {
  const wrong = list.find(entry => {
    const text = entry.startsWith('.') ? entry.slice(1) : entry
    return readTarget(text, HTTPS_PORT) === undefined || (entry.startsWith('.') && /:\d+$/.test(entry))
  })
  return wrong === undefined ? undefined : `${JSON.stringify(wrong)} is no host, host:port or .domain`
}
