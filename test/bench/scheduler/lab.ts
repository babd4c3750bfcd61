// The scheduler lab: the real supernode state and scheduler under simulated swarms in virtual time; decisions are timed in real time.
import { join } from 'node:path'
import { atLeast, atMost, type Goal, type Lab } from '../lab.ts'
import { runNode } from '../run-node.ts'
import { plotLines } from '../svg-plot.ts'
import type { CallFigures, SimulationFigures } from './simulate.ts'
import type { WeightFigures } from './weigh.ts'

export interface SchedulerFigures {
  readonly rushes: readonly SimulationFigures[]
  readonly day: SimulationFigures
  readonly weights: readonly WeightFigures[]
}

export const schedulerLab: Lab<SchedulerFigures> = {
  name: 'scheduler',
  summary: 'The real scheduler directing simulated swarms of up to 50,000 hosts',
  options: {
    hosts: {
      default: '1000,10000,50000',
      short: '200,1000',
      meaning: 'sizes of the swarms, comma-separated',
    },
    day: { default: '2000:200', short: '200:20', meaning: 'hosts and images of the simulated day' },
    seed: { default: '1', meaning: 'start of the random numbers; the same seed, the same swarm' },
  },
  run: async (wish, say) => {
    const sizes = wish['hosts']!.split(',')
    const rushes: SimulationFigures[] = []
    for (const hosts of sizes) {
      say(`${hosts} hosts pull one image within 30 s`)
      rushes.push(await run(`rush:${hosts}`, wish['seed']!))
    }
    say('many images over a day')
    const day = await run(`day:${wish['day']}`, wish['seed']!)
    const weights: WeightFigures[] = []
    for (const hosts of sizes) {
      say(`memory with ${hosts} hosts`)
      const flags = ['--expose-gc', '--max-old-space-size=8192']
      weights.push(await runNode(join(import.meta.dirname, 'weigh.ts'), [hosts], flags))
    }
    return { rushes, day, weights }
  },
  judge,
  render,
  plots: figures => ({
    pulls: plotLines(
      {
        title: 'Time of a pull over the least it could take',
        xLabel: '% of the hosts',
        yLabel: 'ratio',
        mark: { y: 1, label: 'link speed' },
      },
      figures.rushes.map(rush => ({
        name: `${count(rush.pulls)} hosts`,
        points: rush.pullRatios.map((ratio, percent) => [percent, ratio] as const),
      })),
    ),
  }),
}

function run(plan: string, seed: string): Promise<SimulationFigures> {
  // The simulated hosts' own memory is most of it.
  const flags = ['--max-old-space-size=16384', '--max-semi-space-size=32']
  return runNode(join(import.meta.dirname, 'simulate.ts'), [plan, seed], flags)
}

function judge({ rushes, weights }: SchedulerFigures): Goal[] {
  const rush = rushes.find(one => one.pulls === 10_000) ?? rushes.at(-1)!
  const weight = weights.find(one => one.hosts === 10_000) ?? weights.at(-1)!
  const hosts = `${count(rush.pulls)} hosts`
  return [
    atLeast(`${hosts}: pieces reported and handled`, rush.piecesPerSecond, 50_000, '/s'),
    atLeast(`${hosts}: report messages handled`, rush.reportsPerSecond, 50_000, '/s'),
    atMost(`${hosts}: decision, p99`, rush.decisions.p99Ms, 2, 'ms', 3),
    atMost(`${hosts}: longest flush or sweep`, rush.longestHoldMs, 10, 'ms', 1),
    atMost(
      `${hosts}: memory of a peer beyond its bit field`,
      weight.bytesPerPeerBeyondBits,
      1024,
      'bytes',
      0,
    ),
    ...rushes.map(one =>
      atMost(`${count(one.pulls)} hosts: source bytes / image`, one.sourceRatio, 1.01, '×', 3),
    ),
  ]
}

function render({ rushes, day, weights }: SchedulerFigures): string {
  const all = [...rushes, day]
  return `What runs is the supernode's own \`state/\` and \`schedule/\` with its scheduler; every message is encoded and decoded as on the wire. What is simulated, in
virtual time, is the hosts: they ask, wait, give up and report as the product's sessions do, over an uplink and a downlink of 1 Gbit/s each. The source sends 1 Gbit/s. The
seed of the random numbers fixes every swarm; only the time that decisions take is real. Everything runs on one core, as the supernode's event loop does.

**Rush**: every host begins to pull the same image (10 layers of 1 to 32 MiB, 108 MiB in all) at a random moment of 30 s. **Day**: ${count(day.pulls)} pulls of images of ten layers, some shared, as rollouts and one by one.

| swarm | pieces reported/s | report messages/s | without codec | decisions/s | decision p50 | p99 | max | busiest second | longest flush or sweep | answers sent | share of a core |
|---|---|---|---|---|---|---|---|---|---|---|---|
${all.map(renderSpeed).join('\n')}

A host reports what landed within 8 ms of one layer in one message: pieces reported counts the pieces, report messages the messages. Rates are over all the CPU time the scheduler
took, decoding, encoding, flushes, sweeps, registrations and ends included: what one core bears. The share of a core is what others on the machine left to the run; times of single
decisions are by the clock, so a decision in which others took the core, or memory was collected, seems long. The longest flush or sweep is in CPU time. The busiest second is the
share of it that was taken, by the clock: at over 100 % the supernode would have fallen behind for a moment.

## Finish times

| swarm | pulls | time / bound: p50 | p90 | p99 | last | last pull ended at | source bytes / image | upload per host, max / mean |
|---|---|---|---|---|---|---|---|---|
${all.map(renderPulls).join('\n')}

![finish times](scheduler-pulls.svg)

The bound of a pull is its bytes over the host's downlink. Hosts that begin in the first seconds wait for the source, which sends at the same speed; hosts that begin late find the swarm there. Who begins late has nobody to upload to, so uploads cannot be even here.

## Calls, ${count(rushes.at(-1)!.pulls)} hosts

| call | times | p50 | p99 | max | in all |
|---|---|---|---|---|---|
${Object.entries(rushes.at(-1)!.calls).map(renderCall).join('\n')}

A flush sends the hashes and parents that have gathered for 5 ms or more; a sweep, every 250 ms, looks for silent hosts and children without a useful parent.

## Memory

| hosts | a host | a peer | beyond its bit field | a blob held whole |
|---|---|---|---|---|
${weights.map(one => `| ${count(one.hosts)} | ${bytes(one.bytesPerHost)} | ${bytes(one.bytesPerPeer)} | ${bytes(one.bytesPerPeerBeyondBits)} | ${bytes(one.bytesPerHeldBlob)} |`).join('\n')}

A peer is one host's part in one running pull of a layer, registered with its host's own token of 900 characters and given its parents; a host pulls ten layers. Heap and typed arrays after a collection.
`
}

function renderSpeed(one: SimulationFigures): string {
  const { decisions } = one
  return `| ${nameOf(one)} | ${count(one.piecesPerSecond)} | ${count(one.reportsPerSecond)} | ${count(one.reportsPerSecondBare)} | ${count(one.decisionsPerSecond)} | ${us(decisions.p50Ms)} | ${us(decisions.p99Ms)} | ${ms(decisions.maxMs)} | ${Math.round(one.busiestSecond * 100)} % | ${ms(one.longestHoldMs)} | ${count(one.messagesOut)} | ${Math.round(one.coreShare * 100)} % |`
}

function renderPulls(one: SimulationFigures): string {
  const { p50, p90, p99, max } = one.pullRatio
  const fixed = (value: number) => value.toFixed(2)
  return `| ${nameOf(one)} | ${count(one.pulls)} | ${fixed(p50)} | ${fixed(p90)} | ${fixed(p99)} | ${fixed(max)} | ${one.virtualSeconds.toFixed(1)} s | ${one.sourceRatio.toFixed(3)} | ${fixed(one.uploadMaxOverMean)} |`
}

function renderCall([kind, call]: [string, CallFigures]): string {
  return `| ${kind} | ${count(call.calls)} | ${us(call.p50Ms)} | ${us(call.p99Ms)} | ${ms(call.maxMs)} | ${(call.totalMs / 1000).toFixed(2)} s |`
}

function nameOf(one: SimulationFigures): string {
  return one.plan.startsWith('day') ? `day, ${count(one.hosts)} hosts` : `rush, ${count(one.pulls)} hosts`
}

function count(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}

function bytes(value: number): string {
  return `${count(value)} bytes`
}

function us(value: number): string {
  return `${(value * 1000).toFixed(1)} µs`
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`
}
