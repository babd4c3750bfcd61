// Options that both services take: the cluster's secret, upstream registries, logging, shutdown.
import { logLevels } from '../logger.ts'
import type { Option } from './option.ts'

/** How one registry is reached. */
export interface RegistryConfig {
  /** Base URLs tried before the registry itself, in order. */
  readonly mirrors?: readonly string[]
  /** Plain HTTP, or TLS without verification. */
  readonly insecure?: boolean
  /** PEM file of the CA that signed the registry's certificate. */
  readonly caFile?: string
}

export interface SharedConfig {
  readonly cluster: { readonly secret: string | undefined; readonly secretFile: string | undefined }
  readonly upstreams: {
    readonly default: string
    readonly registries: Readonly<Record<string, RegistryConfig>>
    readonly allow: readonly string[]
  }
  readonly manifest: { readonly tagFreshMs: number }
  readonly source: { readonly stallTimeoutMs: number }
  readonly shutdown: { readonly graceMs: number }
  readonly log: { readonly level: string; readonly format: 'auto' | 'json' | 'pretty' }
}

export const clusterOptions: readonly Option[] = [
  {
    key: 'cluster.secret',
    kind: 'secret',
    doc: 'Shared by supernode and hosts; who does not know it is not admitted. Unset: every host that reaches the supernode is.',
  },
  { key: 'cluster.secretFile', kind: 'string', doc: 'File that holds the cluster secret; read at start.' },
]

export const upstreamOptions: readonly Option[] = [
  {
    key: 'upstreams.default',
    kind: 'string',
    preset: 'docker.io',
    doc: 'Registry of requests that name none.',
  },
  {
    key: 'upstreams.registries',
    kind: 'map',
    preset: {},
    doc: 'By registry name: mirrors (list of URLs tried first), insecure (plain HTTP), caFile.',
    check: checkRegistries,
  },
  {
    key: 'upstreams.allow',
    kind: 'list',
    preset: ['*'],
    doc: 'Registries that may be contacted; * is any name over TLS; a dfdaemon takes it only while its proxy listens on loopback. Registries configured above are always allowed.',
  },
  {
    key: 'manifest.tagFreshMs',
    kind: 'duration',
    preset: '5s',
    doc: 'How long a tag is served without asking the source again.',
  },
  {
    key: 'source.stallTimeoutMs',
    kind: 'duration',
    preset: '10s',
    doc: 'A source that sends no byte for this long is cut and asked again from there, or the next mirror is.',
  },
]

export const logOptions: readonly Option[] = [
  {
    key: 'shutdown.graceMs',
    kind: 'duration',
    preset: '10s',
    doc: 'How long running transfers may go on after a stop was asked for.',
  },
  {
    key: 'log.level',
    kind: 'string',
    preset: 'info',
    choices: logLevels,
    doc: `How much is logged: ${logLevels.join(', ')}.`,
  },
  {
    key: 'log.format',
    kind: 'string',
    preset: 'auto',
    choices: ['auto', 'json', 'pretty'],
    doc: 'auto: pretty on a terminal, else JSON lines.',
  },
]

function checkRegistries(value: Readonly<Record<string, unknown>>): string | undefined {
  for (const [name, entry] of Object.entries(value)) {
    if (typeof entry !== 'object' || entry === null) return `${name}: must be a map`
    for (const [key, setting] of Object.entries(entry)) {
      const fault = checkRegistryEntry(key, setting)
      if (fault !== undefined) return `${name}.${key}: ${fault}`
    }
  }
  return undefined
}

function checkRegistryEntry(key: string, setting: unknown): string | undefined {
  switch (key) {
    case 'insecure':
      return typeof setting === 'boolean' ? undefined : 'must be true or false'
    case 'caFile':
      return typeof setting === 'string' ? undefined : 'must be a file name'
    case 'mirrors':
      return Array.isArray(setting) && setting.every(isHttpUrl)
        ? undefined
        : 'must be a list of http:// or https:// URLs'
    default:
      return 'unknown; mirrors, insecure and caFile are known'
  }
}

function isHttpUrl(text: unknown): boolean {
  return typeof text === 'string' && URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)
}
