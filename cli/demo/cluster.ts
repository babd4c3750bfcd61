// A whole cluster on this machine: a supernode and its hosts, every one a process of its own with its own ports and data directory.
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { findRoot } from './image.ts'
import { findFreePorts, ServiceProcess } from './processes.ts'

export interface ClusterOptions {
  readonly hosts: number
  /** The `upstreams` of every service's configuration; asked for when the first one starts. */
  readonly upstreams: () => Readonly<Record<string, unknown>>
  /** Command and first arguments that services are started by; this program, or the launcher beside it, unless given. */
  readonly program?: readonly string[]
  /** More settings for each dfdaemon (by number, from 0) or for the supernode, as their configuration files have them. */
  readonly dfdaemonSettings?: ((host: number) => HostSettings) | undefined
  readonly supernodeSettings?: Readonly<Record<string, unknown>> & {
    readonly seed?: Readonly<Record<string, unknown>>
  }
}

/** Settings of a dfdaemon; those under `proxy` are beside its address. */
export type HostSettings = Readonly<Record<string, unknown>> & { readonly proxy?: object }

export interface ClusterHost {
  readonly name: string
  readonly process: ServiceProcess
  readonly proxyUrl: string
  readonly adminUrl: string
  readonly dataDir: string
}

/** How long a service may take to be ready, in ms; many start at once on few processors. */
const readyDeadlineMs = 60_000
/** How long a service may take to end when asked to, in ms. */
const stopGraceMs = 8_000
/** Hosts that start side by side; a start is all processor time. */
const startsAtOnce = 8

export class LocalCluster {
  readonly #options: ClusterOptions
  readonly #secret = randomBytes(32).toString('hex')
  readonly #program: readonly string[]
  readonly #processes: ServiceProcess[] = []
  readonly #stopping = new AbortController()
  #directory = ''
  #supernode: ServiceProcess | undefined
  readonly hosts: ClusterHost[] = []
  apiUrl = ''
  /** Rejects with its last words when a service ends that was not asked to; never resolves. */
  readonly failed: Promise<never>
  #fail: (error: Error) => void = () => {}

  constructor(options: ClusterOptions) {
    this.#options = options
    this.#program = options.program ?? findProgram()
    this.failed = new Promise((_resolve, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => {})
  }

  get supernode(): ServiceProcess {
    return this.#supernode!
  }

  /** Starts the supernode, then the hosts; resolves when all are ready. @throws Error with the last words of the service that failed */
  async start(signal: AbortSignal, onHostReady: (number: number) => void = () => {}): Promise<void> {
    // At once, so that there is no moment in which it exists and `kill` does not know of it.
    this.#directory = mkdtempSync(join(tmpdir(), 'pantala-demo-'))
    const address = await this.#startSupernode(signal)
    const ports = await findFreePorts(this.#options.hosts * 3)
    for (let number = 0; number < this.#options.hosts; number++) {
      const [proxy, peer, admin] = ports.slice(number * 3, number * 3 + 3) as [number, number, number]
      this.hosts.push(await this.#planHost(number, address, { proxy, peer, admin }))
    }
    let next = 0
    const work = async () => {
      for (let number = next++; number < this.hosts.length; number = next++) {
        await this.#startAndWait(
          this.hosts[number]!.process,
          `${this.hosts[number]!.adminUrl}/readyz`,
          signal,
        )
        onHostReady(number)
      }
    }
    await Promise.all(Array.from({ length: startsAtOnce }, work))
  }

  /** Ends every service and removes all they stored. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await Promise.all(this.#processes.map(process => process.stop(stopGraceMs)))
    if (this.#directory !== '') await rm(this.#directory, { recursive: true, force: true, maxRetries: 3 })
  }

  /** Ends every service at once, without asking, and removes what they stored; for when this process itself is about to end. */
  kill(): void {
    this.#stopping.abort()
    for (const process of this.#processes) process.signal('SIGKILL')
    if (this.#directory !== '') rmSync(this.#directory, { recursive: true, force: true, maxRetries: 5 })
  }

  async #startSupernode(signal: AbortSignal): Promise<string> {
    const [api, peer, seed] = (await findFreePorts(3)) as [number, number, number]
    const { seed: seedSettings, ...more } = this.#options.supernodeSettings ?? {}
    const settings = {
      dataDir: join(this.#directory, 'supernode'),
      api: { address: `127.0.0.1:${api}` },
      peer: { address: `127.0.0.1:${peer}` },
      seed: { peerAddress: `127.0.0.1:${seed}`, ...seedSettings },
      upstreams: this.#options.upstreams(),
      log: { format: 'json' },
      ...more,
    }
    let address: string | undefined
    const pattern = new RegExp(`/ip4/127\\.0\\.0\\.1/tcp/${peer}/p2p/[1-9A-HJ-NP-Za-km-z]+`)
    this.apiUrl = `http://127.0.0.1:${api}`
    this.#supernode = await this.#plan('supernode', 'supernode', settings, line => {
      address ??= pattern.exec(line)?.[0]
    })
    await this.#startAndWait(this.#supernode, `${this.apiUrl}/readyz`, signal)
    if (address === undefined) throw this.#supernode.explain('the supernode named no address')
    return address
  }

  async #planHost(
    number: number,
    supernodeAddress: string,
    ports: { readonly proxy: number; readonly peer: number; readonly admin: number },
  ): Promise<ClusterHost> {
    const name = `host-${number + 1}`
    const { proxy, ...more } = this.#options.dfdaemonSettings?.(number) ?? {}
    const settings = {
      name,
      dataDir: join(this.#directory, name),
      supernode: { addresses: [supernodeAddress] },
      proxy: { address: `127.0.0.1:${ports.proxy}`, ...proxy },
      peer: { address: `127.0.0.1:${ports.peer}` },
      admin: { address: `127.0.0.1:${ports.admin}` },
      upstreams: this.#options.upstreams(),
      log: { format: 'json' },
      ...more,
    }
    return {
      name,
      process: await this.#plan(name, 'dfdaemon', settings),
      proxyUrl: `http://127.0.0.1:${ports.proxy}`,
      adminUrl: `http://127.0.0.1:${ports.admin}`,
      dataDir: settings.dataDir,
    }
  }

  async #plan(
    name: string,
    service: 'supernode' | 'dfdaemon',
    settings: Readonly<Record<string, unknown>>,
    onLine?: (line: string) => void,
  ): Promise<ServiceProcess> {
    const file = join(this.#directory, `${name}.yaml`)
    // JSON is YAML.
    await writeFile(file, JSON.stringify(settings, undefined, 2))
    await mkdir(join(this.#directory, name), { recursive: true })
    const [command, ...args] = this.#program as readonly [string, ...string[]]
    return new ServiceProcess({
      name,
      command,
      args: [...args, service, '--config', file],
      env: { ...withoutPantala(), [`PANTALA_${service.toUpperCase()}_CLUSTER_SECRET`]: this.#secret },
      leash: true,
      onLine,
    })
  }

  async #startAndWait(process: ServiceProcess, readyUrl: string, signal: AbortSignal): Promise<void> {
    const stopping = AbortSignal.any([signal, this.#stopping.signal])
    stopping.throwIfAborted()
    process.start()
    this.#processes.push(process)
    process.ended.then(() => {
      if (!this.#stopping.signal.aborted) this.#fail(process.explain(`${process.name} ended unasked`))
    })
    const probe = async () => (await fetch(readyUrl, { signal: AbortSignal.timeout(2_000) })).ok
    await process.waitUntil(probe, { deadlineMs: readyDeadlineMs, signal: stopping })
  }
}

/** Upstreams that make a plain-HTTP registry at `host:port` the default one. */
export function plainHttpUpstreams(address: string): Readonly<Record<string, unknown>> {
  return { default: address, registries: { [address]: { insecure: true } } }
}

/** The command this process was started by, so that its services are of the same version; the launcher beside it if that was another program. */
function findProgram(): string[] {
  const entry = process.argv[1] ?? ''
  const own =
    basename(entry) === 'pantala' || /[/\\]cli[/\\]main\.ts$/.test(entry) || /pantala\.[cm]?js$/.test(entry)
  if (own) return [process.execPath, ...process.execArgv, entry]
  const launcher = join(findRoot(), 'cli', 'pantala')
  return existsSync(launcher) ? [launcher] : [process.execPath, join(findRoot(), 'cli', 'main.ts')]
}

/** The user's own PANTALA_* settings must not reach the demo's services. */
function withoutPantala(): Record<string, undefined> {
  const names = Object.keys(process.env).filter(name => name.startsWith('PANTALA_'))
  return Object.fromEntries(names.map(name => [name, undefined]))
}
