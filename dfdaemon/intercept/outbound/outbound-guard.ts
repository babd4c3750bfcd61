// Says whom the dfdaemon, as HTTP(S) proxy, connects to on a client's behalf: no open relay, no way to what only this machine may reach.
import { BlockList, isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { PantalaError } from '../../../shared/errors.ts'
import { isLinkLocal, isLoopback } from '../../../shared/source/reach/address-class.ts'
import { canonicalRegistry } from '../../../shared/source/upstreams.ts'
import { ForwardList } from './host-list.ts'
import { showTarget, type Target } from './host-name.ts'

export interface OutboundInit {
  /** Registries as configured: the names that the operator wrote down. */
  readonly upstreams: {
    readonly default: string
    readonly registries: Readonly<Record<string, { readonly mirrors?: readonly string[] }>>
    readonly allow: readonly string[]
  }
  /** `proxy.forward`. */
  readonly forward: readonly string[]
  readonly intercepted: readonly Target[]
  /** True where the proxy listens on loopback: then its callers are on this machine, and could connect by themselves. */
  readonly isLocal: boolean
}

/** Ports below this are other services' than registries', but for those of HTTP. */
const SYSTEM_PORTS_MAX = 1023

export class OutboundGuard {
  readonly #listed: ForwardList
  readonly #anyone: boolean
  readonly #own = new Set<number>()

  constructor(init: OutboundInit) {
    const { upstreams, forward, intercepted, isLocal } = init
    const mirrors = Object.values(upstreams.registries).flatMap(({ mirrors = [] }) =>
      mirrors.map(mirror => new URL(mirror).host),
    )
    const registries = [upstreams.default, ...Object.keys(upstreams.registries), ...upstreams.allow].flatMap(
      spellings,
    )
    this.#listed = new ForwardList([...registries, ...mirrors, ...forward, ...intercepted.map(showTarget)])
    this.#anyone = isLocal && upstreams.allow.includes('*')
  }

  /** The dfdaemon's own ports, known once it listens. */
  addOwnPort(port: number): void {
    this.#own.add(port)
  }

  /** @throws PantalaError UPSTREAM_FORBIDDEN */
  check(target: Target): void {
    if (this.#listed.has(target)) return
    const name = showTarget(target)
    if (isLinkLocal(target.host))
      throw new PantalaError('UPSTREAM_FORBIDDEN', { detail: `${name} is a metadata service or link-local` })
    if (!this.#anyone) throw new PantalaError('UPSTREAM_FORBIDDEN', { detail: `${name} is not listed` })
    if (target.port <= SYSTEM_PORTS_MAX && target.port !== 443 && target.port !== 80)
      throw new PantalaError('UPSTREAM_FORBIDDEN', {
        detail: `${name}: no registry’s port, unless it is listed`,
      })
  }

  /**
   * Called with each address before it is connected to.
   * @throws PantalaError UPSTREAM_FORBIDDEN | LOOP_DETECTED
   */
  checkAddress(target: Target, address: string): void {
    const name = showTarget(target)
    if (this.#own.has(target.port) && isThisMachine(address))
      throw new PantalaError('LOOP_DETECTED', { detail: `${name} is this dfdaemon itself` })
    if (this.#listed.has(target)) return
    if (isLinkLocal(address) || isLoopback(address) || isOdd(address))
      throw new PantalaError('UPSTREAM_FORBIDDEN', {
        detail: `${name} is at ${address}: link-local and loopback addresses only when listed`,
      })
  }
}

/** The hosts that a registry's name stands for. */
function spellings(name: string): string[] {
  if (name === '*') return []
  return canonicalRegistry(name) === 'docker.io'
    ? ['docker.io', 'index.docker.io', 'registry-1.docker.io']
    : [name]
}

/** Multicast, broadcast and reserved ranges; IPv4-mapped addresses are held against the IPv4 ranges. */
function oddRanges(): BlockList {
  const ranges = new BlockList()
  ranges.addSubnet('224.0.0.0', 3, 'ipv4')
  ranges.addSubnet('ff00::', 8, 'ipv6')
  return ranges
}

const odd = oddRanges()

function isOdd(address: string): boolean {
  return odd.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
}

function isThisMachine(address: string): boolean {
  if (isLoopback(address)) return true
  const own = new BlockList()
  for (const entry of Object.values(networkInterfaces()).flatMap(entries => entries ?? []))
    own.addAddress(entry.address.replace(/%.*$/, ''), entry.family === 'IPv6' ? 'ipv6' : 'ipv4')
  // IPv4-mapped addresses are held against the IPv4 ones.
  return own.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
}
