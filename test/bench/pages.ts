// Writes what a lab found under docs/benchmarks/: its record as JSON, its page, its plots; and docs/benchmarks.md, which sums up all records.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Goal, Lab, LabRecord } from './lab.ts'
import type { Machine } from './measure.ts'

/** Writes record, page and plots of one lab. */
export async function writeLab(docs: string, lab: Lab, record: LabRecord): Promise<void> {
  const folder = join(docs, 'benchmarks')
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, `${lab.name}.json`), `${JSON.stringify(record, undefined, 1)}\n`)
  await writeFile(join(folder, `${lab.name}.md`), renderPage(lab, record))
  for (const [name, svg] of Object.entries(lab.plots?.(record.figures) ?? {}))
    await writeFile(join(folder, `${lab.name}-${name}.svg`), svg)
}

/** Writes docs/benchmarks.md from the records that are there. */
export async function writeSummary(docs: string, labs: readonly Lab[]): Promise<void> {
  const records = labs.flatMap(lab => {
    const record = readRecord(docs, lab.name)
    return record === undefined ? [] : [record]
  })
  await writeFile(join(docs, 'benchmarks.md'), renderSummary(labs, records))
}

export function readRecord(docs: string, name: string): LabRecord | undefined {
  const file = join(docs, 'benchmarks', `${name}.json`)
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as LabRecord) : undefined
}

export function renderPage(lab: Lab, record: LabRecord): string {
  const { machine, goals, wish, figures } = record
  const call = Object.entries(wish).filter(([name, value]) => value !== lab.options[name]?.default)
  const words = call.map(([name, value]) => ` --${name} ${value}`).join('')
  return [
    `# Benchmark: ${lab.name}`,
    '',
    `${lab.summary}. Written by \`npm run bench -- ${lab.name}${words}\`, not by hand; the same for machines: [${lab.name}.json](${lab.name}.json). All labs: [benchmarks.md](../benchmarks.md).`,
    '',
    describe(machine),
    '',
    ...(goals.length === 0 ? [] : ['## Goals', '', ...goalTable(goals), '']),
    lab.render(figures).trim(),
    '',
  ].join('\n')
}

function renderSummary(labs: readonly Lab[], records: readonly LabRecord[]): string {
  const found = new Map(records.map(record => [record.lab, record]))
  const short = records.flatMap(record => record.goals.filter(goal => !goal.met))
  const sections = labs.flatMap(lab => {
    const record = found.get(lab.name)
    if (record === undefined) return []
    return [
      `## [${lab.name}](benchmarks/${lab.name}.md)`,
      '',
      `${lab.summary}. ${describe(record.machine)}`,
      '',
      ...(record.goals.length === 0 ? [] : [...goalTable(record.goals), '']),
    ]
  })
  return [
    '# Benchmarks',
    '',
    'Written by `npm run bench -- LAB`; not by hand. Ratios are of one run, baseline and all. Each lab has a page with its figures and plots, and a JSON file beside it.',
    '',
    ...sections,
    short.length === 0
      ? 'Every goal is met.'
      : `Falls short: ${short.map(goal => `${goal.what} (${goal.seen}, goal ${goal.goal})`).join('; ')}.`,
    '',
  ].join('\n')
}

export function goalTable(goals: readonly Goal[]): string[] {
  return [
    '| what | goal | seen | |',
    '|---|---|---|---|',
    ...goals.map(
      goal => `| ${goal.what} | ${goal.goal} | ${goal.seen} | ${goal.met ? 'met' : '**missed**'} |`,
    ),
  ]
}

/** One paragraph on the machine, and whether others spoiled the figures. */
export function describe(machine: Machine): string {
  const versions = Object.entries(machine.versions)
    .filter(([, version]) => version !== 'not installed')
    .map(([name, version]) => `${name} ${version}`)
  const busy =
    machine.loadBefore < 0.5
      ? ''
      : ` **Others were at work on it** (load ${machine.loadBefore.toFixed(1)} before the run), so these figures are too slow.`
  return `${machine.date}, ${machine.cores} × ${machine.processor}, ${machine.memoryGiB} GiB, Linux ${machine.kernel}; ${versions.join(', ')}.${busy}`
}

/** Names of plots that are on disk for a lab, for a check that none is stale. */
export function listPlots(docs: string, name: string): string[] {
  return readdirSync(join(docs, 'benchmarks')).filter(
    file => file.startsWith(`${name}-`) && file.endsWith('.svg'),
  )
}
