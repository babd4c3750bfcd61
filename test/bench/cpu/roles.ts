// Processor time of each role while hosts pull over loopback without limits: first one host from the source, then all others from it and the seed.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LocalCluster, plainHttpUpstreams } from '../../../cli/demo/cluster.ts'
import { findRoot } from '../../../cli/demo/image.ts'
import type { DockerRegistry } from '../../harness/docker-registry.ts'
import { bundledProgram } from '../bundle.ts'
import { pullLean } from '../lean/pull-image.ts'
import { findChildren, readCpuSeconds, readMemory } from '../measure.ts'
import type { PageCache } from '../page-cache.ts'
import { type CpuProfile, type Stage, splitStages } from './stages.ts'

export interface RoleFigures {
  readonly hosts: number
  readonly imageBytes: number
  /** One host alone: everything comes from the source by way of the seed. MB/s of the pull, CPU-s per GiB. */
  readonly cold: {
    readonly rate: number
    readonly seed: number
    readonly host: number
    readonly supernode: number
  }
  /** The other hosts at once. `parents`: the first host and the seed together, for each GiB delivered. MB/s of all together. */
  readonly spread: {
    readonly rate: number
    readonly parents: number
    readonly children: number
    readonly supernode: number
    readonly all: number
  }
  readonly memory: {
    readonly idleBytes: number
    readonly childPeakBytes: number
    readonly parentPeakBytes: number
  }
}

/** CPU seconds for each GiB by stage, of the one child and the first parent. */
export interface StageFigures {
  readonly child: Readonly<Record<Stage, number>>
  readonly parent: Readonly<Record<Stage, number>>
  /** All of the process less the main thread: other threads and what the profiler itself costs. */
  readonly childRest: number
  readonly parentRest: number
}

const GiB = 2 ** 30
export const REPOSITORY = 'bench/cpu'
/** Of the image that everybody pulls before anything is measured. */
export const WARM_UP_REPOSITORY = 'bench/warm-up'
const PULL_MS = 600_000

export interface RolesInit {
  /** Has both images, each as `v1`. */
  readonly registry: DockerRegistry
  /** Filled before; undefined: left as it is. */
  readonly cache: PageCache | undefined
}

export async function measureRoles(init: RolesInit, hosts: number): Promise<RoleFigures> {
  await fillCache(init)
  const { registry } = init
  const cluster = makeCluster(registry, hosts, bundledProgram())
  try {
    await cluster.start(AbortSignal.timeout(120_000))
    await new Promise(resolve => setTimeout(resolve, 2000))
    const pids = findPids(cluster)
    const idleBytes = readMemory(pids.hosts[0]!)!.rssBytes
    await pullInTurn(cluster, WARM_UP_REPOSITORY)
    const { cold, spread } = await pullInTurn(cluster)
    const perGiB = (seconds: number, moved: number) => seconds / (moved / GiB)
    const children = spread.cpu.hosts.slice(1).reduce((sum, seconds) => sum + seconds, 0)
    const parents = spread.cpu.hosts[0]! + spread.cpu.seed
    return {
      hosts,
      imageBytes: cold.bytes,
      cold: {
        rate: cold.bytes / 1e6 / cold.seconds,
        seed: perGiB(cold.cpu.seed, cold.bytes),
        host: perGiB(cold.cpu.hosts[0]!, cold.bytes),
        supernode: perGiB(cold.cpu.supernode, cold.bytes),
      },
      spread: {
        rate: spread.bytes / 1e6 / spread.seconds,
        parents: perGiB(parents, spread.bytes),
        children: perGiB(children, spread.bytes),
        supernode: perGiB(spread.cpu.supernode, spread.bytes),
        all: perGiB(parents + children + spread.cpu.supernode, spread.bytes),
      },
      memory: {
        idleBytes,
        childPeakBytes: readMemory(pids.hosts[1]!)!.peakBytes,
        parentPeakBytes: readMemory(pids.hosts[0]!)!.peakBytes,
      },
    }
  } finally {
    await cluster.stop()
  }
}

/** The same with two hosts from the sources, profiled, since a bundle's names say nothing. */
export async function measureStages(init: RolesInit): Promise<StageFigures> {
  await fillCache(init)
  const directory = await mkdtemp(join(tmpdir(), 'pantala-profiles-'))
  const flags = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=2', '--expose-gc']
  const profiling = ['--cpu-prof', `--cpu-prof-dir=${directory}`]
  const program = [process.execPath, ...flags, ...profiling, join(findRoot(), 'cli', 'main.ts')]
  const cluster = makeCluster(init.registry, 2, program)
  try {
    await cluster.start(AbortSignal.timeout(120_000))
    const pids = findPids(cluster)
    await pullInTurn(cluster, WARM_UP_REPOSITORY)
    await watch(cluster, [0])
    const fromUs = Number(process.hrtime.bigint() / 1000n)
    const spread = await watch(cluster, [1])
    const toUs = Number(process.hrtime.bigint() / 1000n)
    await cluster.stop()
    const split = async (host: number) => {
      const name = (await readdir(directory)).find(file => file.includes(`.${pids.hosts[host]}.`))
      if (name === undefined) throw new Error(`host ${host + 1} left no profile`)
      const profile = JSON.parse(await readFile(join(directory, name), 'utf8')) as CpuProfile
      const stages = splitStages(profile, fromUs, toUs)
      const perGiB = Object.entries(stages).map(([stage, seconds]) => [stage, seconds / (spread.bytes / GiB)])
      const sum = Object.values(stages).reduce((total, seconds) => total + seconds, 0)
      const rest = Math.max(0, spread.cpu.hosts[host]! - sum) / (spread.bytes / GiB)
      return { stages: Object.fromEntries(perGiB) as Record<Stage, number>, rest }
    }
    const [parent, child] = [await split(0), await split(1)]
    return { child: child.stages, parent: parent.stages, childRest: child.rest, parentRest: parent.rest }
  } finally {
    await cluster.stop()
    await rm(directory, { recursive: true, force: true })
  }
}

/** And reads the images back into it: the registry gives from memory, whatever was filled. */
async function fillCache({ registry, cache }: RolesInit): Promise<void> {
  if (cache === undefined) return
  await cache.fill()
  for (const repository of [WARM_UP_REPOSITORY, REPOSITORY]) await pull(registry.url, repository)
}

function makeCluster(registry: DockerRegistry, hosts: number, program: readonly string[]): LocalCluster {
  return new LocalCluster({ hosts, program, upstreams: () => plainHttpUpstreams(registry.address) })
}

interface Pids {
  readonly hosts: readonly number[]
  readonly supernode: number
  readonly seed: number
}

function findPids(cluster: LocalCluster): Pids {
  const supernode = cluster.supernode.pid!
  return {
    hosts: cluster.hosts.map(host => host.process.pid!),
    supernode,
    seed: findChildren(supernode)[0] ?? supernode,
  }
}

/** The first host pulls, then all others at once. */
async function pullInTurn(cluster: LocalCluster, repository = REPOSITORY) {
  const cold = await watch(cluster, [0], repository)
  const others = cluster.hosts.slice(1).map((_, index) => index + 1)
  return { cold, spread: await watch(cluster, others, repository) }
}

/** These hosts pull at once; what everybody spent meanwhile. */
async function watch(cluster: LocalCluster, pulling: readonly number[], repository = REPOSITORY) {
  const pids = findPids(cluster)
  const read = () => ({
    hosts: pids.hosts.map(readCpuSeconds),
    supernode: readCpuSeconds(pids.supernode),
    seed: readCpuSeconds(pids.seed),
  })
  const before = read()
  const startedAt = performance.now()
  const pulled = await Promise.all(pulling.map(index => pull(cluster.hosts[index]!.proxyUrl, repository)))
  const seconds = (performance.now() - startedAt) / 1000
  const after = read()
  return {
    seconds,
    bytes: pulled.reduce((sum, bytes) => sum + bytes, 0),
    cpu: {
      hosts: after.hosts.map((value, index) => value - before.hosts[index]!),
      supernode: after.supernode - before.supernode,
      seed: after.seed - before.seed,
    },
  }
}

/** Bytes of the image. */
function pull(registryUrl: string, repository: string): Promise<number> {
  return pullLean({ registryUrl, repository, reference: 'v1' }, () => {}, AbortSignal.timeout(PULL_MS))
}
