// The options of a supernode, as a table, and as the type the rest works with.
import { checkMultiaddrs } from '../shared/config/multiaddrs.ts'
import type { Option } from '../shared/config/option.ts'
import {
  clusterOptions,
  logOptions,
  type SharedConfig,
  upstreamOptions,
} from '../shared/config/shared-options.ts'

export interface SupernodeConfig extends SharedConfig {
  readonly dataDir: string
  readonly api: { readonly address: string }
  readonly peer: { readonly address: string; readonly announce: readonly string[] }
  readonly seed: {
    readonly enabled: boolean
    readonly peerAddress: string
    readonly quotaBytes: number
    readonly zone?: string | undefined
  }
  readonly host: { readonly expireMs: number }
  readonly supernodes: readonly string[]
  readonly source: SharedConfig['source'] & { readonly budgetRatio: number }
}

export const supernodeOptions: readonly Option[] = [
  {
    key: 'dataDir',
    kind: 'string',
    preset: '/var/lib/pantala/supernode',
    doc: 'Where the journal, the identity and the seed’s store are kept.',
  },
  ...clusterOptions,
  { key: 'api.address', kind: 'address', preset: '127.0.0.1:8002', doc: 'HTTP API, health and metrics.' },
  {
    key: 'peer.address',
    kind: 'address',
    preset: '[::]:8001',
    doc: 'Where hosts connect (libp2p). [::] is IPv6 and IPv4.',
  },
  {
    key: 'peer.announce',
    kind: 'list',
    preset: [],
    doc: 'Multiaddrs shown as this supernode’s own instead of those found out.',
    check: (value: readonly string[]) => checkMultiaddrs(value, { peerId: false }),
  },
  {
    key: 'seed.enabled',
    kind: 'boolean',
    preset: true,
    doc: 'Brings a seed of its own, in a process of its own.',
  },
  {
    key: 'seed.peerAddress',
    kind: 'address',
    preset: '[::]:8003',
    doc: 'Where hosts fetch pieces from the seed (libp2p).',
  },
  { key: 'seed.quotaBytes', kind: 'bytes', preset: '50GiB', doc: 'Stored pieces of the seed.' },
  {
    key: 'seed.zone',
    kind: 'string',
    doc: 'Where the seed is; unset: as near to all hosts as their own zone.',
  },
  {
    key: 'host.expireMs',
    kind: 'duration',
    preset: '15s',
    doc: 'A host that says nothing for this long is forgotten.',
  },
  {
    key: 'supernodes',
    kind: 'list',
    preset: [],
    doc: 'Multiaddrs of the cluster’s other supernodes, each ending in /p2p/<PeerId>: its own seed serves them, too.',
    check: (value: readonly string[]) => checkMultiaddrs(value, { peerId: true }),
  },
  {
    key: 'source.budgetRatio',
    kind: 'ratio',
    preset: 1.6,
    doc: 'Hard cap of what one task may cost the source, as a multiple of its size; above 1 only when hosts that fetched were lost.',
    check: (value: number) => (value >= 1 ? undefined : 'must be 1 or more'),
  },
  ...upstreamOptions,
  ...logOptions,
]
