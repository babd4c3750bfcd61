// One dfdaemon, with or without a supernode and a seed, before a registry of a test's own, all in this process.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LogTail } from './log-tail.ts'
import { type Settings, startHost, startSupernodeWith } from './start-services.ts'

export interface PullThroughInit {
  /** `host:port` of the registry, spoken to over plain HTTP. */
  readonly registry: string
  /** What names without a registry mean; that registry unless told otherwise. */
  readonly unnamed?: string
  readonly supernode?: boolean
  /** Dfdaemons, one unless told otherwise. */
  readonly hosts?: number
  /** More settings of all services. */
  readonly settings?: Settings
}

export interface PullThrough {
  /** Base URLs of the proxies. */
  readonly urls: readonly string[]
  readonly log: LogTail
  stop(): Promise<void>
}

export async function startPullThrough(init: PullThroughInit): Promise<PullThrough> {
  const directory = await mkdtemp(join(tmpdir(), 'pantala-pull-through-'))
  const log = new LogTail()
  const stops: (() => Promise<void>)[] = [
    () => rm(directory, { recursive: true, force: true, maxRetries: 3 }),
  ]
  const stop = async () => {
    for (const each of stops.splice(0).reverse()) await each()
  }
  const common = (part: string): Settings => ({
    dataDir: join(directory, part),
    'cluster.secret': 'a secret of this test only',
    'upstreams.default': init.unnamed ?? init.registry,
    'upstreams.registries': JSON.stringify({ [init.registry]: { insecure: true } }),
    'peer.address': '127.0.0.1:0',
    'shutdown.graceMs': '0',
    ...init.settings,
  })
  try {
    let supernodes = ''
    if (init.supernode === true) {
      const own = { 'seed.enabled': 'false', 'api.address': '127.0.0.1:0' }
      const supernode = await startSupernodeWith({ ...common('supernode'), ...own }, log.logger('supernode'))
      stops.push(() => supernode.stop())
      supernodes = supernode.addresses.join(',')
    }
    const host = async (name: string, settings: Settings): Promise<string> => {
      const own = {
        name,
        'supernode.addresses': supernodes,
        'proxy.address': '127.0.0.1:0',
        'admin.address': '127.0.0.1:0',
        'store.minFreeBytes': '0',
      }
      const daemon = await startHost({ ...common(name), ...own, ...settings }, log.logger(name))
      stops.push(() => daemon.stop())
      return daemon.proxyUrl
    }
    if (init.supernode === true) await host('seed', { seed: 'true' })
    const urls: string[] = []
    for (let n = 0; n < (init.hosts ?? 1); n++) urls.push(await host(`host-${n}`, {}))
    return { urls, log, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
