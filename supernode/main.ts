// Composition root of the supernode: builds all its parts from the configuration, starts them in order, and takes them down again.
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, systemClock } from '../shared/clock.ts'
import { PantalaError, toPantalaError } from '../shared/errors.ts'
import type { Logger } from '../shared/logger.ts'
import { createTicketIssuer } from '../shared/protocol/admission.ts'
import type { HostId } from '../shared/protocol/messages.ts'
import type { SourceClient } from '../shared/source/source-client.ts'
import { toTcpMultiaddr, withPeerId } from '../shared/transport/addresses.ts'
import { loadIdentity } from '../shared/transport/identity.ts'
import { createNode } from '../shared/transport/node.ts'
import type { SupernodeConfig } from './config.ts'
import { HostStreams } from './edge/host-streams.ts'
import { SourceRelay } from './edge/relay.ts'
import { type EdgeCounts, ScheduleService } from './edge/rpc.ts'
import { Scheduler } from './scheduler.ts'
import { ClusterState } from './state/cluster-state.ts'

export interface Supernode {
  readonly hostId: HostId
  /** Multiaddrs of the schedule stream, /p2p/ID included: what hosts are configured with. */
  readonly addresses: readonly string[]
  readonly apiUrl: string
  stop(): Promise<void>
}

export interface SupernodeComponents {
  readonly logger: Logger
  readonly clock?: Clock
  /** Asks the registries; absent: nothing is relayed, and small blobs are tasks like others. */
  readonly source?: SourceClient
  readonly random?: () => number
  readonly counts?: EdgeCounts
}

/**
 * Starts a supernode. If any part fails, those already started are stopped before this rejects.
 * @throws PantalaError ADDRESS_IN_USE | DATA_DIR_UNUSABLE | CONFIG_INVALID
 */
export async function startSupernode(
  config: SupernodeConfig,
  components: SupernodeComponents,
): Promise<Supernode> {
  const { logger, clock = systemClock, random = Math.random } = components
  const stops: Array<() => Promise<void>> = []
  const stop = async () => {
    for (let undo = stops.pop(); undo !== undefined; undo = stops.pop())
      await undo().catch(error => logger.warn({ err: error }, 'a part did not stop cleanly'))
  }
  try {
    await makeDataDir(config.dataDir)
    const secret = await readSecret(config.cluster)
    const privateKey = await loadIdentity(join(config.dataDir, 'identity.key'))
    const libp2p = await createNode({
      privateKey,
      listen: [toTcpMultiaddr(config.peer.address)],
      announce: config.peer.announce,
      logger,
    })
    stops.push(() => Promise.resolve(libp2p.stop()))
    const hostId = libp2p.peerId.toString()

    const state = new ClusterState()
    const streams = new HostStreams()
    const { expireMs } = config.host
    const scheduler = new Scheduler(
      { state, outbox: streams, journal: { record() {} }, random },
      { budgetRatio: config.source.budgetRatio, expireMs },
    )
    const relay =
      components.source === undefined
        ? undefined
        : new SourceRelay({ source: components.source, clock, logger }, config.manifest)
    const issueTicket = createTicketIssuer(privateKey.raw)
    const service = new ScheduleService(
      { libp2p, state, scheduler, streams, relay, issueTicket, clock, logger, counts: components.counts },
      { secret, expireMs },
    )
    await service.start()
    stops.push(() => service.stop())

    const addresses = libp2p
      .getMultiaddrs()
      .map(address => withPeerId(address.toString(), hostId))
      .filter(address => address !== undefined)
    logger.info({ hostId, addresses }, 'supernode started')
    return { hostId, addresses, apiUrl: '', stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function makeDataDir(dataDir: string): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw new PantalaError('DATA_DIR_UNUSABLE', { detail: `${dataDir}: ${(cause as Error).message}`, cause })
  }
}

async function readSecret(cluster: SupernodeConfig['cluster']): Promise<string | undefined> {
  if (cluster.secretFile === undefined) return cluster.secret
  try {
    return (await readFile(cluster.secretFile, 'utf8')).trim()
  } catch (error) {
    throw toPantalaError(error, 'CONFIG_INVALID', `cluster.secretFile: ${(error as Error).message}`)
  }
}
