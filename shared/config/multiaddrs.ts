// Checks options that are lists of multiaddrs by their spelling, before libp2p, which is loaded only by what runs, meets them.
import { isIP } from 'node:net'

/** The multihash of an Ed25519 key in base58: the only PeerIds that Pantala's services have. */
const peerIdPattern = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/

/** What is wrong if one of them is none, or undefined. `peerId`: each must end in /p2p/<PeerId>; without, it may. */
export function checkMultiaddrs(
  addresses: readonly string[],
  wish: { readonly peerId: boolean },
): string | undefined {
  if (addresses.every(address => isSound(address, wish.peerId))) return undefined
  const ending = wish.peerId ? '/p2p/12D3KooW… with the whole PeerId' : ''
  return `must be multiaddrs like /ip4/10.0.0.5/tcp/8001${ending}`
}

function isSound(address: string, wantsPeerId: boolean): boolean {
  const parts = /^\/(ip4|ip6|dns|dns4|dns6)\/([^/]+)\/tcp\/(\d{1,5})(?:\/p2p\/([^/]+))?$/.exec(address)
  if (parts === null) return false
  const [, family, host, port, peerId] = parts
  const soundHost = family === 'ip4' ? isIP(host!) === 4 : family === 'ip6' ? isIP(host!) === 6 : true
  const soundPeerId = peerId === undefined ? !wantsPeerId : peerIdPattern.test(peerId)
  return soundHost && soundPeerId && Number(port) <= 65_535
}
