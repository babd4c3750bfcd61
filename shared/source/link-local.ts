// Tells addresses that no registry lives on: link-local ranges, where clouds serve machine credentials to whoever asks from inside.
import { BlockList, isIP } from 'node:net'

function linkLocalRanges(): BlockList {
  const ranges = new BlockList()
  ranges.addSubnet('169.254.0.0', 16, 'ipv4')
  ranges.addSubnet('fe80::', 10, 'ipv6')
  // Metadata services that do not sit on a link-local address.
  ranges.addAddress('fd00:ec2::254', 'ipv6')
  ranges.addAddress('100.100.100.200', 'ipv4')
  return ranges
}

const ranges = linkLocalRanges()

/**
 * True for an address (not a name) in 169.254.0.0/16, fe80::/10 or of a known metadata service, also when written as IPv4-mapped IPv6 or
 * in brackets.
 */
export function isLinkLocal(address: string): boolean {
  const bare = address.replace(/^\[|\]$/g, '').replace(/%.*$/, '')
  const family = isIP(bare)
  if (family === 0) return false
  if (family === 4) return ranges.check(bare, 'ipv4')
  if (ranges.check(bare, 'ipv6')) return true
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/i.exec(
    new URL(`http://[${bare}]/`).hostname.slice(1, -1),
  )
  if (mapped === null) return false
  const high = Number.parseInt(mapped[1]!, 16)
  const low = Number.parseInt(mapped[2]!, 16)
  return ranges.check(`${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`, 'ipv4')
}
