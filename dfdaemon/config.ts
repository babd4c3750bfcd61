// The options of a dfdaemon, as a table, and as the type the rest works with.
import { checkMultiaddrs } from '../shared/config/multiaddrs.ts'
import { type Option, parseAddress } from '../shared/config/option.ts'
import {
  clusterOptions,
  logOptions,
  type SharedConfig,
  upstreamOptions,
} from '../shared/config/shared-options.ts'
import { isRegistryName } from '../shared/source/upstreams.ts'
import { checkForwardList, checkInterceptedHosts } from './intercept/outbound/host-list.ts'

export interface DfdaemonConfig extends SharedConfig {
  readonly dataDir: string
  readonly name: string | undefined
  readonly zone: string | undefined
  readonly seed: boolean
  readonly supernode: { readonly addresses: readonly string[] }
  readonly proxy: {
    readonly address: string
    /** By listening address: the one registry that it stands for. */
    readonly registries: Readonly<Record<string, string>>
    readonly requestsMax: number
    readonly stalledSendMs: number
    readonly prefetch: boolean
    readonly readAhead: boolean
    readonly forward: readonly string[]
    readonly tls: { readonly certFile: string | undefined; readonly keyFile: string | undefined }
    readonly writes: boolean
  }
  readonly intercept: { readonly hosts: readonly string[] }
  readonly access: { readonly freshMs: number; readonly awayMs: number }
  readonly peer: { readonly address: string; readonly announce: readonly string[] }
  readonly admin: { readonly address: string }
  readonly store: { readonly quotaBytes: number; readonly minFreeBytes: number }
  readonly upload: { readonly slots: number }
}

export const dfdaemonOptions: readonly Option[] = [
  {
    key: 'dataDir',
    kind: 'string',
    preset: '/var/lib/pantala/dfdaemon',
    doc: 'Where blobs, manifests and this host’s identity are kept.',
  },
  { key: 'name', kind: 'string', doc: 'A name for people. Unset: the machine’s host name.' },
  { key: 'zone', kind: 'string', doc: 'Where this host is; parents in the same zone are preferred.' },
  {
    key: 'seed',
    kind: 'boolean',
    preset: false,
    doc: 'Fetches tasks from the source for the cluster and keeps them.',
  },
  {
    key: 'supernode.addresses',
    kind: 'list',
    preset: [],
    doc: 'Multiaddrs of supernodes, each ending in /p2p/<PeerId>, tried in order. Empty: every pull goes to the source.',
    check: (value: readonly string[]) => checkMultiaddrs(value, { peerId: true }),
  },
  ...clusterOptions,
  { key: 'proxy.address', kind: 'address', preset: '127.0.0.1:65001', doc: 'Where runtimes pull.' },
  {
    key: 'proxy.registries',
    kind: 'map',
    preset: {},
    doc: 'Ports that stand for one registry each, by address: {127.0.0.1:65011: reg.lab}. There GET /v2/ shows that registry’s own challenge, so that docker login works.',
    check: checkFaces,
  },
  {
    key: 'proxy.requestsMax',
    kind: 'count',
    preset: 1024,
    doc: 'Requests served at the same time; more get 503.',
  },
  {
    key: 'proxy.stalledSendMs',
    kind: 'duration',
    preset: '120s',
    doc: 'A client that takes no byte for this long is cut.',
  },
  {
    key: 'proxy.prefetch',
    kind: 'boolean',
    preset: true,
    doc: 'After a request for a range of a blob the rest of it follows. Off: only the pieces that ranges ask for are fetched and kept, for lazy pullers.',
  },
  {
    key: 'proxy.readAhead',
    kind: 'boolean',
    preset: true,
    doc: 'While a layer is pulled the next one of its manifest is fetched too, unless proxy.prefetch is off. Off: nothing is fetched before it is asked for, where disk or network is dearer than time.',
  },
  {
    key: 'proxy.writes',
    kind: 'boolean',
    preset: true,
    doc: 'Passes pushes and deletions on to the registry, under the caller’s own credentials. Off: they get 405.',
  },
  {
    key: 'proxy.tls.certFile',
    kind: 'string',
    doc: 'PEM file of a certificate, with its chain: the proxy then speaks TLS only (HTTP/1.1 and HTTP/2), and is no HTTP(S) proxy. Read again when it changes.',
  },
  { key: 'proxy.tls.keyFile', kind: 'string', doc: 'PEM file of the key of that certificate.' },
  {
    key: 'proxy.forward',
    kind: 'list',
    preset: [],
    doc: 'Hosts that the dfdaemon, as HTTP(S) proxy, forwards to besides registries that may be contacted: host, host:port or .domain. Registries may be any host while upstreams.allow holds *.',
    check: checkForwardList,
  },
  {
    key: 'intercept.hosts',
    kind: 'list',
    preset: [],
    doc: 'Registries (host, or host:port) whose TLS connections through the dfdaemon as HTTPS proxy are answered by it, with a certificate of its own authority. See pantala ca.',
    check: checkInterceptedHosts,
  },
  {
    key: 'access.awayMs',
    kind: 'duration',
    preset: '1h',
    doc: 'How long the registry’s yes to a caller’s credentials counts on this host while the registry is away. 0: not at all.',
  },
  {
    key: 'peer.address',
    kind: 'address',
    preset: '[::]:65002',
    doc: 'Where other hosts fetch pieces (libp2p). [::] is IPv6 and IPv4.',
  },
  {
    key: 'peer.announce',
    kind: 'list',
    preset: [],
    doc: 'Multiaddrs told to others instead of those found out.',
    check: (value: readonly string[]) => checkMultiaddrs(value, { peerId: false }),
  },
  { key: 'admin.address', kind: 'address', preset: '127.0.0.1:65003', doc: 'Health, metrics and state.' },
  {
    key: 'store.quotaBytes',
    kind: 'bytes',
    preset: '50GiB',
    doc: 'Stored pieces, all blobs together; the least recently used go first.',
  },
  {
    key: 'store.minFreeBytes',
    kind: 'bytes',
    preset: '1GiB',
    doc: 'Space on the disk that is left to others.',
  },
  {
    key: 'upload.slots',
    kind: 'count',
    preset: 16,
    doc: 'Pieces sent to other hosts at the same time, at most; beyond four only while those take over 2 s.',
    check: atLeastOne,
  },
  ...upstreamOptions,
  ...logOptions,
]

/** Ports of one registry each, at most. */
const REGISTRY_PORTS_MAX = 64

function checkFaces(value: Readonly<Record<string, unknown>>): string | undefined {
  const faces = Object.entries(value)
  if (faces.length > REGISTRY_PORTS_MAX) return `at most ${REGISTRY_PORTS_MAX} ports`
  for (const [address, registry] of faces) {
    if (parseAddress(address) === undefined) return `${address}: must be host:port, as 127.0.0.1:65011`
    if (typeof registry !== 'string' || !isRegistryName(registry)) return `${address}: must name a registry`
  }
  return undefined
}

function atLeastOne(value: number): string | undefined {
  return value >= 1 ? undefined : 'must be 1 or more'
}
