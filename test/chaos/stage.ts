// What a story has in its hands: the cluster, the pulls that run meanwhile, faults with their mending, and a place for figures of its own.
import { rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseMetrics, sumMetric } from '../../cli/demo/metrics-text.ts'
import {
  addressOf,
  type Cluster,
  type HostName,
  hosts,
  type NetworkName,
  proxyUrlOf,
  type ServiceName,
  type supernodes,
} from './cluster.ts'
import type { Origin } from './origin.ts'
import type { PullLoad } from './pull-load.ts'
import type { TroubleLog } from './trouble.ts'

export type Supernode = (typeof supernodes)[number]

/** How long a part may take to come back after a fault, in ms. */
const MEND_MS = 45_000
const LOOK_MS = 25

export interface StageParts {
  readonly cluster: Cluster
  readonly origin: Origin
  readonly load: PullLoad
  readonly troubles: TroubleLog
  readonly full: boolean
}

export class Stage {
  readonly #parts: StageParts
  /** What a story found out besides what all stories are measured by. */
  readonly figures: Record<string, number> = {}

  constructor(parts: StageParts) {
    this.#parts = parts
  }

  get load(): PullLoad {
    return this.#parts.load
  }

  get origin(): Origin {
    return this.#parts.origin
  }

  get cluster(): Cluster {
    return this.#parts.cluster
  }

  /** `short`, or in the full form `full`, in ms. */
  lasting(short: number, full: number): number {
    return this.#parts.full ? full : short
  }

  hold(ms: number): Promise<void> {
    return new Promise(resolve => setTimeout(resolve, ms))
  }

  /** kill -9 of a host's dfdaemon, which comes back with what it has on disk. */
  async killHost(host: HostName, downMs: number): Promise<void> {
    await this.#whileTroubled(host, async () => {
      await this.cluster.kill(host)
      await this.hold(downMs)
      await this.cluster.startAgain(host)
    })
  }

  async restartHost(host: HostName): Promise<void> {
    await this.#whileTroubled(host, () => this.cluster.restart(host))
  }

  async freezeHost(host: HostName, ms: number): Promise<void> {
    await this.#whileTroubled(host, async () => {
      await this.cluster.pause(host)
      await this.hold(ms)
      await this.cluster.unpause(host)
    })
  }

  /** dfdaemon-3 sends wrong bytes to its children. */
  async lyingHost(ms: number): Promise<void> {
    await this.#whileTroubled('dfdaemon-3', () => this.cluster.setLying(true))
    await this.hold(ms)
    await this.#whileTroubled('dfdaemon-3', () => this.cluster.setLying(false))
  }

  /** kill -9 of supernodes, seeds and all. Resolves when they are ready again. */
  async killSupernodes(which: readonly Supernode[], downMs: number): Promise<void> {
    await Promise.all(which.map(one => this.cluster.kill(one)))
    await this.hold(downMs)
    await Promise.all(which.map(one => this.cluster.startAgain(one)))
    await Promise.all(which.map(one => this.cluster.waitUntilReady(one, MEND_MS)))
  }

  async disconnected(service: ServiceName, network: NetworkName, ms: number): Promise<void> {
    await this.cluster.disconnect(service, network)
    await this.hold(ms)
    await this.cluster.connect(service, network)
  }

  async parted(some: readonly ServiceName[], others: readonly ServiceName[], ms: number): Promise<void> {
    await this.cluster.part(some, others)
    await this.hold(ms)
    await this.cluster.rejoin(some, others)
  }

  async registryDown(ms: number): Promise<void> {
    const over = this.#parts.troubles.begin('registry')
    await this.cluster.kill('registry')
    await this.hold(ms)
    await this.cluster.startAgain('registry')
    await this.#until('the registry is back', async () => (await this.#status(5000, 'registry')) === 200)
    over()
  }

  /** Every request is answered 503. */
  async registryFailing(ms: number): Promise<void> {
    const over = this.#parts.troubles.begin('registry')
    await this.origin.answerWith(503)
    await this.hold(ms)
    await this.origin.answerWith(0)
    over()
  }

  /** Fills what is left of the disk of dfdaemon-4. */
  async diskFull(ms: number): Promise<void> {
    const file = join(this.cluster.smallDisk, 'filler')
    const { bavail, bsize } = await statfs(this.cluster.smallDisk)
    // What is freed meanwhile is its own; a little less than all, since it goes on writing while this is measured.
    await writeFile(file, Buffer.alloc(Math.max(0, bavail * bsize - 64 * 1024))).catch(() => {})
    await this.hold(ms)
    await rm(file, { force: true })
  }

  /** Sum of a metric of a host; 0 while it cannot be asked. */
  async metric(host: HostName, name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    try {
      const url = `http://${addressOf(host, 'runtime')}:65003/metrics`
      const text = await (await fetch(url, { signal: AbortSignal.timeout(2000) })).text()
      return sumMetric(parseMetrics(text), name, labels)
    } catch {
      return 0
    }
  }

  /** Blobs that the supernode knows each host to hold whole, by host; undefined while it does not answer. */
  async holdings(supernode: Supernode): Promise<Map<string, number> | undefined> {
    try {
      const url = `http://${addressOf(supernode, 'runtime')}:8002/api/v1/hosts`
      const answer = await fetch(url, { signal: AbortSignal.timeout(1000) })
      const { hosts: rows } = (await answer.json()) as { hosts: { name: string; held: number }[] }
      return new Map(rows.map(row => [row.name, row.held]))
    } catch {
      return undefined
    }
  }

  /** Time until the supernode's table has all again that `before` has of hosts; dfdaemon-4 is left out, since it has to evict meanwhile. */
  async untilWhole(supernode: Supernode, before: ReadonlyMap<string, number>): Promise<number> {
    const started = performance.now()
    await this.#until(`the table of ${supernode} is whole`, async () => {
      const now = await this.holdings(supernode)
      return hosts.slice(0, 3).every(host => (now?.get(host) ?? -1) >= (before.get(host) ?? 0))
    })
    return performance.now() - started
  }

  async #whileTroubled(host: HostName, work: () => Promise<void>): Promise<void> {
    const over = this.#parts.troubles.begin(host)
    try {
      await work()
      await this.#until(`${host} is back`, () => this.isUp(host))
    } finally {
      over()
    }
  }

  isUp(host: HostName): Promise<boolean> {
    return fetch(`${proxyUrlOf(host)}/v2/`, { signal: AbortSignal.timeout(500) }).then(
      answer => answer.status < 600,
      () => false,
    )
  }

  async #status(port: number, service: ServiceName): Promise<number> {
    const url = `http://${addressOf(service, 'registry')}:${port}/v2/`
    return (await fetch(url, { signal: AbortSignal.timeout(500) })).status
  }

  async #until(what: string, condition: () => Promise<boolean>): Promise<void> {
    const until = performance.now() + MEND_MS
    while (!(await condition().catch(() => false))) {
      if (performance.now() > until) throw new Error(`not within ${MEND_MS} ms: ${what}`)
      await this.hold(LOOK_MS)
    }
  }
}
