// Puts a dfdaemon together and starts it: the only file that knows all its parts. Nothing is left running when a part fails to start.
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { Libp2p, PrivateKey } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { type Clock, systemClock } from '../shared/clock.ts'
import { readClusterSecret } from '../shared/config/cluster-secret.ts'
import { isPantalaError } from '../shared/errors.ts'
import { type Service, ServiceStack } from '../shared/lifecycle.ts'
import type { Logger } from '../shared/logger.ts'
import { makeDataDir } from '../shared/make-directory.ts'
import { TicketGate } from '../shared/protocol/admission.ts'
import type { HostId } from '../shared/protocol/messages.ts'
import { RegistryClient } from '../shared/source/registry-client.ts'
import { hasOwnIdentity } from '../shared/source/upstreams.ts'
import {
  ADDRESSES_TOLD_MAX,
  dialableAddresses,
  listenMultiaddrs,
  peerIdOf,
} from '../shared/transport/addresses.ts'
import { loadIdentity } from '../shared/transport/identity.ts'
import { createNode } from '../shared/transport/node.ts'
import { version } from '../shared/version.ts'
import { AdminServer } from './admin.ts'
import type { DfdaemonConfig } from './config.ts'
import { Discovery } from './discovery/discovery.ts'
import type { KadComponents } from './discovery/kad-guard.ts'
import { PeerFetcher } from './fetch/peer-fetcher.ts'
import { RegistrySource } from './fetch/registry-source.ts'
import { makeInterceptor } from './intercept/make-interceptor.ts'
import { Manifests } from './manifest/manifests.ts'
import { DfdaemonMetrics } from './metrics.ts'
import { listListeners, ProxyListeners } from './proxy/listeners.ts'
import { refuseOpenProxy } from './proxy/open-proxy.ts'
import { RequestDesk } from './proxy/request-desk.ts'
import { readTlsOptions } from './proxy/tls-port.ts'
import { hotBlobs, listHoldings } from './scheduler/holdings.ts'
import { Libp2pSchedulerClient } from './scheduler/libp2p-client.ts'
import { SupernodeSet } from './scheduler/supernode-set.ts'
import { BufferPool, PIECE_BUFFERS } from './session/buffer-pool.ts'
import { SessionTable } from './session/session-table.ts'
import { DiskStore } from './store/disk-store.ts'
import { PieceServer } from './upload/piece-server.ts'
import { SEED_DEALING } from './upload/seed-dealing.ts'

/** Buffers of what is being sent to runtimes; beyond it, small ones are made for the occasion. */
const SEND_BUFFER_BYTES_MAX = 16 * 1024 * 1024
const SESSIONS_MAX = 256
const SESSION_LINGER_MS = 10_000
const MANIFEST_CACHE_BYTES_MAX = 256 * 1024 * 1024

/** A supernode that owes an answer and sends nothing for this long is passed over for the next, in ms. */
const SUPERNODE_SILENT_MS = 1000
/** The same where there is no other: the host goes on alone after this long, in ms. */
const ONLY_SUPERNODE_SILENT_MS = 3000

/** How long it may take to show this host's ticket to one that is to be asked through the DHT, in ms. */
const GREET_MS = 3000

/** How long the start waits for the supernode's first answer, in ms; without it the daemon starts alone. */
const FIRST_WELCOME_MS = 3000

export interface Dfdaemon {
  readonly hostId: HostId
  /** Multiaddrs where other hosts fetch pieces. */
  readonly addresses: readonly string[]
  readonly proxyUrl: string
  /** Of the ports that stand for one registry each, in the order of `proxy.registries`. */
  readonly registryUrls: readonly string[]
  readonly adminUrl: string
  /** Lets running requests and uploads finish within shutdown.graceMs, then stops all parts. */
  stop(): Promise<void>
}

export interface DfdaemonComponents {
  readonly logger: Logger
  readonly clock?: Clock
  /** Node's own metrics are collected once per process; false where several daemons share one (tests). */
  readonly processMetrics?: boolean
}

/**
 * Starts a dfdaemon.
 * @throws PantalaError ADDRESS_IN_USE | DATA_DIR_UNUSABLE | CONFIG_INVALID | SUPERNODE_IDENTITY | ADMISSION_REFUSED
 */
export async function startDfdaemon(
  config: DfdaemonConfig,
  components: DfdaemonComponents,
): Promise<Dfdaemon> {
  const { logger } = components
  await makeDataDir(config.dataDir)
  const secret = await readClusterSecret(config.cluster)
  const stack = new ServiceStack({ logger })
  const identity = await loadIdentity(join(config.dataDir, 'identity.key'))
  const node = await makeNode(config, identity, logger)
  await stack.start({ name: 'node', start: () => {}, stop: () => node.stop() })
  try {
    return await startParts({ config, components, node, secret, stack })
  } catch (error) {
    await stack.stop(0)
    throw error
  }
}

interface StartContext {
  readonly config: DfdaemonConfig
  readonly components: DfdaemonComponents
  readonly node: HostNode
  readonly secret: string | undefined
  readonly stack: ServiceStack
}

async function startParts({ config, components, node, secret, stack }: StartContext): Promise<Dfdaemon> {
  const { logger, clock = systemClock } = components
  const listeners = listListeners(config)
  for (const { address, setting } of listeners)
    refuseOpenProxy(address.host, config.upstreams.allow, setting.split(' ', 1)[0])
  const metrics = new DfdaemonMetrics({ processMetrics: components.processMetrics ?? true })
  const hostId = node.peerId.toString()
  const addresses = (nearest?: string): string[] =>
    dialableAddresses(node.getMultiaddrs().map(String), nearest)

  const store = new DiskStore({ logger, clock }, { dataDir: join(config.dataDir, 'store'), ...config.store })
  const registry = new RegistryClient(
    { logger, clock },
    {
      upstreams: config.upstreams,
      ...config.source,
      env: process.env,
      ownAddresses: [config.proxy.address, ...Object.keys(config.proxy.registries)],
    },
  )
  const gate = makeGate(config, clock)
  const uploads = new PieceServer(
    {
      node,
      store,
      clock,
      logger,
      admits: (host, ticket) => gate.admits(host, ticket),
      seekers: {
        mayTell: (digest, piece) => sessions.mayTell(digest, piece),
        onSeeker: (digest, seeker) => sessions.meetSeeker(digest, seeker),
      },
      isReadInParts: digest => sessions.isReadInParts(digest),
      onUploaded: bytes => metrics.countUploaded(bytes),
    },
    { slots: config.upload.slots, ...(config.seed ? { reveal: SEED_DEALING } : {}) },
  )
  const discovery = await Discovery.load(
    {
      libp2p: node.services.inside.components,
      clock,
      logger,
      random: Math.random,
      admits: host => uploads.knows(host),
      greet: host => pieces.greet(host, AbortSignal.timeout(GREET_MS)),
      hot: () => hotBlobs(store),
    },
    { self: hostId, file: join(config.dataDir, 'welcome.json') },
  )
  gate.noteKept(discovery.kept.aheadMs)
  const scheduler = makeSupernodeSet(config, {
    node,
    clock,
    logger,
    secret,
    store,
    uploads,
    discovery,
    gate,
    addresses,
  })
  const pieces = new PeerFetcher({ node, clock, logger, ticket: () => scheduler.ticket })
  const source = new RegistrySource(
    { client: registry, clock, logger },
    { ...config.source, ...(config.upstreams.failoverMs && { failoverMs: config.upstreams.failoverMs }) },
  )
  const pool = new BufferPool({ clock }, PIECE_BUFFERS)
  const sendPool = new BufferPool({ clock }, { bytesMax: SEND_BUFFER_BYTES_MAX })
  const sessions = new SessionTable(
    {
      store,
      scheduler,
      pieces,
      source,
      registry,
      pool,
      sendPool,
      clock,
      logger,
      metrics,
      search: {
        self: hostId,
        addresses: () => addresses().slice(0, ADDRESSES_TOLD_MAX),
        find: (...wish) => discovery.find(...wish),
        tellHashes: digest => uploads.tellHashes(digest),
      },
      random: Math.random,
    },
    { sessionsMax: SESSIONS_MAX, lingerMs: SESSION_LINGER_MS, prefetch: config.proxy.prefetch },
  )
  const manifests = new Manifests(
    { scheduler, client: registry, clock, logger, metrics },
    {
      dataDir: join(config.dataDir, 'manifests'),
      ...config.manifest,
      access: {
        ...config.access,
        hasOwnCredentials: name => hasOwnIdentity(config.upstreams, name),
      },
      cacheBytesMax: MANIFEST_CACHE_BYTES_MAX,
    },
  )
  const desk = new RequestDesk(
    { manifests, blobs: sessions, registry, writes: registry, notes: manifests, clock, logger, metrics },
    // Who wants only what ranges touch does not want the whole of a layer that nobody asked for.
    { ...config.proxy, readAhead: config.proxy.readAhead && config.proxy.prefetch },
  )
  const { interceptor, guard } = await makeInterceptor(
    { desk, clock, logger, metrics },
    { ...config, env: process.env },
  )
  const tls = readTlsOptions(config.proxy.tls, { logger, clock })
  const proxy = new ProxyListeners({ desk, forwardProxy: interceptor }, { listeners, tls })
  let started = false
  const admin = new AdminServer(
    {
      registry: metrics.registry,
      notReady: () => (started ? [] : ['starting']),
      describe: () => ({
        hostId,
        name: config.name ?? hostname(),
        seed: config.seed,
        version,
        addresses: addresses(),
        supernodeConnected: scheduler.connected,
        knownHosts: discovery.knownHosts,
        dhtJoined: discovery.isJoined,
        storeBytes: store.bytes,
        quotaBytes: config.store.quotaBytes,
        storeStart: store.startSteps.list(),
        storeStuck: store.stuck.aborted,
        uploads: { slotsBusy: uploads.slotsBusy, children: uploads.childCount, bytes: uploads.uploadBytes },
        sessions: sessions.describe(),
      }),
    },
    { address: config.admin.address },
  )
  scheduler.onGrant = grant => sessions.acceptGrant(grant)
  store.onEvicted = digests => scheduler.evicted(digests)
  metrics.watch({
    storeBytes: () => store.bytes,
    storeStuck: () => store.stuck.aborted,
    sessions: () => sessions.size,
    supernodeConnected: () => scheduler.connected,
    connects: () => interceptor,
    upstreamHealth: () => registry.upstreamHealth,
  })

  // Stopped in reverse: runtimes first, then what they read from, the admin face last.
  const services: Service[] = [
    { name: 'discovery', start: () => {}, stop: () => discovery.stop() },
    { name: 'registry client', start: () => {}, stop: () => registry.close() },
    { name: 'admin', start: () => admin.start(), stop: () => admin.stop() },
    { name: 'store', start: () => store.start(), stop: () => store.stop() },
    { name: 'manifests', start: () => manifests.start(), stop: () => manifests.stop() },
    { name: 'piece fetcher', start: () => {}, stop: () => pieces.stop() },
    {
      name: 'scheduler',
      start: () => startScheduler(scheduler, config, clock, logger),
      stop: () => scheduler.stop(),
    },
    { name: 'uploads', start: () => uploads.start(), stop: graceMs => uploads.drain(graceMs) },
    { name: 'sessions', start: () => {}, stop: () => sessions.stop() },
    {
      name: 'proxy',
      start: async () => {
        await proxy.start()
        for (const url of proxy.urls) guard.addOwnPort(Number(new URL(url).port))
      },
      stop: graceMs => proxy.stop(graceMs),
    },
  ]
  for (const service of services) await stack.start(service)
  started = true
  return {
    hostId,
    addresses: node.getMultiaddrs().map(String),
    proxyUrl: proxy.urls[0]!,
    registryUrls: proxy.urls.slice(1),
    adminUrl: admin.url,
    stop: () => {
      started = false
      return stack.stop(config.shutdown.graceMs)
    },
  }
}

/** The node, with the parts of it that the DHT is made of, should it be needed. */
type HostNode = Libp2p<{ inside: { readonly components: KadComponents } }>

function makeNode(config: DfdaemonConfig, identity: PrivateKey, logger: Logger): Promise<HostNode> {
  return createNode<{ inside: { readonly components: KadComponents } }>({
    privateKey: identity,
    listen: listenMultiaddrs(config.peer.address),
    announce: config.peer.announce,
    logger,
    // Wrapped: what is a service would be started and stopped by the node, which these do.
    services: { inside: (components: KadComponents) => ({ components }) },
  })
}

/** Children are let in by a ticket that one of the configured supernodes signed. */
function makeGate(config: DfdaemonConfig, clock: Clock): TicketGate {
  const supernodeKeys = config.supernode.addresses.flatMap(address => {
    const id = peerIdOf(address)
    const key = id === undefined ? undefined : peerIdFromString(id).publicKey
    return key === undefined ? [] : [key.raw]
  })
  return new TicketGate({ clock }, { supernodeKeys })
}

/** One client for each supernode, however many addresses it has; together they are one to the rest. */
function makeSupernodeSet(
  config: DfdaemonConfig,
  parts: {
    readonly node: HostNode
    readonly clock: Clock
    readonly logger: Logger
    readonly secret: string | undefined
    readonly store: DiskStore
    readonly uploads: PieceServer
    readonly discovery: Discovery
    readonly gate: TicketGate
    addresses(nearest?: string): string[]
  },
): SupernodeSet {
  const { node, clock, logger, secret, store, uploads, discovery, gate, addresses } = parts
  const byId = Map.groupBy(config.supernode.addresses, address => peerIdOf(address) ?? address)
  const members = [...byId].map(([id, supernodes]) => {
    const client = new Libp2pSchedulerClient(
      { libp2p: node, clock, logger },
      {
        supernodes,
        ...(secret === undefined ? {} : { secret }),
        host: {
          name: config.name ?? hostname(),
          zone: config.zone,
          seed: config.seed,
          uploadSlots: config.upload.slots,
          version,
          addresses,
        },
        holdings: () => listHoldings(store),
        load: () => ({ slotsBusy: uploads.slotsBusy, storeBytes: store.bytes }),
        ticket: discovery.kept.ticket,
        onWelcome: welcome => {
          gate.noteWelcome(node.peerId.toString(), welcome)
          discovery.onWelcome(welcome)
        },
        onAway: () => {
          if (members.every(([, member]) => !member.connected)) discovery.onAway()
        },
        // With another to turn to, one that hangs is not waited for.
        silentMs: byId.size > 1 ? SUPERNODE_SILENT_MS : ONLY_SUPERNODE_SILENT_MS,
      },
    )
    return [id, client] as const
  })
  return new SupernodeSet(new Map(members))
}

/** Waits for the first welcome, but no longer than FIRST_WELCOME_MS: a supernode that is away keeps nobody from starting, a wrong one does. */
async function startScheduler(
  scheduler: SupernodeSet,
  config: DfdaemonConfig,
  clock: Clock,
  logger: Logger,
): Promise<void> {
  if (config.supernode.addresses.length === 0) {
    logger.warn('no supernode configured; every pull goes to the source')
    return
  }
  scheduler.start()
  const patience = Promise.withResolvers<'later'>()
  const timer = clock.after(FIRST_WELCOME_MS, () => patience.resolve('later'))
  try {
    const outcome = await Promise.race([scheduler.firstAttempt, patience.promise])
    if (outcome === 'later') logger.warn('supernode not reached yet; going on without it')
  } catch (error) {
    // The client has said so.
    if (!isPantalaError(error, 'SUPERNODE_AWAY')) throw error
  } finally {
    timer.cancel()
  }
}
