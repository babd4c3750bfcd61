// The page and the plots of the network lab. Pure.
import { plotBars, plotLines } from '../svg-plot.ts'
import type { SwarmLabFigures } from './lab.ts'
import type { SwarmFigures } from './run.ts'
import { WARM_UP_BYTES_MAX } from './scenarios.ts'

const MiB = 2 ** 20

export function renderSwarm({ runs }: SwarmLabFigures): string {
  return `Every host, the registry, and the supernode with its seed have a network namespace each, on one bridge; what a link sends and what it receives goes through a
token bucket (\`tc tbf\`). Services run from the bundle, as they are shipped. A client in each host's namespace pulls through its dfdaemon as a runtime does (manifest, then three
layers at once), checks every digest and keeps nothing. Before, while links have no limit, every host pulls another image that is as large (up to ${WARM_UP_BYTES_MAX / MiB} MiB), so that its code is compiled as in a service that has run for a while. The page cache is
full before each run, of clean pages: memory that this virtual machine gave back to its host would cost up to 1.7 CPU-s/GiB to write to, against 0.3. **Bound**: the image's bytes over the rate of one link, or of the thin one; all copies over all uplinks, if that takes longer. Headers of Ethernet, IP and TCP alone take 4.6 % of a link, so 1.05 is the
least that can be seen. Times are from each host's own beginning.

| run | hosts | link | image | first host | median | last | bound | last / bound | source bytes / image | seed bytes / image | upload max / mean | machine busy |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
${runs.map(renderRun).join('\n')}

![last host over the bound](swarm-last.svg)

![how full the links are](swarm-links.svg)

${runs.flatMap(renderNotes).join('\n')}

## Against direct pulls

| run | direct: first host | last | through Pantala: last | ratio | ideal for direct |
|---|---|---|---|---|---|
${runs
  .filter(run => run.direct !== undefined)
  .map(renderDirect)
  .join('\n')}

Direct pulls share the registry's one link, so the ideal for N hosts is N times the bound.

## Processor time

CPU-seconds for each GiB that a host got, kernel's part included. A host both receives and sends.

| run | host | client | seed | supernode |
|---|---|---|---|---|
${runs.map(renderCpu).join('\n')}
`
}

export function swarmPlots({ runs }: SwarmLabFigures): Readonly<Record<string, string>> {
  const watched = runs.find(run => run.scenario.hosts === 8) ?? runs.at(-1)!
  return {
    links: plotUsage(watched),
    last: plotBars(
      {
        title: 'Last host over the bound',
        xLabel: 'run, in the order of the table',
        yLabel: 'ratio',
        mark: { y: 1, label: 'link speed' },
      },
      runs.map((run, index) => ({ label: String(index + 1), value: run.lastOverBound })),
    ),
  }
}

function plotUsage({ scenario, usage }: SwarmFigures): string {
  const line = (name: string, key: 'registryUp' | 'seedUp' | 'hostsUp' | 'hostsDown') => ({
    name,
    points: usage.map(sample => [sample.atMs / 1000, sample[key]] as const),
  })
  return plotLines(
    {
      title: `How full the links are: ${scenario.name}`,
      xLabel: 's',
      yLabel: 'Mbit/s',
      mark: { y: scenario.rate / 1e6, label: 'rate of a link' },
      yMax: (scenario.rate / 1e6) * 1.2,
    },
    [
      line('registry, sent', 'registryUp'),
      line('seed, sent', 'seedUp'),
      line('hosts, sent (mean)', 'hostsUp'),
      line('hosts, received (mean)', 'hostsDown'),
    ],
  )
}

function renderRun(run: SwarmFigures): string {
  const { scenario, times } = run
  const up = scenario.upRate === undefined ? '' : ` down, ${rate(scenario.upRate)} up`
  return `| ${scenario.name} | ${scenario.hosts} | ${rate(scenario.rate)}${up} | ${Math.round(run.imageBytes / MiB)} MiB in ${scenario.layers} | ${seconds(times.first)} | ${seconds(times.median)} | ${seconds(times.last)} | ${seconds(run.boundMs)} | ${run.lastOverBound.toFixed(2)} | ${run.sourceRatio.toFixed(3)} | ${run.seedUploadRatio.toFixed(2)} | ${run.uploadMaxOverMean.toFixed(2)} | ${Math.round(run.machineBusy * 100)} % |`
}

function renderNotes(run: SwarmFigures): string[] {
  const { scenario, thinRatio, oddMs } = run
  const notes: string[] = []
  if (thinRatio !== undefined)
    notes.push(
      `- ${scenario.name}: the link between the zones carries ${rate(scenario.thinRate!)}; ${thinRatio.there.toFixed(2)} × the image went over it to the second zone, ${thinRatio.back.toFixed(2)} × back. Registry and seed are in the first.`,
    )
  if (scenario.slowBy !== undefined && oddMs !== undefined)
    notes.push(
      `- ${scenario.name}: the slow host itself took ${seconds(oddMs)}, ${(oddMs / (run.boundMs * scenario.slowBy)).toFixed(2)} × its own bound; it is not in the other figures.`,
    )
  if (scenario.churn === true && oddMs !== undefined)
    notes.push(
      `- ${scenario.name}: its dfdaemon was killed at half of the bound and started again; the second pull took ${seconds(oddMs)}. The others' figures are in the table.`,
    )
  return notes
}

function renderDirect(run: SwarmFigures): string {
  const direct = run.direct!
  return `| ${run.scenario.name} | ${seconds(direct.first)} | ${seconds(direct.last)} | ${seconds(run.times.last)} | ${(run.times.last / direct.last).toFixed(3)} | ${seconds(run.boundMs * run.scenario.hosts)} |`
}

function renderCpu(run: SwarmFigures): string {
  const { hosts, clients, seed, supernode } = run.cpuPerGiB
  const fixed = (value: number | null) => (value === null || Number.isNaN(value) ? '–' : value.toFixed(2))
  return `| ${run.scenario.name} | ${fixed(hosts)} | ${fixed(clients)} | ${fixed(seed)} | ${fixed(supernode)} |`
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`
}

function rate(bitsPerSecond: number): string {
  return bitsPerSecond >= 1e9 ? `${bitsPerSecond / 1e9} Gbit/s` : `${bitsPerSecond / 1e6} Mbit/s`
}
