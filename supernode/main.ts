// Composition root of the supernode: builds all its parts from the configuration, starts them in order, and takes them down again.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Libp2p } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { type Clock, systemClock } from '../shared/clock.ts'
import { readClusterSecret } from '../shared/config/cluster-secret.ts'
import { parseAddress } from '../shared/config/option.ts'
import { ServiceStack } from '../shared/lifecycle.ts'
import type { Logger } from '../shared/logger.ts'
import { makeDataDir } from '../shared/make-directory.ts'
import { createTicketIssuer } from '../shared/protocol/admission.ts'
import type { HostId } from '../shared/protocol/messages.ts'
import { RegistryClient } from '../shared/source/registry-client.ts'
import type { SourceClient } from '../shared/source/source-client.ts'
import { listenMultiaddrs, peerIdOf, toTcpMultiaddr, withPeerId } from '../shared/transport/addresses.ts'
import { loadIdentity } from '../shared/transport/identity.ts'
import { createNode } from '../shared/transport/node.ts'
import type { SupernodeConfig } from './config.ts'
import { ApiServer } from './edge/api.ts'
import { HostStreams } from './edge/host-streams.ts'
import { SourceRelay } from './edge/relay.ts'
import { ScheduleService } from './edge/rpc.ts'
import { Journal } from './journal.ts'
import { SupernodeMetrics } from './metrics.ts'
import { Scheduler } from './scheduler.ts'
import { writeSeedConfig } from './seed/seed-config.ts'
import { nodeLaunch, type SeedLaunch, SeedProcess } from './seed/seed-process.ts'
import { ClusterState } from './state/cluster-state.ts'

/** After a restart, how long holders of known tasks have to come back before anything is fetched anew, in ms. */
const SETTLE_MS = 3000

export interface Supernode {
  readonly hostId: HostId
  /** Multiaddrs of the schedule stream, /p2p/ID included: what hosts are configured with. */
  readonly addresses: readonly string[]
  readonly apiUrl: string
  /** Stops everything, the seed included; calling twice does no harm. */
  stop(): Promise<void>
}

export interface SupernodeComponents {
  readonly logger: Logger
  readonly clock?: Clock
  /** Asks the registries; absent: one made from the configuration. */
  readonly source?: SourceClient
  readonly random?: () => number
  /** How the seed's process is made from its arguments and environment; absent: this program again. */
  readonly launchSeed?: (args: readonly string[], env: SeedLaunch['env']) => SeedLaunch
  readonly metrics?: SupernodeMetrics
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
  const metrics = components.metrics ?? new SupernodeMetrics({ processMetrics: true })
  const { expireMs } = config.host
  await makeDataDir(config.dataDir)
  const secret = await readClusterSecret(config.cluster)
  const privateKey = await loadIdentity(join(config.dataDir, 'identity.key'))

  const stack = new ServiceStack({ logger })
  const source =
    components.source ??
    new RegistryClient({ logger, clock }, { upstreams: config.upstreams, ...config.source, env: process.env })
  const state = new ClusterState()
  const streams = new HostStreams()
  const journal = new Journal({ state, clock, logger }, { directory: join(config.dataDir, 'journal') })
  const onSourceBytes = (bytes: number) => metrics.countSourceBytes(bytes)
  const scheduler = new Scheduler(
    { state, outbox: streams, journal, random, onSourceBytes },
    { budgetRatio: config.source.budgetRatio, expireMs },
  )
  const relay = new SourceRelay(
    { source, clock, logger, onResult: result => metrics.countRelay(result) },
    { ...config.manifest, accessFreshMs: config.access.freshMs },
  )
  const notReady = () => (config.seed.enabled && state.seeds.size === 0 ? ['the seed is not connected'] : [])
  const api = new ApiServer(
    {
      state,
      scheduler,
      relayCounts: relay.counts,
      registry: metrics.registry,
      clock,
      supernodes: [
        ...new Set([
          peerIdFromPrivateKey(privateKey).toString(),
          // It may be in the list itself, so that all supernodes can be given the same one.
          ...config.supernodes.map(address => peerIdOf(address)).filter(id => id !== undefined),
        ]),
      ],
      notReady,
    },
    config.api,
  )
  metrics.watch({ hosts: () => state.hosts.size, tasks: () => state.tasks.size })

  await stack.start({ name: 'registry client', start: () => {}, stop: () => source.close() })
  await stack.start({
    name: 'journal',
    start: async () => {
      const tasks = await journal.start(SETTLE_MS)
      logger.info({ tasks }, 'journal read')
    },
    stop: () => journal.stop(),
  })
  let libp2p: Libp2p | undefined
  await stack.start({
    name: 'libp2p',
    start: async () => {
      const listen = listenMultiaddrs(config.peer.address)
      libp2p = await createNode({ privateKey, listen, announce: config.peer.announce, logger })
    },
    stop: async () => libp2p?.stop(),
  })
  const node = libp2p!
  await stack.start({ name: 'api', start: () => api.start(), stop: () => api.stop() })
  const issueTicket = createTicketIssuer(privateKey.raw)
  const service = new ScheduleService(
    { libp2p: node, scheduler, streams, relay, issueTicket, clock, logger, counts: metrics },
    { secret, expireMs },
  )
  await stack.start({ name: 'schedule', start: () => service.start(), stop: () => service.stop() })
  if (config.seed.enabled) {
    let seed: SeedProcess | undefined
    await stack.start({
      name: 'seed',
      start: async () => {
        const supernodeAddress = seedsWayHere(config, node)
        const { args, env } = await writeSeedConfig(config, { supernodeAddress, secret })
        const launch = (components.launchSeed ?? launchThisProgram)(args, env)
        seed = new SeedProcess({ clock, logger }, { launch })
        seed.start()
      },
      stop: graceMs => seed?.stop(graceMs),
    })
  }

  const hostId = node.peerId.toString()
  const addresses = node
    .getMultiaddrs()
    .map(address => withPeerId(address.toString(), hostId))
    .filter(address => address !== undefined)
  const apiUrl = api.url
  return { hostId, addresses, apiUrl, stop: () => stack.stop(config.shutdown.graceMs) }
}

/** The address at which a process on the same machine reaches the supernode. */
function seedsWayHere(config: SupernodeConfig, libp2p: Libp2p): string {
  const { host, port } = parseAddress(config.peer.address)!
  // `[::]` is IPv4, too, with a port of its own if any would do.
  const near = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
  const own = libp2p.getMultiaddrs().map(String)
  const listening = own.find(address => address.startsWith('/ip4/')) ?? own[0] ?? ''
  const bound = port !== 0 ? port : Number(/\/tcp\/(\d+)/.exec(listening)?.[1] ?? 0)
  const address = toTcpMultiaddr(near.includes(':') ? `[${near}]:${bound}` : `${near}:${bound}`)
  return `${address}/p2p/${libp2p.peerId.toString()}`
}

/** From a checkout the command's file; from a bundle the file that runs. */
function launchThisProgram(args: readonly string[], env: SeedLaunch['env']): SeedLaunch {
  // A bundle in the checkout's dist/ must not start its seed from the sources beside it.
  const inCheckout = import.meta.filename.endsWith('.ts')
  const checkout = fileURLToPath(new URL('../cli/main.ts', import.meta.url))
  return nodeLaunch(inCheckout && existsSync(checkout) ? checkout : process.argv[1]!, args, env)
}
