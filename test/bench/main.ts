// `npm run bench`: runs one lab in full, or a short form of all; prints figures and goals, and writes docs/benchmarks.md and a page per lab.
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { cpuLab } from './cpu/lab.ts'
import type { Lab, LabRecord, LabWish } from './lab.ts'
import { latencyLab } from './latency/lab.ts'
import { describeMachine } from './measure.ts'
import { readRecord, renderPage, writeLab, writeSummary } from './pages.ts'
import { pullLab } from './pull/lab.ts'
import { schedulerLab } from './scheduler/lab.ts'
import { survivalLab } from './survival/lab.ts'
import { swarmLab } from './swarm/lab.ts'

const docs = join(import.meta.dirname, '../../docs')
const labs: readonly Lab[] = [
  swarmLab,
  cpuLab,
  latencyLab,
  schedulerLab,
  pullLab,
  survivalLab,
] as readonly Lab[]

const [name, ...rest] = process.argv.slice(2)
try {
  if (name === undefined) await runAll()
  else if (name === 'render') await renderAgain()
  else if (name === '--help') process.stdout.write(usage())
  else await runOne(name, rest)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exitCode = 1
}

/** The short form of every lab; writes nothing, since short runs are for seeing that all works. */
async function runAll(): Promise<void> {
  for (const lab of labs) {
    const why = lab.whyNot?.()
    if (why !== undefined) say(`SKIP ${lab.name}: ${why}`)
    else printRecord(lab, await measure(lab, readWish(lab, ['--short']).wish))
  }
}

async function runOne(name: string, args: readonly string[]): Promise<void> {
  const lab = labs.find(one => one.name === name)
  if (lab === undefined) {
    process.stderr.write(usage())
    process.exitCode = 2
    return
  }
  const { wish, help, writes, keep } = readWish(lab, args)
  if (help) {
    process.stdout.write(usageOf(lab))
    return
  }
  const why = lab.whyNot?.()
  if (why !== undefined) throw new Error(`${lab.name} cannot run here: ${why}`)
  const record = await measure(lab, wish)
  printRecord(lab, record)
  if (keep !== undefined) await writeLab(keep, lab, record)
  if (!writes) return
  await writeLab(docs, lab, record)
  await writeSummary(docs, labs)
}

/** Pages and plots anew from the records, after a change of how they look. */
async function renderAgain(): Promise<void> {
  for (const lab of labs) {
    const record = readRecord(docs, lab.name)
    if (record !== undefined) await writeLab(docs, lab, { ...record, goals: lab.judge(record.figures) })
  }
  await writeSummary(docs, labs)
}

async function measure(lab: Lab, wish: LabWish): Promise<LabRecord> {
  const machine = describeMachine()
  const figures = await lab.run(wish, say)
  return { lab: lab.name, machine, wish, goals: lab.judge(figures), figures }
}

function printRecord(lab: Lab, record: LabRecord): void {
  process.stdout.write(`${renderPage(lab, record)}\n`)
  for (const { what, goal, seen, met } of record.goals)
    process.stdout.write(`${met ? 'met   ' : 'MISSED'}  ${what}: ${seen} (goal ${goal})\n`)
}

function readWish(
  lab: Lab,
  args: readonly string[],
): { wish: LabWish; help: boolean; writes: boolean; keep?: string } {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...Object.fromEntries(Object.keys(lab.options).map(option => [option, { type: 'string' as const }])),
      short: { type: 'boolean', default: false },
      'dry-run': { type: 'boolean', default: false },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  const given = values as Readonly<Record<string, string | boolean | undefined>>
  const wish: Record<string, string> = {}
  for (const [option, { default: full, short }] of Object.entries(lab.options))
    wish[option] = String(given[option] ?? (values.short ? (short ?? full) : full))
  return {
    wish,
    help: values.help === true,
    writes: values['dry-run'] !== true && values.short !== true && values.out === undefined,
    keep: values.out as string | undefined,
  }
}

function usage(): string {
  const lines = labs.map(lab => `  ${lab.name.padEnd(12)} ${lab.summary}`)
  return `npm run bench                     a short form of all labs; writes nothing
npm run bench -- LAB [options]    one lab in full; writes its pages under docs/ (--out DIR: there; --dry-run, --short: prints only)
npm run bench -- LAB --help       its options
npm run bench -- render           the pages anew from the figures that are there

${lines.join('\n')}
`
}

function usageOf(lab: Lab): string {
  const rows = Object.entries(lab.options).map(
    ([option, { default: value, meaning }]) => `  --${option.padEnd(14)} ${meaning} [${value}]`,
  )
  return `npm run bench -- ${lab.name} [options]\n\n${lab.summary}\n\n${rows.join('\n')}\n  --short --dry-run --out DIR\n`
}

function say(text: string): void {
  process.stderr.write(`${text} …\n`)
}
