// Runs one simulation in a process of its own and prints its figures as JSON.
import { LogHistogram } from '../log-histogram.ts'
import { planDay, planRush } from './plans.ts'
import type { CallKind } from './probe.ts'
import { SwarmModel } from './swarm-model.ts'

export interface CallFigures {
  readonly calls: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
  readonly totalMs: number
}

export interface SimulationFigures {
  readonly plan: string
  readonly hosts: number
  readonly tasks: number
  readonly pulls: number
  readonly transfers: number
  readonly virtualSeconds: number
  readonly realSeconds: number
  /** Every call in which the scheduler decides: joins, registrations, reports, ends, faults. */
  readonly decisions: CallFigures
  readonly calls: Readonly<Record<CallKind, CallFigures>>
  /** Share of the time that the process had a core; less than 1 where others took it. */
  readonly coreShare: number
  readonly decisionsPerSecond: number
  /** Over all CPU time that the scheduler took, flushes and sweeps in it: report messages with decoding and encoding, without, and the pieces in them. */
  readonly reportsPerSecond: number
  readonly reportsPerSecondBare: number
  readonly piecesPerSecond: number
  readonly decodeMs: number
  readonly encodeMs: number
  readonly messagesIn: number
  readonly messagesOut: number
  readonly encodedMiB: number
  /** Share of its one core that the scheduler took in the busiest second. */
  readonly busiestSecond: number
  readonly busyShare: number
  /** CPU time of the longest flush or sweep, in ms. */
  readonly longestHoldMs: number
  /** Time of a pull over the least it could take. */
  readonly pullRatio: {
    readonly p50: number
    readonly p90: number
    readonly p99: number
    readonly max: number
  }
  /** By share of all pulls, 1 to 100 %: the ratio that so many kept within. */
  readonly pullRatios: readonly number[]
  /** What the source sent over the size of what was pulled. */
  readonly sourceRatio: number
  readonly uploadMaxOverMean: number
}

/** @param plan `rush:HOSTS` or `day:HOSTS:IMAGES` */
export function simulate(plan: string, seed: number): SimulationFigures {
  const [kind, hosts, images] = plan.split(':') as [string, string, string | undefined]
  const init = kind === 'day' ? planDay(Number(hosts), Number(images), seed) : planRush(Number(hosts), seed)
  const model = new SwarmModel(init)
  const startedAt = performance.now()
  const cpuBefore = process.threadCpuUsage()
  model.joinAll()
  model.run()
  const cpu = process.threadCpuUsage(cpuBefore)
  const realSeconds = (performance.now() - startedAt) / 1000
  const coreShare = Math.min(1, (cpu.user + cpu.system) / 1e6 / realSeconds)
  return sumUp(plan, model, init.pulls.length, { realSeconds, coreShare })
}

function sumUp(
  plan: string,
  model: SwarmModel,
  pulls: number,
  { realSeconds, coreShare }: { realSeconds: number; coreShare: number },
): SimulationFigures {
  const { probe } = model
  const { flush: _, sweep: __, ...deciding } = probe.calls
  const decisions = new LogHistogram()
  for (const histogram of Object.values(deciding)) decisions.add(histogram)
  const busyMs = Object.values(probe.calls).reduce((sum, histogram) => sum + histogram.sum, probe.decodeMs)
  const busySeconds = (busyMs / 1000) * coreShare
  const reports = probe.calls.report.count
  const ratios = model.times.map(({ tookMs, boundMs }) => tookMs / boundMs).sort((a, b) => a - b)
  const at = (q: number) => ratios[Math.min(ratios.length - 1, Math.floor(q * ratios.length))] ?? 0
  const up = model.hosts.filter(host => !host.seed).map(host => host.bytesUp)
  const wantedBytes = model.tasks
    .filter(task => task.hashed.includes(1))
    .reduce((sum, task) => sum + task.size, 0)
  return {
    plan,
    hosts: model.hosts.length,
    tasks: model.tasks.length,
    pulls,
    transfers: model.transfers,
    virtualSeconds: model.now / 1000,
    realSeconds,
    decisions: figuresOf(decisions),
    calls: Object.fromEntries(
      Object.entries(probe.calls).map(([kind, histogram]) => [kind, figuresOf(histogram)]),
    ) as Record<CallKind, CallFigures>,
    coreShare,
    decisionsPerSecond: decisions.count / busySeconds,
    reportsPerSecond: reports / busySeconds,
    reportsPerSecondBare: reports / (busySeconds - ((probe.decodeMs + probe.encodeMs) / 1000) * coreShare),
    piecesPerSecond: probe.piecesReported / busySeconds,
    decodeMs: probe.decodeMs,
    encodeMs: probe.encodeMs,
    messagesIn: decisions.count,
    messagesOut: probe.messagesOut,
    encodedMiB: probe.encodedBytes / 2 ** 20,
    busiestSecond: probe.busyMs.reduce((most, ms) => Math.max(most, ms ?? 0), 0) / 1000,
    busyShare: busyMs / model.now,
    longestHoldMs: probe.longestHoldMs,
    pullRatio: { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) },
    pullRatios: Array.from({ length: 100 }, (_, percent) => round(at(percent / 100))),
    sourceRatio: model.sourceBytes / wantedBytes,
    uploadMaxOverMean: Math.max(...up) / (up.reduce((sum, bytes) => sum + bytes, 0) / up.length),
  }
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000
}

function figuresOf(histogram: LogHistogram): CallFigures {
  return {
    calls: histogram.count,
    p50Ms: histogram.quantile(0.5),
    p99Ms: histogram.quantile(0.99),
    maxMs: histogram.max,
    totalMs: histogram.sum,
  }
}

if (import.meta.main) {
  const [plan, seed] = process.argv.slice(2) as [string, string]
  process.stdout.write(`${JSON.stringify(simulate(plan, Number(seed)))}\n`)
}
