// The page of the pull lab: what was measured, against which goals. Pure.
import type { Goal } from '../lab.ts'
import type { NginxFigures } from './nginx.ts'
import type { TransferFigures } from './piece-transfer.ts'
import type { PullFigures, ServicesFrom } from './pull.ts'

/** All that a run measured; what could not be measured says why. */
export interface BenchFigures {
  readonly services: ServicesFrom
  readonly pull: PullFigures
  readonly limited: readonly LimitedFigures[]
  readonly limitedSkipped?: string
  readonly transfer: Readonly<Record<'bare' | 'disk', TransferFigures>>
  readonly nginx?: Readonly<Record<'bare' | 'disk', NginxFigures>>
  readonly nginxSkipped?: string
}

export interface LimitedFigures extends PullFigures {
  readonly megabitsPerSecond: number
}

/** The goals of the project, each with what was seen. */
export function judgeGoals(figures: BenchFigures): Goal[] {
  const { bare, disk } = figures.transfer
  const MiB = 2 ** 20
  const limited = figures.limited.find(run => run.hosts === 1)
  const idle = figures.pull.memory.dfdaemon.idleBytes / MiB
  const goals: Goal[] = [
    ...judgePull('unlimited loopback', figures.pull),
    ...(limited === undefined ? [] : judgePull(`registry behind ${rate(limited)}`, limited)),
    {
      what: 'piece transfer, disk to disk, verified',
      goal: '≥ 600 MB/s',
      seen: `${Math.round(disk.megabytesPerSecond)} MB/s`,
      met: disk.megabytesPerSecond >= 600,
    },
    goal('the same, CPU of both ends', '≤ 2.5 CPU-s/GiB', disk.cpuSecondsPerGiB.both, 2.5, 'CPU-s/GiB'),
    goal('bare stream, CPU of both ends', '≤ 1.3 CPU-s/GiB', bare.cpuSecondsPerGiB.both, 1.3, 'CPU-s/GiB'),
    { what: 'dfdaemon, idle', goal: '≤ 110 MB', seen: `${Math.round(idle)} MiB`, met: idle * MiB <= 110e6 },
  ]
  return goals
}

/** The first pull of a fresh service is told too, and judged alike. */
function judgePull(link: string, run: PullFigures): Goal[] {
  const text = '≤ 1.10 × direct'
  return [
    goal(`cold pull, one host, ${link}`, text, run.coldRatio, 1.1, '×'),
    goal(`the same as the first pull after the start`, text, run.firstRatio, 1.1, '×'),
  ]
}

function goal(what: string, text: string, seen: number, limit: number, unit: string): Goal {
  return { what, goal: text, seen: `${seen.toFixed(2)} ${unit}`, met: seen <= limit }
}

export function renderReport(figures: BenchFigures): string {
  return `Registry, seed, dfdaemon and client share this machine. Supernode, seed and dfdaemon ran from ${figures.services === 'bundle' ? 'the bundle, as they are shipped' : 'the sources, as in development'}.

## Pull of a real image

${(figures.pull.imageBytes / 1e6).toFixed(0)} MB of gzip layers from docker-registry. The client is the same for both: every blob read and hashed with SHA-256, three at once, nothing kept.
Cold is a pull of which no blob is on host or seed, after three pulls of other images of the same lengths; the first pull after the services' start also pays for compiling their code. Warm is the cold pull once more. Medians of ${figures.pull.runs.coldMs.length} turns, each with fresh services and data directories.

| registry's link | hosts at once | direct | cold through Pantala | ratio | first after the start | ratio | warm | sent by the registry, cold |
|---|---|---|---|---|---|---|---|---|
${[figures.pull, ...figures.limited].map(renderPull).join('\n')}

With several hosts, the time is that of the slowest.${figures.limitedSkipped === undefined ? '' : ` Not measured with a limited link: ${figures.limitedSkipped}.`}

## Piece transfer, host to host

Two processes on loopback. Bare: the bytes of a stream, thrown away at the receiver. Disk: read from disk, sent, checked against each piece's hash, written to disk.
The baseline is nginx sending a file of the same length (sendfile, plain HTTP) to a Node client that throws it away, or hashes and stores it.

| what | MB/s | CPU-s/GiB sender | receiver | both |
|---|---|---|---|---|
${renderTransfer('Pantala, bare', figures.transfer.bare)}
${renderTransfer('Pantala, disk', figures.transfer.disk)}
${figures.nginx === undefined ? '' : `${renderTransfer('nginx, bare', figures.nginx.bare)}\n${renderTransfer('nginx, disk', figures.nginx.disk)}\n`}${figures.nginxSkipped === undefined ? '' : `\nnginx not measured: ${figures.nginxSkipped}.\n`}
## Memory

Resident, in MiB; idle is two seconds after the start, peak the highest during the pulls above (unlimited link).

| process | idle | peak |
|---|---|---|
${(['dfdaemon', 'supernode', 'seed'] as const).map(name => renderMemory(name, figures)).join('\n')}
`
}

function renderPull(run: PullFigures | LimitedFigures): string {
  const link = 'megabitsPerSecond' in run ? rate(run) : 'unlimited'
  const ms = (value: number) => `${(value / 1000).toFixed(2)} s`
  return `| ${link} | ${run.hosts} | ${ms(run.directMs)} | ${ms(run.coldMs)} | ${run.coldRatio.toFixed(2)} | ${ms(run.firstMs)} | ${run.firstRatio.toFixed(2)} | ${ms(run.warmMs)} | ${run.sourceRatio.toFixed(2)} × the image |`
}

function rate(run: LimitedFigures): string {
  return run.megabitsPerSecond >= 1000
    ? `${run.megabitsPerSecond / 1000} Gbit/s`
    : `${run.megabitsPerSecond} Mbit/s`
}

function renderTransfer(
  name: string,
  figures: {
    readonly megabytesPerSecond: number
    readonly cpuSecondsPerGiB: { readonly sender: number; readonly receiver: number; readonly both: number }
  },
): string {
  const { sender, receiver, both } = figures.cpuSecondsPerGiB
  return `| ${name} | ${Math.round(figures.megabytesPerSecond)} | ${sender.toFixed(2)} | ${receiver.toFixed(2)} | ${both.toFixed(2)} |`
}

function renderMemory(name: 'dfdaemon' | 'supernode' | 'seed', figures: BenchFigures): string {
  const { idleBytes, peakBytes } = figures.pull.memory[name]
  return `| ${name} | ${Math.round(idleBytes / 2 ** 20)} | ${Math.round(peakBytes / 2 ** 20)} |`
}
