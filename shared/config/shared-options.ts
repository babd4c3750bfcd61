// Options that both services take: the cluster's secret, upstream registries, logging, shutdown.
import { logLevels } from '../logger.ts'
import { checkProxyUrl } from '../source/reach/http-proxy.ts'
import type { RegistryConfig, UpstreamsConfig } from '../source/registry-config.ts'
import type { Option } from './option.ts'

export interface SharedConfig {
  readonly cluster: { readonly secret: string | undefined; readonly secretFile: string | undefined }
  readonly upstreams: UpstreamsConfig
  readonly manifest: { readonly tagFreshMs: number }
  readonly access: { readonly freshMs: number }
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
    doc: 'By registry name: mirrors (list of URLs tried first), insecure (plain HTTP), caFile, certFile and keyFile (client certificate), skipVerify (TLS without verification), credentialsFile (docker config.json or Kubernetes pull secret), useForClients (those credentials also serve clients that send none).',
    check: checkRegistries,
  },
  {
    key: 'upstreams.allow',
    kind: 'list',
    preset: ['*'],
    doc: 'Registries that may be contacted; * is any name over TLS; a dfdaemon takes it only while its proxy listens on loopback. Registries configured above are always allowed.',
  },
  {
    key: 'upstreams.failoverMs',
    kind: 'duration',
    preset: '1500ms',
    doc: 'A registry or mirror that sends nothing for this long is left for the next one, where there is another.',
    check: (value: number) => (value >= 100 ? undefined : 'must be 100ms or more'),
  },
  {
    key: 'upstreams.proxy',
    kind: 'secret',
    doc: 'URL of the HTTP proxy towards registries; none: no proxy. Unset: HTTPS_PROXY and HTTP_PROXY of the environment.',
    check: checkProxyUrl,
  },
  {
    key: 'upstreams.noProxy',
    kind: 'list',
    preset: [],
    doc: 'Hosts, domains and address ranges reached without that proxy, besides NO_PROXY; loopback always is.',
  },
  {
    key: 'manifest.tagFreshMs',
    kind: 'duration',
    preset: '5s',
    doc: 'How long a tag is served without asking the source again.',
  },
  {
    key: 'access.freshMs',
    kind: 'duration',
    preset: '60s',
    doc: 'How long the registry’s yes to a caller’s credentials counts for a repository; a withdrawn right ends after that. 0: the registry is asked each time.',
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

const registryKeys: readonly (keyof RegistryConfig)[] = [
  'mirrors',
  'insecure',
  'caFile',
  'certFile',
  'keyFile',
  'skipVerify',
  'credentialsFile',
  'useForClients',
]

function checkRegistries(value: Readonly<Record<string, unknown>>): string | undefined {
  for (const [name, entry] of Object.entries(value)) {
    if (typeof entry !== 'object' || entry === null) return `${name}: must be a map`
    for (const [key, setting] of Object.entries(entry)) {
      const fault = checkRegistryEntry(key, setting)
      if (fault !== undefined) return `${name}.${key}: ${fault}`
    }
    const fault = checkTogether(entry as RegistryConfig)
    if (fault !== undefined) return `${name}: ${fault}`
  }
  return undefined
}

function checkRegistryEntry(key: string, setting: unknown): string | undefined {
  switch (key) {
    case 'insecure':
    case 'skipVerify':
    case 'useForClients':
      return typeof setting === 'boolean' ? undefined : 'must be true or false'
    case 'caFile':
    case 'certFile':
    case 'keyFile':
    case 'credentialsFile':
      return typeof setting === 'string' && setting !== '' ? undefined : 'must be a file name'
    case 'mirrors':
      return Array.isArray(setting) && setting.every(isHttpUrl)
        ? undefined
        : 'must be a list of http:// or https:// URLs'
    default:
      return `unknown; known are ${registryKeys.join(', ')}`
  }
}

function checkTogether(entry: RegistryConfig): string | undefined {
  if ((entry.certFile === undefined) !== (entry.keyFile === undefined))
    return 'certFile and keyFile go together'
  if (entry.useForClients !== undefined && entry.credentialsFile === undefined)
    return 'useForClients needs a credentialsFile'
  return undefined
}

function isHttpUrl(text: unknown): boolean {
  return typeof text === 'string' && URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)
}
