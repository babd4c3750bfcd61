// The CPU lab: what a GiB costs each role in processor time, split by stages, and how much memory a dfdaemon takes; loopback, no limits.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DockerRegistry } from '../../harness/docker-registry.ts'
import { findCommand } from '../../harness/packages.ts'
import { makeSmallImage } from '../../harness/small-image.ts'
import { buildBundle } from '../bundle.ts'
import { atMost, type Goal, type Lab } from '../lab.ts'
import { median } from '../measure.ts'
import { PageCache } from '../page-cache.ts'
import { plotBars, plotLines } from '../svg-plot.ts'
import { WARM_UP_BYTES_MAX } from '../swarm/scenarios.ts'
import { type MovingFigures, measureMoving } from './moving.ts'
import {
  measureRoles,
  measureStages,
  REPOSITORY,
  type RoleFigures,
  type StageFigures,
  WARM_UP_REPOSITORY,
} from './roles.ts'

export interface CpuFigures {
  /** By number of hosts; for two of them every repetition. */
  readonly roles: readonly RoleFigures[]
  readonly stages: StageFigures
  readonly moving: MovingFigures
  /** How the machine was before each measured pull; not there in records from before it was seen to. */
  readonly before?: {
    /** Length of the image that all pulled. */
    readonly warmUpBytes: number
    readonly isCacheFull: boolean
  }
}

const MiB = 2 ** 20
const LAYERS = 4

export const cpuLab: Lab<CpuFigures> = {
  name: 'cpu',
  summary: 'Processor time for each GiB by role and stage, and memory, over loopback without limits',
  options: {
    hosts: { default: '2,4,8', short: '2', meaning: 'numbers of hosts, comma-separated' },
    mib: { default: '1024', short: '128', meaning: 'size of the image, MiB' },
    repetitions: { default: '3', short: '1', meaning: 'runs with two hosts; medians count' },
    'move-gib': {
      default: '10',
      short: '1',
      meaning: 'GiB moved through each of two hosts, for memory; 100 for the long form',
    },
    'page-cache': {
      default: 'yes',
      short: 'no',
      meaning: 'yes: it is filled before each run, but those for memory',
    },
  },
  whyNot: () => (findCommand('docker-registry') === undefined ? 'docker-registry not found' : undefined),
  run: async (wish, say) => {
    await buildBundle()
    const directory = await mkdtemp(join(tmpdir(), 'pantala-cpu-'))
    const registry = new DockerRegistry()
    const cache = wish['page-cache'] === 'yes' ? await PageCache.make() : undefined
    try {
      await registry.start()
      const imageBytes = Number(wish['mib']) * MiB
      const warmUpBytes = Math.min(imageBytes, WARM_UP_BYTES_MAX)
      await pushImage(registry, join(directory, 'image'), REPOSITORY, imageBytes)
      await pushImage(registry, join(directory, 'warm-up'), WARM_UP_REPOSITORY, warmUpBytes)
      const init = { registry, cache }
      const roles: RoleFigures[] = []
      for (const hosts of wish['hosts']!.split(',').map(Number)) {
        const runs = hosts === 2 ? Number(wish['repetitions']) : 1
        for (let run = 0; run < runs; run++) {
          say(`processor time, ${hosts} hosts`)
          roles.push(await measureRoles(init, hosts))
        }
      }
      say('profiles')
      const stages = await measureStages(init)
      say(`memory while ${wish['move-gib']} GiB are moved`)
      const moving = await measureMoving(Number(wish['move-gib']))
      return { roles, stages, moving, before: { warmUpBytes, isCacheFull: cache !== undefined } }
    } finally {
      await registry.stop()
      await cache?.remove()
      await rm(directory, { recursive: true, force: true })
    }
  },
  judge,
  render,
  plots: figures => ({
    stages: plotBars(
      { title: 'A child, by stage', xLabel: '', yLabel: 'CPU-s/GiB' },
      Object.entries(figures.stages.child).map(([stage, value]) => ({ label: shorten(stage), value })),
    ),
    memory: plotLines(
      {
        title: 'Resident memory while blobs go through',
        xLabel: 'GiB moved through each host',
        yLabel: 'MB',
        mark: { y: 200, label: 'goal' },
      },
      [0, 1].map(host => ({
        name: `host ${host + 1}`,
        points: figures.moving.samples.map(sample => [sample.gib, sample.hosts[host]! / 1e6] as const),
      })),
    ),
  }),
}

async function pushImage(
  registry: DockerRegistry,
  directory: string,
  repository: string,
  bytes: number,
): Promise<void> {
  const layerBytes = Array.from({ length: LAYERS }, () => bytes / LAYERS)
  await registry.push(
    await makeSmallImage({ directory, seed: repository, layerBytes, index: false }),
    repository,
  )
}

/** Medians over the runs with two hosts, where one is nothing but a child. */
function ofTwo({ roles }: CpuFigures) {
  const two = roles.filter(role => role.hosts === 2)
  const runs = two.length === 0 ? roles : two
  return {
    child: median(runs.map(run => run.spread.children)),
    parents: median(runs.map(run => run.spread.parents)),
    idle: median(runs.map(run => run.memory.idleBytes)),
    peak: Math.max(...runs.map(run => Math.max(run.memory.childPeakBytes, run.memory.parentPeakBytes))),
  }
}

function judge(figures: CpuFigures): Goal[] {
  const { child, parents, idle, peak } = ofTwo(figures)
  const { moving } = figures
  const gib = Math.round(moving.movedBytes / 2 ** 30)
  return [
    atMost('child: receive, verify, store, serve', child, 2.2, 'CPU-s/GiB'),
    atMost('parent: read, encrypt, send', parents, 0.9, 'CPU-s/GiB'),
    atMost('dfdaemon, idle', idle / 1e6, 90, 'MB', 0),
    atMost('dfdaemon, moving 1 GiB at full speed', peak / 1e6, 200, 'MB', 0),
    atMost(`dfdaemon, peak over ${gib} GiB moved`, moving.peakBytes / 1e6, 200, 'MB', 0),
    atMost(`growth over ${gib} GiB moved, last quarter / second`, moving.growth, 1.1, '×'),
  ]
}

function render(figures: CpuFigures): string {
  const { roles, stages, moving } = figures
  const fixed = (value: number) => value.toFixed(2)
  const mib = Math.round(roles[0]!.imageBytes / MiB)
  const cold = roles.map(
    run =>
      `| ${run.hosts} | ${Math.round(run.cold.rate)} | ${fixed(run.cold.host)} | ${fixed(run.cold.seed)} | ${fixed(run.cold.supernode)} |`,
  )
  const spread = roles.map(
    run =>
      `| ${run.hosts} | ${Math.round(run.spread.rate)} | ${fixed(run.spread.children)} | ${fixed(run.spread.parents)} | ${fixed(run.spread.supernode)} | ${fixed(run.spread.all)} |`,
  )
  const stageRows = Object.keys(stages.child).map(
    stage =>
      `| ${stage} | ${fixed(stages.child[stage as 'hash'])} | ${fixed(stages.parent[stage as 'hash'])} |`,
  )
  const mb = (bytes: number) => `${Math.round(bytes / 1e6)} MB`
  return `Services run from the bundle on this machine, with docker-registry and the clients beside them; an image of ${mib} MiB in ${LAYERS} layers of noise. Processor time is that of the whole
process, threads and kernel's part included.${renderBefore(figures)}

## One host, from the source

| hosts | MB/s | host | seed | supernode |
|---|---|---|---|---|
${cold.join('\n')}

CPU-s for each GiB pulled. The seed fetches, verifies, stores and sends; the host is a child.

## Then the others at once, from it and the seed

| hosts | MB/s, all together | children | parents | supernode | all |
|---|---|---|---|---|---|
${spread.join('\n')}

CPU-s for each GiB delivered. Parents are the first host and the seed together. With two hosts the second is nothing but a child; with more, children send to each other too.

## By stage

| stage | child | parent |
|---|---|---|
${stageRows.join('\n')}
| threads, and what the profiler costs | ${fixed(stages.childRest)} | ${fixed(stages.parentRest)} |

CPU-s for each GiB, of two hosts from the sources under the profiler, which slows them. Decryption happens in Node's own code before any of ours runs, so it counts with the event loop; \`encrypt and
send\` of a child is what it sends to its client. Disk and part of the hashing are threads.

![a child by stage](cpu-stages.svg)

## Memory

| | |
|---|---|
| idle, 2 s after the start | ${mb(ofTwo(figures).idle)} |
| peak while ${mib} MiB came or went | ${mb(ofTwo(figures).peak)} |
| peak over ${Math.round(moving.movedBytes / 2 ** 30)} GiB moved through each of two hosts at ${Math.round(moving.megabytesPerSecond)} MB/s each | ${mb(moving.peakBytes)} |

![memory](cpu-memory.svg)
`
}

function renderBefore({ before }: CpuFigures): string {
  if (before === undefined) return ''
  const cache = before.isCacheFull
    ? ' The page cache is full before, of clean pages: memory that this virtual machine gave back to its host would cost up to 1.7 CPU-s/GiB to write to, against 0.3.'
    : ''
  return ` Before, the same hosts pull another image of ${Math.round(before.warmUpBytes / MiB)} MiB
in the same order, so that code is compiled as in services that have run for a while; its cost is not in the figures, but its memory is in the peaks.${cache}`
}

function shorten(stage: string): string {
  return stage
    .replace('event loop and decryption', 'loop, decrypt')
    .replace('session and scheduling', 'session')
    .replace('garbage collection', 'gc')
    .replace('encrypt and send', 'send')
}
