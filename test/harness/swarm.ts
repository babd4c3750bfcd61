// A whole swarm for a test: supernode, seed, hosts and a source over real loopback libp2p in this process, each with a data directory of its own.
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { parseMetrics, type Samples, sumMetric } from '../../cli/demo/metrics-text.ts'
import type { OciLayout } from '../../cli/demo/oci-layout.ts'
import { findFreePorts, ServiceProcess } from '../../cli/demo/processes.ts'
import { SourceRegistry } from '../../cli/demo/registry.ts'
import { type Pulled, pullImage } from '../../cli/pull/pull-image.ts'
import { parseReference } from '../../cli/pull/reference.ts'
import type { Dfdaemon } from '../../dfdaemon/main.ts'
import type { Supernode } from '../../supernode/main.ts'
import { LogTail } from './log-tail.ts'
import { makeSmallImage } from './small-image.ts'
import { type Settings, settingsToFlags, startHost, startSupernodeWith } from './start-services.ts'

export interface SwarmOptions {
  readonly hosts?: number
  /** Supernodes that all hosts know; 1 unless given. */
  readonly supernodes?: number
  /** `inside` (default): a seed in this process; `process`: one that can be killed as by kill -9; `none`: no seed at all. */
  readonly seed?: 'inside' | 'process' | 'none'
  /** The image served as `swarm/app:v1`; a small one of several layers unless given. */
  readonly layerBytes?: readonly number[]
  /** `host:port` of another source, which must hold `swarm/app:v1` already; the embedded one unless given. */
  readonly sourceAddress?: string
  /** URLs that are asked before the source. */
  readonly mirrors?: readonly string[]
  /** More settings of every host (and the seed), by dotted key. */
  readonly dfdaemon?: Settings
  readonly supernode?: Settings
  /** Settings of the seed alone, over the common ones. */
  readonly seedSettings?: Settings
  /** Settings of one host, by number, over the common ones. */
  readonly perHost?: (number: number) => Settings
}

/** What the image is called at the source. */
export const repository = 'swarm/app'
const clusterSecret = 'a secret of this test only'

/** One host of the swarm; `daemon` is another object after a restart. */
export interface SwarmHost {
  readonly number: number
  readonly name: string
  readonly dataDir: string
  daemon: Dfdaemon
}

/** A host in a process of its own. */
export interface SpawnedHost {
  readonly process: ServiceProcess
  readonly daemon: Pick<Dfdaemon, 'adminUrl' | 'proxyUrl'>
}

export interface SpawnInit {
  readonly nodeOptions?: readonly string[]
  readonly wrap?: (command: string[], dataDir: string) => string[]
}

/** What a host counted. */
export interface HostCounts {
  readonly fromSource: number
  readonly fromPeers: number
  readonly fromCache: number
  readonly rejected: number
  readonly uploaded: number
  readonly samples: Samples
}

export class Swarm {
  readonly source = new SourceRegistry()
  readonly log = new LogTail()
  readonly hosts: SwarmHost[] = []
  readonly #options: SwarmOptions
  #directory = ''
  readonly #supernodes: (Supernode | undefined)[] = []
  /** By supernode; kept over its stops. */
  readonly #supernodeAddresses: (readonly string[])[] = []
  #seedProcess: ServiceProcess | undefined
  readonly #spawned: ServiceProcess[] = []
  #seed: Dfdaemon | undefined
  layout!: OciLayout

  private constructor(options: SwarmOptions) {
    this.#options = options
  }

  /** Starts everything and takes it down after the test; prints the last log lines if the test failed. */
  static async start(t: TestContext, options: SwarmOptions = {}): Promise<Swarm> {
    const swarm = new Swarm(options)
    t.after(async () => {
      if (!t.passed)
        process.stderr.write(`\nlast log lines of "${t.name}":\n${swarm.log.lines().join('\n')}\n`)
      await swarm.stop()
    })
    await swarm.#start()
    return swarm
  }

  async #start(): Promise<void> {
    this.#directory = await mkdtemp(join(tmpdir(), 'pantala-swarm-'))
    this.layout = await makeSmallImage({
      directory: join(this.#directory, 'image'),
      ...(this.#options.layerBytes === undefined ? {} : { layerBytes: this.#options.layerBytes }),
    })
    await this.source.start()
    this.source.addImage(repository, this.layout)
    for (let place = 0; place < (this.#options.supernodes ?? 1); place++) await this.startSupernode(place)
    await this.#startSeed()
    await Promise.all(Array.from({ length: this.#options.hosts ?? 2 }, () => this.addHost()))
    this.hosts.sort((a, b) => a.number - b.number)
    await this.waitUntilAdmitted()
  }

  /** The source's name in references and configuration: `127.0.0.1:PORT`. */
  get sourceName(): string {
    return this.#options.sourceAddress ?? new URL(this.source.url).host
  }

  get supernode(): Supernode {
    return this.supernodeAt(0)
  }

  supernodeAt(place: number): Supernode {
    return this.#supernodes[place]!
  }

  /** Starts a supernode, again at the same port and with the same data if it ran before. */
  async startSupernode(place = 0): Promise<void> {
    const own: Settings = { 'seed.enabled': 'false', 'api.address': '127.0.0.1:0' }
    const part = place === 0 ? 'supernode' : `supernode-${place}`
    const settings = { ...this.#common(part), ...own, ...this.#options.supernode }
    const before = /\/tcp\/(\d+)/.exec(this.#supernodeAddresses[place]?.[0] ?? '')?.[1]
    const port = before ?? (await findFreePorts(1))[0]
    const supernode = await startSupernodeWith(
      { ...settings, 'peer.address': `127.0.0.1:${port}` },
      this.log.logger(part),
    )
    this.#supernodes[place] = supernode
    this.#supernodeAddresses[place] = supernode.addresses
  }

  async stopSupernode(place = 0): Promise<void> {
    const supernode = this.#supernodes[place]
    this.#supernodes[place] = undefined
    await supernode?.stop()
  }

  /** Adds a host to the swarm and starts it. */
  async addHost(settings: Settings = {}): Promise<SwarmHost> {
    const number = this.hosts.length
    const host = {
      number,
      name: `host-${number}`,
      dataDir: join(this.#directory, `host-${number}`),
    } as SwarmHost
    this.hosts.push(host)
    await this.startHost(host, settings)
    return host
  }

  /** Starts a host that was stopped, with what it has on disk. */
  async startHost(host: SwarmHost, settings: Settings = {}): Promise<void> {
    const own = { name: host.name, ...this.#options.perHost?.(host.number), ...settings }
    host.daemon = await startHost({ ...this.#hostSettings(host.name), ...own }, this.log.logger(host.name))
  }

  async #startSeed(): Promise<void> {
    const kind = this.#options.seed ?? 'inside'
    const own = { name: 'seed', seed: 'true', ...this.#options.seedSettings }
    const settings = { ...this.#hostSettings('seed'), ...own }
    if (kind === 'inside') this.#seed = await startHost(settings, this.log.logger('seed'))
    if (kind === 'process') await this.#spawnSeed(settings)
  }

  async #spawnSeed(settings: Settings): Promise<void> {
    this.#seedProcess = (await this.#spawn('seed', settings)).process
  }

  /**
   * A host in a process of its own, ready; `nodeOptions` go before the program, and `wrap` makes the command that starts it another; it is
   * told the directory of its data, which exists. Not one of `hosts`.
   * @throws Error if it is not ready within 30 s
   */
  async spawnHost(name: string, init: SpawnInit = {}): Promise<SpawnedHost> {
    const settings = { ...this.#hostSettings(name), name }
    const spawned = await this.#spawn(name, settings, init)
    this.#spawned.push(spawned.process)
    return spawned
  }

  async #spawn(name: string, settings: Settings, init: SpawnInit = {}): Promise<SpawnedHost> {
    const { nodeOptions = [], wrap = (command: string[]) => command } = init
    const dataDir = join(this.#directory, name)
    await mkdir(dataDir, { recursive: true })
    const [admin, proxy] = await findFreePorts(2)
    const own = { 'admin.address': `127.0.0.1:${admin}`, 'proxy.address': `127.0.0.1:${proxy}` }
    const flags = settingsToFlags({ ...settings, ...own })
    const program = join(import.meta.dirname, '../../cli/main.ts')
    const [command, ...args] = wrap(
      [process.execPath, ...nodeOptions, program, 'dfdaemon', ...flags],
      dataDir,
    )
    const spawned = new ServiceProcess({
      name,
      command: command!,
      args,
      leash: true,
      onLine: line => this.log.note(line),
    })
    spawned.start()
    const adminUrl = `http://127.0.0.1:${admin}`
    const probe = async () => (await fetch(`${adminUrl}/readyz`)).ok
    await spawned.waitUntil(probe, { deadlineMs: 30_000 })
    return { process: spawned, daemon: { adminUrl, proxyUrl: `http://127.0.0.1:${proxy}` } }
  }

  /** Ends the seed without a word: kill -9 for a process, a stop without grace inside. */
  async killSeed(): Promise<void> {
    this.#seedProcess?.signal('SIGKILL')
    await this.#seedProcess?.ended
    await this.#seed?.stop()
    this.#seed = undefined
    this.#seedProcess = undefined
  }

  /** Freezes the seed process: its connections stay, nothing is answered. */
  pauseSeed(): void {
    this.#seedProcess?.signal('SIGSTOP')
  }

  /** Pulls the image on a host as a runtime would, every digest checked. */
  pull(
    host: Pick<SpawnedHost, 'daemon'>,
    init: { signal?: AbortSignal; onBytes?: (bytes: number) => void } = {},
  ): Promise<Pulled> {
    return pullImage(
      {
        registryUrl: host.daemon.proxyUrl,
        image: parseReference(`${this.sourceName}/${repository}:v1`),
        platform: { os: 'linux', architecture: 'amd64' },
      },
      init.onBytes === undefined ? {} : { onBytes: init.onBytes },
      init.signal ?? AbortSignal.timeout(60_000),
    )
  }

  pullAll(): Promise<Pulled[]> {
    return Promise.all(this.hosts.map(host => this.pull(host)))
  }

  async counts(host: Pick<SpawnedHost, 'daemon'>): Promise<HostCounts> {
    const samples = parseMetrics(await (await fetch(`${host.daemon.adminUrl}/metrics`)).text())
    const bytes = (from: string) => sumMetric(samples, 'pantala_dfdaemon_blob_bytes_total', { from })
    return {
      fromSource: bytes('source'),
      fromPeers: bytes('peer'),
      fromCache: bytes('cache'),
      rejected: sumMetric(samples, 'pantala_dfdaemon_piece_rejected_total'),
      uploaded: sumMetric(samples, 'pantala_dfdaemon_upload_bytes_total'),
      samples,
    }
  }

  /** Waits until every host is ready, that is, known to the supernode. */
  async waitUntilAdmitted(): Promise<void> {
    const daemons = [
      ...this.hosts.map(host => host.daemon),
      ...(this.#seed === undefined ? [] : [this.#seed]),
    ]
    for (const daemon of daemons) {
      await eventually(`${daemon.hostId} is ready`, async () => (await fetch(`${daemon.adminUrl}/readyz`)).ok)
    }
  }

  async stop(): Promise<void> {
    for (const spawned of this.#spawned) spawned.signal('SIGKILL')
    await Promise.allSettled(this.#spawned.map(spawned => spawned.ended))
    await Promise.allSettled(this.hosts.map(host => host.daemon?.stop()))
    await this.killSeed().catch(() => {})
    for (const place of this.#supernodes.keys()) await this.stopSupernode(place).catch(() => {})
    await this.source.stop().catch(() => {})
    if (this.#directory !== '') await rm(this.#directory, { recursive: true, force: true, maxRetries: 3 })
  }

  #common(part: string): Settings {
    return {
      dataDir: join(this.#directory, part),
      'cluster.secret': clusterSecret,
      'peer.address': '127.0.0.1:0',
      'upstreams.default': this.sourceName,
      'upstreams.registries': JSON.stringify({
        [this.sourceName]: { insecure: true, mirrors: this.#options.mirrors ?? [] },
      }),
      'shutdown.graceMs': '0',
    }
  }

  #hostSettings(part: string): Settings {
    return {
      ...this.#common(part),
      'supernode.addresses': this.#supernodeAddresses.flat().join(','),
      'proxy.address': '127.0.0.1:0',
      'admin.address': '127.0.0.1:0',
      'store.minFreeBytes': '0',
      ...this.#options.dfdaemon,
    }
  }
}

/** Waits for a condition that has to be asked for. @throws Error that names it when the deadline passes */
export async function eventually(
  what: string,
  condition: () => Promise<boolean> | boolean,
  deadlineMs = 15_000,
): Promise<void> {
  const end = performance.now() + deadlineMs
  let last: unknown
  for (;;) {
    try {
      if (await condition()) return
    } catch (error) {
      last = error
    }
    if (performance.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`, { cause: last })
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}
