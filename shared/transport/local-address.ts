// Which of this machine's addresses packets to another one leave from; asked of the kernel, nothing is sent.
import { createSocket } from 'node:dgram'

/** Our IP address on the way to the host at `address` (a multiaddr that begins with an IP address); undefined if there is no way, or it is no such multiaddr. */
export function localAddressTowards(address: string): Promise<string | undefined> {
  const [, kind, host] = /^\/(ip4|ip6)\/([^/]+)\//.exec(address) ?? []
  if (host === undefined) return Promise.resolve(undefined)
  const socket = createSocket(kind === 'ip6' ? 'udp6' : 'udp4')
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  socket.on('error', () => resolve(undefined))
  // Any port: a connected datagram socket has chosen its way and says nothing.
  socket.connect(9, host, () => resolve(socket.address().address))
  return promise.finally(() => socket.close())
}
