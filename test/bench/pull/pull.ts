// Measures pulls of a real image: straight from docker-registry, cold and warm through Pantala, in turns, with fresh services each time. The
// first pull of a fresh service also compiles its code, so it has a figure of its own; what follows is what a service does for the rest of its life.
// As a program it prints its figures as JSON; run it inside a namespace of its own to have the registry's link limited.
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { LocalCluster, plainHttpUpstreams } from '../../../cli/demo/cluster.ts'
import { demoTag, findRoot, prepareImage } from '../../../cli/demo/image.ts'
import { findPlatformImage, type PlatformImage } from '../../../cli/demo/oci-layout.ts'
import { pullImage } from '../../../cli/pull/pull-image.ts'
import { DockerRegistry } from '../../harness/docker-registry.ts'
import { makeSmallImage } from '../../harness/small-image.ts'
import { bundledProgram } from '../bundle.ts'
import { findChildren, type Memory, median, readMemory } from '../measure.ts'

/** Repository of the real image. */
const measuredRepository = 'bench/app'
/** Images of the same lengths that a fresh service pulls before the measured one, in this order. */
const standIns = ['bench/first', 'bench/second', 'bench/third'] as const

export interface PullOptions {
  readonly repetitions: number
  /** Hosts that pull at once. */
  readonly hosts: number
  readonly registryPort?: number
}

export interface PullFigures {
  readonly hosts: number
  readonly imageBytes: number
  /** Medians over the repetitions of the slowest host, in ms. */
  readonly directMs: number
  /** The first pull after the services' start. */
  readonly firstMs: number
  /** After the pulls of other images. */
  readonly coldMs: number
  readonly warmMs: number
  /** firstMs / directMs and coldMs / directMs. */
  readonly firstRatio: number
  readonly coldRatio: number
  /** What the registry sent during the cold pulls, as a multiple of the image (median). */
  readonly sourceRatio: number
  readonly runs: Readonly<Record<'directMs' | 'firstMs' | 'coldMs' | 'warmMs', number[]>>
  /** Over all repetitions: the median of idle, the highest peak. */
  readonly memory: Readonly<Record<'dfdaemon' | 'supernode' | 'seed', MemoryFigures>>
}

/** Where the services come from that are measured. */
export type ServicesFrom = 'bundle' | 'sources'

const bundle = join(findRoot(), 'dist', 'pantala.mjs')

export function findServices(): ServicesFrom {
  return existsSync(bundle) ? 'bundle' : 'sources'
}

/** The launcher, as it is shipped beside the bundle, or as it lies in the checkout where nothing was built. */
function findProgram(): string[] {
  return findServices() === 'bundle' ? [...bundledProgram()] : [join(findRoot(), 'cli', 'pantala')]
}

export interface MemoryFigures {
  /** After the start, before the first request. */
  readonly idleBytes: number
  readonly peakBytes: number
}

export async function measurePulls(options: PullOptions): Promise<PullFigures> {
  const prepared = await prepareImage({ root: findRoot() })
  const image = findPlatformImage(prepared.layout, demoTag, prepared.architecture)!
  const registry = new DockerRegistry({ port: options.registryPort })
  await registry.start()
  try {
    await registry.push(prepared.layout, measuredRepository)
    await pushStandIns(registry, image)
    const bench = new PullBench(registry, prepared.architecture, options)
    // One pull of each kind that does not count, so that file caches and compiled code are alike for all.
    await bench.pullDirect()
    await bench.pullThroughPantala(image.bytes)
    const direct: number[] = []
    const cold: ColdRun[] = []
    for (let turn = 0; turn < options.repetitions; turn++) {
      direct.push(await bench.pullDirect())
      cold.push(await bench.pullThroughPantala(image.bytes))
    }
    const directMs = median(direct)
    const firstMs = median(cold.map(run => run.firstMs))
    const coldMs = median(cold.map(run => run.coldMs))
    return {
      hosts: options.hosts,
      imageBytes: image.bytes,
      directMs,
      firstMs,
      coldMs,
      warmMs: median(cold.map(run => run.warmMs)),
      firstRatio: firstMs / directMs,
      coldRatio: coldMs / directMs,
      sourceRatio: median(cold.map(run => run.sourceRatio)),
      runs: {
        directMs: direct,
        firstMs: cold.map(run => run.firstMs),
        coldMs: cold.map(run => run.coldMs),
        warmMs: cold.map(run => run.warmMs),
      },
      memory: {
        dfdaemon: sumUp(cold.map(run => run.memory.dfdaemon)),
        supernode: sumUp(cold.map(run => run.memory.supernode)),
        seed: sumUp(cold.map(run => run.memory.seed)),
      },
    }
  } finally {
    await registry.stop()
  }
}

/** Their layers are noise of the real image's lengths. */
async function pushStandIns(registry: DockerRegistry, image: PlatformImage): Promise<void> {
  for (const repository of standIns) {
    const directory = await mkdtemp(join(tmpdir(), 'pantala-bench-image-'))
    try {
      const layerBytes = image.layers.map(layer => layer.size)
      await registry.push(
        await makeSmallImage({ directory, seed: repository, tag: demoTag, layerBytes, index: false }),
        repository,
      )
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  }
}

interface ColdRun {
  readonly firstMs: number
  readonly coldMs: number
  readonly warmMs: number
  readonly sourceRatio: number
  readonly memory: PullFigures['memory']
}

class PullBench {
  readonly #registry: DockerRegistry
  readonly #architecture: string
  readonly #options: PullOptions

  constructor(registry: DockerRegistry, architecture: string, options: PullOptions) {
    this.#registry = registry
    this.#architecture = architecture
    this.#options = options
  }

  /** Every host straight from the registry; ms of the slowest. */
  async pullDirect(): Promise<number> {
    return this.#pullAll(Array.from({ length: this.#options.hosts }, () => this.#registry.url))
  }

  async pullThroughPantala(imageBytes: number): Promise<ColdRun> {
    const cluster = new LocalCluster({
      hosts: this.#options.hosts,
      program: findProgram(),
      upstreams: () => plainHttpUpstreams(this.#registry.address),
    })
    try {
      await cluster.start(AbortSignal.timeout(120_000))
      await settle()
      const processes = findProcesses(cluster)
      const idle = readAll(processes)
      const urls = cluster.hosts.map(host => host.proxyUrl)
      const firstMs = await this.#pullAll(urls, standIns[0])
      for (const repository of standIns.slice(1)) await this.#pullAll(urls, repository)
      await this.#registry.settle()
      this.#registry.forget()
      const coldMs = await this.#pullAll(urls)
      await this.#registry.settle()
      const sourceRatio = this.#registry.bytesSent / imageBytes
      const warmMs = await this.#pullAll(urls)
      const after = readAll(processes)
      const figures = (name: 'dfdaemon' | 'supernode' | 'seed'): MemoryFigures => ({
        idleBytes: idle[name].rssBytes,
        peakBytes: after[name].peakBytes,
      })
      return {
        firstMs,
        coldMs,
        warmMs,
        sourceRatio,
        memory: { dfdaemon: figures('dfdaemon'), supernode: figures('supernode'), seed: figures('seed') },
      }
    } finally {
      await cluster.stop()
    }
  }

  async #pullAll(urls: readonly string[], repository: string = measuredRepository): Promise<number> {
    const platform = { os: 'linux', architecture: this.#architecture }
    const image = { registry: undefined, repository, reference: demoTag, digest: undefined }
    const started = performance.now()
    await Promise.all(
      urls.map(registryUrl => pullImage({ registryUrl, image, platform }, {}, AbortSignal.timeout(300_000))),
    )
    return performance.now() - started
  }
}

type ProcessIds = Readonly<Record<'dfdaemon' | 'supernode' | 'seed', number>>

function findProcesses(cluster: LocalCluster): ProcessIds {
  const supernode = cluster.supernode.pid!
  return { dfdaemon: cluster.hosts[0]!.process.pid!, supernode, seed: findChildren(supernode)[0] ?? 0 }
}

function readAll(processes: ProcessIds): Record<keyof ProcessIds, Memory> {
  const read = (pid: number) => readMemory(pid) ?? { rssBytes: 0, peakBytes: 0 }
  return {
    dfdaemon: read(processes.dfdaemon),
    supernode: read(processes.supernode),
    seed: read(processes.seed),
  }
}

/** A start leaves garbage and open work behind; idle is what is there once that has settled. */
function settle(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, 2_000))
}

function sumUp(figures: readonly MemoryFigures[]): MemoryFigures {
  return {
    idleBytes: median(figures.map(figure => figure.idleBytes)),
    peakBytes: Math.max(...figures.map(figure => figure.peakBytes)),
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      repetitions: { type: 'string', default: '5' },
      hosts: { type: 'string', default: '1' },
      port: { type: 'string' },
    },
  })
  const figures = await measurePulls({
    repetitions: Number(values.repetitions),
    hosts: Number(values.hosts),
    registryPort: values.port === undefined ? undefined : Number(values.port),
  })
  process.stdout.write(`${JSON.stringify(figures)}\n`)
}
