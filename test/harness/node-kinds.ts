// Nodes of every make that must understand each other: ours, stock libp2p with @libp2p/tls, and stock with noise alone.
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import type { StreamMuxerFactory } from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { createLibp2p } from 'libp2p'
import { leanYamux } from '../../shared/transport/lean-yamux.ts'
import { createNode } from '../../shared/transport/node.ts'
import type { NodeMaker } from './piece-peers.ts'

const makeStock =
  (encrypter: typeof noise | typeof tls, muxer: () => StreamMuxerFactory): NodeMaker =>
  ({ privateKey, listen }) =>
    createLibp2p({
      privateKey,
      addresses: { listen: [...listen] },
      transports: [tcp()],
      connectionEncrypters: [encrypter()],
      streamMuxers: [muxer],
      connectionMonitor: { enabled: false },
      connectionManager: { inboundConnectionThreshold: 1000 },
    })

export const nodeKinds: Readonly<Record<string, NodeMaker>> = {
  ours: createNode,
  'ours without the reused buffer': init => createNode({ ...init, reuseBuffer: false }),
  'ours with stock tls': init => createNode({ ...init, nativeTls: false }),
  'ours with stock yamux': init => createNode({ ...init, leanMuxer: false }),
  'stock tls': makeStock(tls, yamux()),
  'stock noise': makeStock(noise, yamux()),
  'stock noise, lean yamux': makeStock(noise, leanYamux()),
}
