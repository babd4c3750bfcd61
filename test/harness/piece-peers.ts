// Two ends of the piece protocol over real libp2p nodes on loopback, with memory stores; for tests of fetching and upload.
import type { TestContext } from 'node:test'
import type { Libp2p } from '@libp2p/interface'
import pino from 'pino'
import { PeerFetcher, type PeerFetcherInit } from '../../dfdaemon/fetch/peer-fetcher.ts'
import { PieceServer, type PieceServerInit } from '../../dfdaemon/upload/piece-server.ts'
import type { SeekerDesk } from '../../dfdaemon/upload/task-offer.ts'
import { systemClock } from '../../shared/clock.ts'
import type { Candidate } from '../../shared/protocol/messages.ts'
import { generateIdentity } from '../../shared/transport/identity.ts'
import { createNode, type NodeInit } from '../../shared/transport/node.ts'
import { MemoryBlobStore } from '../doubles/memory-blob-store.ts'

export const silentLogger = pino({ level: 'silent' })

export type NodeMaker = (init: Pick<NodeInit, 'privateKey' | 'listen'>) => Promise<Libp2p>

export interface ServingParent {
  readonly node: Libp2p
  readonly store: MemoryBlobStore
  readonly server: PieceServer
  readonly candidate: Candidate
  stop(): Promise<void>
}

export async function startParent(
  t: TestContext,
  init: Partial<PieceServerInit> & {
    makeNode?: NodeMaker
    admits?: (host: string, ticket: Uint8Array) => boolean
    seekers?: SeekerDesk
    isReadInParts?: () => boolean
  } = {},
): Promise<ServingParent> {
  const {
    makeNode = createNode,
    admits = () => true,
    seekers,
    isReadInParts = () => false,
    ...serverInit
  } = init
  const node = await makeNode({ privateKey: await generateIdentity(), listen: ['/ip4/127.0.0.1/tcp/0'] })
  const store = new MemoryBlobStore()
  const server = new PieceServer(
    { node, store, clock: systemClock, logger: silentLogger, admits, seekers, isReadInParts },
    { slots: 4, ...serverInit },
  )
  await server.start()
  const stop = async (): Promise<void> => {
    await server.stop()
    await node.stop()
  }
  t.after(stop)
  return { node, store, server, candidate: candidateOf(node), stop }
}

/** A node that is no seed, as a supernode would tell of it. */
export function candidateOf(node: Libp2p): Candidate {
  return { host: node.peerId.toString(), addresses: node.getMultiaddrs().map(String), seed: false }
}

export async function startChild(
  t: TestContext,
  init: PeerFetcherInit & { makeNode?: NodeMaker; ticket?: () => Uint8Array | undefined } = {},
): Promise<{ node: Libp2p; fetcher: PeerFetcher }> {
  const { makeNode = createNode, ticket = () => Buffer.from('ticket'), ...fetcherInit } = init
  const node = await makeNode({ privateKey: await generateIdentity(), listen: [] })
  const fetcher = new PeerFetcher({ node, clock: systemClock, logger: silentLogger, ticket }, fetcherInit)
  t.after(async () => {
    await fetcher.stop()
    await node.stop()
  })
  return { node, fetcher }
}
