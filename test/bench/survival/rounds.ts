// One round: all hosts of a cluster pull an image nobody had before, and in the middle of it something is killed or frozen. Times and counts, judges nothing.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ClusterHost, LocalCluster, plainHttpUpstreams } from '../../../cli/demo/cluster.ts'
import { SourceRegistry } from '../../../cli/demo/registry.ts'
import { pullImage } from '../../../cli/pull/pull-image.ts'
import { parseReference } from '../../../cli/pull/reference.ts'
import { sourceBytes } from '../../harness/asked-once.ts'
import { makeSmallImage } from '../../harness/small-image.ts'
import { eventually } from '../../harness/swarm.ts'
import { until } from '../../harness/until.ts'
import { bundledProgram } from '../bundle.ts'

/** What happens in the middle of a round; a `parent` is a host that pulls itself and has pieces the others take. */
export type Trouble = 'none' | 'supernode killed' | 'parent killed' | 'parent frozen'

export interface Round {
  readonly trouble: Trouble
  /** From the first request to the last byte of the slowest pull, in ms; the troubled host does not count, in no round. */
  readonly slowestMs: number
  readonly failed: number
  /** Bytes that left the registry, over the image's. */
  readonly sourceRatio: number
}

export interface RoundsInit {
  readonly hosts: number
  readonly layers: number
  readonly imageBytes: number
  /** What the registry sends in a second, all pulls together. */
  readonly sourceBytesPerSecond: number
}

/** Longest that a service may take to be back, and a pull to end, in ms. */
const BACK_MS = 60_000
const PULL_MS = 180_000

export class Rounds {
  readonly #init: RoundsInit
  readonly #source = new SourceRegistry()
  readonly #cluster: LocalCluster
  #directory = ''
  #turn = 0

  constructor(init: RoundsInit) {
    this.#init = init
    this.#cluster = new LocalCluster({
      hosts: init.hosts,
      program: bundledProgram(),
      upstreams: () => plainHttpUpstreams(this.#address),
    })
  }

  async start(): Promise<void> {
    this.#directory = await mkdtemp(join(tmpdir(), 'pantala-survival-'))
    await this.#source.start()
    this.#source.fail({ kind: 'slow', bytesPerSecond: this.#init.sourceBytesPerSecond })
    await this.#cluster.start(AbortSignal.timeout(120_000))
  }

  async stop(): Promise<void> {
    await this.#cluster.stop()
    await this.#source.stop()
    if (this.#directory !== '') await rm(this.#directory, { recursive: true, force: true, maxRetries: 3 })
  }

  async run(trouble: Trouble): Promise<Round> {
    const name = `bench/survival-${++this.#turn}`
    const directory = join(this.#directory, String(this.#turn))
    const { layers, imageBytes } = this.#init
    const layerBytes = Array.from({ length: layers }, () => imageBytes / layers)
    this.#source.addImage(name, await makeSmallImage({ directory, seed: name, layerBytes, index: false }))
    this.#source.forget()
    const troubled = this.#cluster.hosts.at(-1)!
    const others = this.#cluster.hosts.slice(0, -1)
    const startedAt = performance.now()
    const ends = others.map(async host => {
      await this.#pull(host, name)
      return performance.now() - startedAt
    })
    const own = this.#pull(troubled, name).catch(() => {})
    const settled = Promise.allSettled(ends)
    await until(() => this.#source.bytesSent > imageBytes / 2, PULL_MS)
    const lift = this.#begin(trouble, troubled)
    const results = await settled
    const sent = sourceBytes(this.#source.log)
    await lift()
    await own
    await rm(directory, { recursive: true, force: true })
    const times = results.map(result => (result.status === 'fulfilled' ? result.value : Number.NaN))
    return {
      trouble,
      slowestMs: Math.max(...times.filter(time => !Number.isNaN(time))),
      failed: times.filter(Number.isNaN).length,
      sourceRatio: sent / imageBytes,
    }
  }

  get #address(): string {
    return new URL(this.#source.url).host
  }

  /** Returns the way to make all well again. */
  #begin(trouble: Trouble, { process, adminUrl }: ClusterHost): () => Promise<void> {
    const { supernode, apiUrl } = this.#cluster
    switch (trouble) {
      case 'none':
        return async () => {}
      case 'supernode killed':
        supernode.signal('SIGKILL')
        return async () => {
          await supernode.ended
          // Its seed ends by itself, and leaves its port.
          await new Promise(resolve => setTimeout(resolve, 6000))
          supernode.start()
          await this.#waitFor(`${apiUrl}/readyz`)
        }
      case 'parent killed':
        process.signal('SIGKILL')
        return async () => {
          await process.ended
          process.start()
          await this.#waitFor(`${adminUrl}/readyz`)
        }
      case 'parent frozen':
        process.signal('SIGSTOP')
        return async () => {
          process.signal('SIGCONT')
          await this.#waitFor(`${adminUrl}/readyz`)
        }
    }
  }

  async #waitFor(url: string): Promise<void> {
    await eventually(url, async () => (await fetch(url)).ok, BACK_MS)
    // The seed is a host, too.
    await eventually('all hosts are known again', () => this.#knowsAll(), BACK_MS)
  }

  async #knowsAll(): Promise<boolean> {
    const answer = await fetch(`${this.#cluster.apiUrl}/api/v1/stats`)
    const { hosts } = (await answer.json()) as { hosts: number }
    return hosts > this.#init.hosts
  }

  async #pull(host: ClusterHost, name: string): Promise<void> {
    await pullImage(
      {
        registryUrl: host.proxyUrl,
        image: parseReference(`${this.#address}/${name}:v1`),
        platform: { os: 'linux', architecture: 'amd64' },
      },
      {},
      AbortSignal.timeout(PULL_MS),
    )
  }
}
