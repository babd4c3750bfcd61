// The figures of a chaos run: a row for each story, as JSON, as a table on the terminal, and as docs/chaos.md.
import { type Machine, median } from '../bench/measure.ts'
import type { PullRecord } from './pull-load.ts'

export interface StoryRow {
  readonly name: string
  readonly tell: string
  readonly seconds: number
  readonly pulls: number
  readonly failed: number
  readonly wrong: number
  /** Attempts made again, since the own dfdaemon or the registry was down. */
  readonly excused: number
  /** Of pulls whose own dfdaemon and registry were up all the time, in ms; 0 without any. */
  readonly medianMs: number
  readonly worstMs: number
  /** The host of that pull. */
  readonly worstHost: string
  /** Of all pulls. */
  readonly worstOfAllMs: number
  readonly sourceBytes: number
  readonly idealBytes: number
  readonly figures: Readonly<Record<string, number>>
  /** What was wrong, a few of them. */
  readonly errors: readonly string[]
}

export interface ChaosRecord {
  readonly takenAt: string
  readonly machine: Machine
  readonly seed: number
  readonly full: boolean
  readonly rows: readonly StoryRow[]
}

const ERRORS_SHOWN = 8

export function summarize(
  about: Pick<StoryRow, 'name' | 'tell' | 'seconds' | 'sourceBytes' | 'idealBytes' | 'figures'>,
  records: readonly PullRecord[],
): StoryRow {
  const times = records.filter(one => one.outcome === 'ok').map(one => one.ms)
  const untroubled = records.filter(one => one.outcome === 'ok' && !one.troubled)
  const clear = untroubled.map(one => one.ms)
  const bad = records.filter(one => one.outcome !== 'ok')
  return {
    ...about,
    pulls: records.length,
    failed: records.filter(one => one.outcome === 'failed').length,
    wrong: records.filter(one => one.outcome === 'wrong').length,
    excused: records.reduce((sum, one) => sum + one.excused, 0),
    medianMs: clear.length === 0 ? 0 : Math.round(median(clear)),
    worstMs: Math.round(Math.max(0, ...clear)),
    worstHost: untroubled.find(one => one.ms === Math.max(...clear))?.host ?? '',
    worstOfAllMs: Math.round(Math.max(0, ...times)),
    errors: bad.slice(0, ERRORS_SHOWN).map(one => `${one.host}, ${one.image}: ${one.error}`),
  }
}

/** Goals that were missed, in words; none: the run passes. */
export function missedGoals({ rows }: ChaosRecord): string[] {
  return rows.flatMap(({ name, failed, wrong, figures, errors, pulls }) => [
    ...(pulls === 0 ? [`${name}: no pull was tried`] : []),
    ...(failed > 0 ? [`${name}: ${failed} pulls failed: ${errors.join('; ')}`] : []),
    ...(wrong > 0 ? [`${name}: wrong bytes were handed over: ${errors.join('; ')}`] : []),
    ...(figures['piecesRejected'] === 0 ? [`${name}: no piece was rejected, so nothing was tried`] : []),
  ])
}

const heads = [
  'story',
  'pulls',
  'failed',
  'wrong bytes',
  'retried',
  'median',
  'slowdown',
  'worst',
  'slowdown',
  'worst, with own faults',
  'source ÷ ideal',
]

function cellsOf(row: StoryRow, calm: StoryRow | undefined): string[] {
  const seconds = (ms: number) => (ms === 0 ? '–' : `${(ms / 1000).toFixed(1)} s`)
  const against = (ms: number, base: number | undefined) =>
    ms === 0 || !base ? '–' : `${(ms / base).toFixed(1)}x`
  return [
    row.name,
    String(row.pulls),
    String(row.failed),
    String(row.wrong),
    String(row.excused),
    seconds(row.medianMs),
    against(row.medianMs, calm?.medianMs),
    seconds(row.worstMs),
    against(row.worstMs, calm?.medianMs),
    seconds(row.worstOfAllMs),
    row.idealBytes === 0 ? '–' : (row.sourceBytes / row.idealBytes).toFixed(2),
  ]
}

/** The table as Markdown, with a row for all stories together. */
export function renderTable(record: ChaosRecord): string {
  const calm = record.rows.find(row => row.name === 'calm')
  const sum = (key: 'pulls' | 'failed' | 'wrong' | 'excused' | 'sourceBytes' | 'idealBytes') =>
    record.rows.reduce((total, row) => total + row[key], 0)
  const all = [
    '**all**',
    ...(['pulls', 'failed', 'wrong', 'excused'] as const).map(key => String(sum(key))),
    ...Array.from({ length: 5 }, () => ''),
    (sum('sourceBytes') / sum('idealBytes')).toFixed(2),
  ]
  const lines = [heads, heads.map(() => '---'), ...record.rows.map(row => cellsOf(row, calm)), all]
  return lines.map(cells => `| ${cells.join(' | ')} |`).join('\n')
}

export function renderPage(record: ChaosRecord): string {
  const told = record.rows.map(({ name, tell, seconds, figures }) => {
    const more = Object.entries(figures).map(([key, value]) => figureText(key, value))
    return `| ${name} | ${tell} | ${seconds.toFixed(0)} s | ${more.join('; ')} |`
  })
  return `# Chaos

Written by \`npm run test:chaos -- --write\`. Three supernodes with a seed each, four hosts, a registry behind a front that sends 12 MiB/s, all in containers on one machine
([compose.md](compose.md)). Throughout every story all hosts pull images that nobody had before (20 MiB), round after round, every digest checked.

- **failed**: a pull that could have succeeded, and did not. **retried**: attempts made again because the host's own dfdaemon was down or frozen, or the registry was; runtimes do so, or go to the registry.
- **median**, **worst** and their slowdowns (against the median of *calm*): of pulls whose own dfdaemon and registry were up all the time.
- **source ÷ ideal**: bytes of blobs that left the registry, over the images' bytes once.

Taken ${record.takenAt} on ${record.machine.cores} cores of ${record.machine.processor}, load ${record.machine.loadBefore.toFixed(1)} before, ${record.full ? 'full' : 'short'} form, seed ${record.seed}.

${renderTable(record)}

| story | what happens | took | found |
|---|---|---|---|
${told.join('\n')}

What an operator sees of each fault, and does about it: [operations.md](operations.md).
`
}

function figureText(key: string, value: number): string {
  if (key === 'tableWholeMs')
    return `table whole ${(value / 1000).toFixed(1)} s after the supernode's container was started`
  if (key === 'piecesRejected') return `${value} pieces rejected`
  return `${key}: ${value}`
}
