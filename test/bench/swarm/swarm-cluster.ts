// Supernode, hosts, registry and clients as processes in namespaces: started, told to pull, read off, stopped. Runs inside a namespace on the same switch.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { plainHttpUpstreams } from '../../../cli/demo/cluster.ts'
import { parseMetrics, sumMetric } from '../../../cli/demo/metrics-text.ts'
import type { OciLayout } from '../../../cli/demo/oci-layout.ts'
import { ServiceProcess } from '../../../cli/demo/processes.ts'
import { DockerRegistry } from '../../harness/docker-registry.ts'
import { bundledProgram } from '../bundle.ts'
import { findChildren, readCpuSeconds } from '../measure.ts'
import type { ClientAnswer, ClientOrder } from './client.ts'
import { addressOf, type Namespaces } from './namespaces.ts'

export const REGISTRY_NUMBER = 250
export const SUPERNODE_NUMBER = 251
export const CONTROL_NUMBER = 252
const REGISTRY_PORT = 5000
const REPOSITORY = 'bench/image'
/** Of the image that everybody pulls before anything is measured. */
export const WARM_UP_REPOSITORY = 'bench/warm-up'
const READY_MS = 60_000

export interface SwarmHost {
  readonly node: string
  readonly address: string
  readonly zone: 'a' | 'b'
  readonly settings: string
  process: ServiceProcess
  readonly client: BenchClient
}

export class SwarmCluster {
  readonly registry: DockerRegistry
  readonly hosts: SwarmHost[] = []
  readonly #namespaces: Namespaces
  readonly #directory: string
  readonly #secret = randomBytes(32).toString('hex')
  #supernode: ServiceProcess | undefined
  #supernodeAddress = ''

  readonly #nodeFlags: readonly string[]

  constructor(namespaces: Namespaces, directory: string, profileDirectory?: string) {
    this.#nodeFlags =
      profileDirectory === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDirectory}`]
    this.#namespaces = namespaces
    this.#directory = directory
    this.registry = new DockerRegistry({
      prefix: namespaces.prefix('reg'),
      host: addressOf(REGISTRY_NUMBER),
      port: REGISTRY_PORT,
    })
  }

  get supernodePid(): number {
    return this.#supernode!.pid!
  }

  get seedPid(): number | undefined {
    return findChildren(this.supernodePid)[0]
  }

  async startRegistry(layout: OciLayout): Promise<void> {
    await this.registry.start()
    await this.push(layout, REPOSITORY)
  }

  push(layout: OciLayout, repository: string): Promise<void> {
    return this.registry.push(layout, repository)
  }

  async startSupernode(): Promise<void> {
    const address = addressOf(SUPERNODE_NUMBER)
    const settings = {
      dataDir: join(this.#directory, 'supernode'),
      api: { address: `${address}:8002` },
      peer: { address: `${address}:8001` },
      seed: { peerAddress: `${address}:8003`, zone: 'zone-a' },
      upstreams: plainHttpUpstreams(this.registry.address),
      log: { format: 'json', level: 'warn' },
    }
    this.#supernode = await this.#plan('sn', 'supernode', 'supernode', {
      ...settings,
      log: { format: 'json' },
    })
    let found = ''
    this.#supernode.start()
    await this.#supernode.waitUntil(
      async () => {
        found ||= findAddress(this.#supernode!.tail(), address)
        return found !== '' && (await fetch(`http://${address}:8002/readyz`)).ok
      },
      { deadlineMs: READY_MS },
    )
    this.#supernodeAddress = found
  }

  async addHost(number: number, zone: 'a' | 'b'): Promise<void> {
    const node = `h${number}`
    const address = addressOf(number)
    const settings = {
      name: node,
      zone: `zone-${zone}`,
      dataDir: join(this.#directory, node),
      supernode: { addresses: [this.#supernodeAddress] },
      proxy: { address: '127.0.0.1:65001' },
      peer: { address: `${address}:65002` },
      admin: { address: `${address}:65003` },
      upstreams: plainHttpUpstreams(this.registry.address),
      log: { format: 'json', level: 'warn' },
    }
    const process = await this.#plan(node, 'dfdaemon', node, settings)
    const client = new BenchClient(this.#namespaces, node)
    const host = { node, address, zone, settings: node, process, client }
    this.hosts.push(host)
    await this.#startHost(host)
    await client.start()
  }

  pull(host: SwarmHost, repository = REPOSITORY): Promise<ClientAnswer> {
    return host.client.pull({ registryUrl: 'http://127.0.0.1:65001', repository, tag: 'v1' })
  }

  pullDirect(host: SwarmHost): Promise<ClientAnswer> {
    return host.client.pull({ registryUrl: this.registry.url, repository: REPOSITORY, tag: 'v1' })
  }

  kill(host: SwarmHost): void {
    host.process.signal('SIGKILL')
  }

  /** After `kill`: with what lies on its disk. */
  async restart(host: SwarmHost): Promise<void> {
    await host.process.ended
    host.process = await this.#plan(host.node, 'dfdaemon', host.node, undefined)
    await this.#startHost(host)
  }

  async uploadBytes(host: SwarmHost): Promise<number> {
    const text = await (await fetch(`http://${host.address}:65003/metrics`)).text()
    return sumMetric(parseMetrics(text), 'pantala_dfdaemon_upload_bytes_total')
  }

  /** CPU seconds so far of all that takes part, by role. */
  readCpu(): Readonly<Record<'supernode' | 'seed' | 'hosts', number>> {
    const seed = this.seedPid
    return {
      supernode: readCpuSeconds(this.supernodePid),
      seed: seed === undefined ? 0 : readCpuSeconds(seed),
      hosts: this.hosts.reduce((sum, host) => sum + readCpuSeconds(host.process.pid!), 0),
    }
  }

  async stop(): Promise<void> {
    for (const host of this.hosts) host.client.stop()
    await Promise.all(this.hosts.map(host => host.process.stop(3_000)))
    await this.#supernode?.stop(5_000)
    await this.registry.stop()
  }

  async #startHost(host: SwarmHost): Promise<void> {
    host.process.start()
    const probe = async () => (await fetch(`http://${host.address}:65003/readyz`)).ok
    await host.process.waitUntil(probe, { deadlineMs: READY_MS })
  }

  /** @param settings undefined: those written before */
  async #plan(
    node: string,
    service: 'supernode' | 'dfdaemon',
    name: string,
    settings: object | undefined,
  ): Promise<ServiceProcess> {
    const file = join(this.#directory, `${name}.yaml`)
    await mkdir(join(this.#directory, name), { recursive: true })
    // JSON is YAML.
    if (settings !== undefined) await writeFile(file, JSON.stringify(settings))
    const [command, ...args] = [...this.#namespaces.prefix(node), ...bundledProgram(this.#nodeFlags)] as [
      string,
      ...string[],
    ]
    return new ServiceProcess({
      name,
      command,
      args: [...args, service, '--config', file],
      env: { [`PANTALA_${service.toUpperCase()}_CLUSTER_SECRET`]: this.#secret },
      leash: true,
    })
  }
}

/** A client process in a host's namespace. */
class BenchClient {
  readonly #namespaces: Namespaces
  readonly #node: string
  #child: ChildProcess | undefined
  #take: ((line: string) => void) | undefined
  #fail: ((error: Error) => void) | undefined

  constructor(namespaces: Namespaces, node: string) {
    this.#namespaces = namespaces
    this.#node = node
  }

  async start(): Promise<void> {
    const program = [
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      join(import.meta.dirname, 'client.ts'),
    ]
    const [command, ...args] = [...this.#namespaces.prefix(this.#node), ...program] as [string, ...string[]]
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#child = child
    createInterface({ input: child.stdout! }).on('line', line => this.#take?.(line))
    child.once('exit', code => this.#fail?.(new Error(`client of ${this.#node} ended with ${code}`)))
    await this.#nextLine()
  }

  async pull(order: ClientOrder): Promise<ClientAnswer> {
    this.#child!.stdin!.write(`${JSON.stringify(order)}\n`)
    return JSON.parse(await this.#nextLine()) as ClientAnswer
  }

  stop(): void {
    this.#fail = undefined
    this.#child?.kill('SIGKILL')
  }

  #nextLine(): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    this.#take = resolve
    this.#fail = reject
    return promise
  }
}

function findAddress(lines: readonly string[], address: string): string {
  const pattern = new RegExp(`/ip4/${address.replaceAll('.', '\\.')}/tcp/8001/p2p/[1-9A-HJ-NP-Za-km-z]+`)
  for (const line of lines) {
    const found = pattern.exec(line)?.[0]
    if (found !== undefined) return found
  }
  return ''
}
