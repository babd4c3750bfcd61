// Keeps a proxy that others can reach from fetching from anywhere on their behalf. Pure.
import { BlockList, isIP } from 'node:net'
import { PantalaError } from '../../shared/errors.ts'

/**
 * Any registry may be allowed only to callers on this machine: reachable from elsewhere, the proxy would ask whatever host a stranger names,
 * from inside the network it is in.
 * @throws PantalaError CONFIG_INVALID if the proxy listens beyond loopback and `*` is among the allowed registries
 */
export function refuseOpenProxy(host: string, allow: readonly string[], option = 'proxy.address'): void {
  if (!allow.includes('*') || isLoopback(host)) return
  throw new PantalaError('CONFIG_INVALID', {
    detail: `${option} ${host} can be reached from elsewhere: upstreams.allow must then list the registries instead of *`,
  })
}

/** True for addresses that only this machine reaches; any name but localhost may be anything. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === 'localhost') return true
  const family = isIP(host)
  if (family === 0) return false
  const loopback = new BlockList()
  loopback.addSubnet('127.0.0.0', 8, 'ipv4')
  loopback.addAddress('::1', 'ipv6')
  // IPv4-mapped addresses are held against the IPv4 ranges.
  return loopback.check(host, family === 4 ? 'ipv4' : 'ipv6')
}
