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

/** Addresses told to others, at most: the first of them. */
export const ADDRESSES_TOLD_MAX = 8

/** Multiaddrs to listen on for `address`: `[::]` is all of IPv6 and of IPv4, where the machine has both. @throws PantalaError CONFIG_INVALID */
export function listenMultiaddrs(address: string): string[] {
  const listen = toTcpMultiaddr(address)
  return listen.startsWith('/ip6/::/') ? [listen, listen.replace('/ip6/::/', '/ip4/0.0.0.0/')] : [listen]
}

/** Addresses that mean something on one machine or one link only. */
const localPattern = /^\/(?:ip4\/(?:127\.|169\.254\.|0\.0\.0\.0\/)|ip6\/(?:::1?\/|fe[89ab][0-9a-f]:))/i

/**
 * Those of a node's addresses that other machines can dial; local ones only where there are no others (all on one machine). First those at
 * `nearest`, the IP address from which others are reached, then both families in turn: machines may have hundreds on bridges.
 */
export function dialableAddresses(addresses: readonly string[], nearest?: string): string[] {
  const outside = addresses.filter(address => !localPattern.test(address))
  const usable = outside.length > 0 ? outside : [...addresses]
  const isNearest = (address: string) => nearest !== undefined && address.split('/', 3)[2] === nearest
  const near = usable.filter(isNearest)
  const rest = usable.filter(address => !isNearest(address))
  const sixes = rest.filter(address => address.startsWith('/ip6/'))
  const others = rest.filter(address => !address.startsWith('/ip6/'))
  const inTurn = Array.from({ length: Math.max(sixes.length, others.length) }, (_, index) => [
    others[index],
    sixes[index],
  ])
  return [...near, ...inTurn.flat().filter(address => address !== undefined)]
}

function parseMultiaddr(text: string) {
  try {
    return multiaddr(text)
  } catch (cause) {
    throw new PantalaError('CONFIG_INVALID', { detail: `${text} is not an address`, cause })
  }
}
