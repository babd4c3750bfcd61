// Addresses between the forms people write (`0.0.0.0:65002`) and libp2p's multiaddrs. No I/O, no name resolution.
import { isIPv4, isIPv6 } from 'node:net'
import { multiaddr } from '@multiformats/multiaddr'
import { PantalaError } from '../errors.ts'

/**
 * `host:port`, `[v6]:port` or a multiaddr, as a multiaddr over TCP.
 * @throws PantalaError CONFIG_INVALID
 */
export function toTcpMultiaddr(address: string): string {
  if (address.startsWith('/')) return parseMultiaddr(address).toString()
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/]+)):(\d{1,5})$/.exec(address)
  const port = Number(match?.[3])
  if (match === null || port > 65535)
    throw new PantalaError('CONFIG_INVALID', { detail: `${address} is not host:port` })
  const host = match[1] ?? match[2]!
  const family = isIPv4(host) ? 'ip4' : isIPv6(host) ? 'ip6' : 'dns'
  return parseMultiaddr(`/${family}/${host}/tcp/${port}`).toString()
}

/** The PeerId at the end of a multiaddr; undefined if it has none. */
export function peerIdOf(address: string): string | undefined {
  return /\/p2p\/([1-9A-HJ-NP-Za-km-z]{1,128})$/.exec(address)?.[1]
}

/** The multiaddr with `/p2p/<host>` at its end; undefined if it names another host. */
export function withPeerId(address: string, host: string): string | undefined {
  const named = peerIdOf(address)
  if (named === undefined) return `${address}/p2p/${host}`
  return named === host ? address : undefined
}

/** Addresses told to others, at most. */
const ADDRESSES_TOLD_MAX = 8

/** Those of a node's addresses that other machines can dial; loopback ones only where there are no others (all on one machine). */
export function dialableAddresses(addresses: readonly string[]): string[] {
  const outside = addresses.filter(address => !/^\/(?:ip4\/127\.|ip6\/::1\/)/.test(address))
  return (outside.length > 0 ? outside : [...addresses]).slice(0, ADDRESSES_TOLD_MAX)
}

function parseMultiaddr(text: string) {
  try {
    return multiaddr(text)
  } catch (cause) {
    throw new PantalaError('CONFIG_INVALID', { detail: `${text} is not an address`, cause })
  }
}
