// Makes the libp2p node that both services use: TCP, TLS or noise, yamux; nothing that discovers, relays or resolves by itself.
import { yamux } from '@chainsafe/libp2p-yamux'
import type { Libp2p, PrivateKey, ServiceMap } from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { createLibp2p, type ServiceFactoryMap } from 'libp2p'
import { PantalaError, toPantalaError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { lateNoise } from './late-noise.ts'
import { leanYamux } from './lean-yamux.ts'
import { makeComponentLogger } from './libp2p-logger.ts'
import { nativeTls } from './native-tls.ts'

export interface NodeInit<T extends ServiceMap = ServiceMap> {
  readonly privateKey: PrivateKey
  /** Multiaddrs to listen on; empty: dials only. */
  readonly listen: readonly string[]
  /** Multiaddrs told to others instead of those found out; empty: those found out. */
  readonly announce?: readonly string[]
  readonly logger?: Logger
  /** Connections beyond this are pruned, the inbound ones beyond it refused. */
  readonly connectionsMax?: number
  /** How long a dial may take, in ms, all addresses and the handshakes together. */
  readonly dialTimeoutMs?: number
  /** TLS on the socket itself (true unless false) or by @libp2p/tls. The same on the wire. */
  readonly nativeTls?: boolean
  /** Our own yamux (true unless false) or @chainsafe/libp2p-yamux. The same on the wire. */
  readonly leanMuxer?: boolean
  /** Receive into one reused buffer where Node lets us (true unless false). */
  readonly reuseBuffer?: boolean
  /** More libp2p services, as identify and kad-dht for the DHT. */
  readonly services?: ServiceFactoryMap<T>
}

/** Connections a node keeps, unless told otherwise: a supernode has one per host. */
export const CONNECTIONS_MAX = 12_000

/** A socket on which nothing moved for this long is closed, in ms; yamux pings every 30 s keep living ones. */
const SOCKET_INACTIVITY_MS = 90_000

/**
 * Makes and starts a node.
 * @throws PantalaError ADDRESS_IN_USE if a listen address is taken, CONFIG_INVALID if one cannot be used
 */
export async function createNode<T extends ServiceMap = ServiceMap>(init: NodeInit<T>): Promise<Libp2p<T>> {
  const connectionsMax = init.connectionsMax ?? CONNECTIONS_MAX
  const node = await createLibp2p<T>({
    start: false,
    privateKey: init.privateKey,
    nodeInfo: { name: 'pantala', version: '1', userAgent: 'pantala' },
    addresses: { listen: [...init.listen], announce: [...(init.announce ?? [])] },
    transports: [
      tcp({
        maxConnections: connectionsMax,
        backlog: 1024,
        inboundSocketInactivityTimeout: SOCKET_INACTIVITY_MS,
        outboundSocketInactivityTimeout: SOCKET_INACTIVITY_MS,
      }),
    ],
    // The order is the dialler's preference.
    connectionEncrypters: [init.nativeTls === false ? tls() : nativeTls(), lateNoise()],
    streamMuxers: [
      init.leanMuxer === false ? yamux() : leanYamux({ reuseBuffer: init.reuseBuffer !== false }),
    ],
    connectionManager: {
      maxConnections: connectionsMax,
      dialTimeout: init.dialTimeoutMs ?? 10_000,
      addressDialTimeout: 10_000,
      maxParallelDials: 64,
      maxPeerAddrsToDial: 8,
      // Many hosts behind one address (NAT, or all on one machine) start at the same moment.
      inboundConnectionThreshold: 1_000,
      maxIncomingPendingConnections: 512,
      inboundUpgradeTimeout: 10_000,
      inboundStreamProtocolNegotiationTimeout: 5_000,
      outboundStreamProtocolNegotiationTimeout: 5_000,
      // Who needs a peer again dials it; nothing is redialled unasked.
      reconnectRetries: 0,
    },
    // Protocols have deadlines of their own, and yamux has its pings.
    connectionMonitor: { enabled: false },
    logger: makeComponentLogger(init.logger),
    services: init.services as ServiceFactoryMap<T>,
  })
  try {
    await node.start()
  } catch (error) {
    await node.stop()
    throw explainListenFailure(error)
  }
  return node
}

function explainListenFailure(cause: unknown): PantalaError {
  // libp2p lists each address and its error, with a stack, in one message.
  const text = cause instanceof Error ? cause.message : ''
  const [, address, reason] = /^\s*(\/\S+): Error: (.*)$/m.exec(text) ?? []
  const detail = address === undefined ? undefined : `peer.address ${address}: ${reason}`
  if (detail !== undefined && /EADDRINUSE/.test(detail))
    return new PantalaError('ADDRESS_IN_USE', { detail, cause })
  return toPantalaError(cause, 'CONFIG_INVALID', detail)
}
