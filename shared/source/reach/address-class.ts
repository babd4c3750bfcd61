// Tells addresses and names that no registry lives on: link-local ranges and metadata services, where clouds hand machine credentials to
// whoever asks from inside; and loopback. Looks nothing up.
import { BlockList, isIP } from 'node:net'

function forbiddenRanges(): BlockList {
  const ranges = new BlockList()
  ranges.addSubnet('169.254.0.0', 16, 'ipv4')
  ranges.addSubnet('fe80::', 10, 'ipv6')
  // Metadata services that do not sit on a link-local address: AWS, Google Cloud, Alibaba, Oracle, Azure.
  ranges.addAddress('fd00:ec2::254', 'ipv6')
  ranges.addAddress('fd20:ce::254', 'ipv6')
  ranges.addAddress('100.100.100.200', 'ipv4')
  ranges.addAddress('192.0.0.192', 'ipv4')
  ranges.addAddress('168.63.129.16', 'ipv4')
  return ranges
}

function loopbackRanges(): BlockList {
  const ranges = new BlockList()
  ranges.addSubnet('127.0.0.0', 8, 'ipv4')
  ranges.addAddress('::1', 'ipv6')
  // "This host": connecting there reaches loopback.
  ranges.addSubnet('0.0.0.0', 8, 'ipv4')
  ranges.addAddress('::', 'ipv6')
  return ranges
}

const forbidden = forbiddenRanges()
const loopback = loopbackRanges()

const metadataNames: ReadonlySet<string> = new Set([
  'metadata',
  'metadata.goog',
  'metadata.google.internal',
  'metadata.azure.internal',
  'metadata.tencentyun.com',
  'instance-data',
  'instance-data.ec2.internal',
])

/**
 * True for an address in 169.254.0.0/16 or fe80::/10 or of a known metadata service, also when written as IPv6 that carries IPv4 or in
 * brackets, and for the names of metadata services. Any other name is only as good as what it resolves to.
 */
export function isLinkLocal(host: string): boolean {
  return matches(host, forbidden) || metadataNames.has(bareName(host))
}

/** True for an address that leads back to this machine, and for `localhost` and names under it. */
export function isLoopback(host: string): boolean {
  return matches(host, loopback) || /(?:^|\.)localhost$/.test(bareName(host))
}

function bareName(host: string): string {
  return host.toLowerCase().replace(/\.$/, '')
}

function matches(host: string, ranges: BlockList): boolean {
  const bare = host.replace(/^\[|\]$/g, '').replace(/%.*$/, '')
  const family = isIP(bare)
  if (family === 0) return false
  if (family === 4) return ranges.check(bare, 'ipv4')
  if (ranges.check(bare, 'ipv6')) return true
  return carriedIpv4(bare).some(address => ranges.check(address, 'ipv4'))
}

/** IPv4 addresses that an IPv6 one stands for: mapped, compatible, NAT64 and 6to4 forms. */
function carriedIpv4(address: string): string[] {
  const words = wordsOf(address)
  const at = (index: number) =>
    [words[index]! >> 8, words[index]! & 255, words[index + 1]! >> 8, words[index + 1]! & 255].join('.')
  const zeros = (from: number, to: number) => words.slice(from, to).every(word => word === 0)
  if (zeros(0, 5) && (words[5] === 0xffff || (words[5] === 0 && words[6] !== 0))) return [at(6)]
  if (words[0] === 0x64 && words[1] === 0xff9b) return [at(6)]
  if (words[0] === 0x2002) return [at(1)]
  return []
}

/** The eight words of an IPv6 address. */
function wordsOf(address: string): number[] {
  // The URL parser writes a dotted tail as words.
  const plain = new URL(`http://[${address}]/`).hostname.slice(1, -1)
  const [head = '', tail] = plain.split('::')
  const read = (text: string) => (text === '' ? [] : text.split(':').map(word => Number.parseInt(word, 16)))
  const [first, last] = [read(head), read(tail ?? '')]
  return [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last]
}
