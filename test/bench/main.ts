// `npm run bench -- pull`: runs every measurement in turn, prints what it finds, and writes docs/benchmarks.md and .json.
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runCommand } from '../harness/container-engines.ts'
import { findCommand } from '../harness/packages.ts'
import { measurePullsLimited, whyNoLimit } from './limited-link.ts'
import { describeMachine, median } from './measure.ts'
import { measureNginx, type NginxFigures } from './nginx.ts'
import { measureTransfer, type TransferFigures } from './piece-transfer.ts'
import { findServices, measurePulls } from './pull.ts'
import { type BenchFigures, judgeGoals, type LimitedFigures, renderReport } from './report.ts'

const root = join(import.meta.dirname, '../..')
const MiB = 2 ** 20
const usage = `npm run bench -- pull [--repetitions 5] [--mib 1024] [--dry-run]

  pull            pulls, piece transfer and memory; writes docs/benchmarks.md and docs/benchmarks.json
  --repetitions   pulls of each kind that count
  --mib           MiB moved by each piece transfer
  --dry-run       prints the report instead of writing it
`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    repetitions: { type: 'string', default: '5' },
    mib: { type: 'string', default: '1024' },
    'dry-run': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
if (values.help || positionals.length !== 1 || positionals[0] !== 'pull') {
  process.stdout.write(usage)
  process.exit(values.help ? 0 : 2)
}
if (findCommand('docker-registry') === undefined) {
  process.stderr.write('docker-registry not found; install the package docker-registry\n')
  process.exit(1)
}
try {
  await runBench(Number(values.repetitions), Number(values.mib) * MiB, values['dry-run'])
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}

async function runBench(repetitions: number, bytes: number, dryRun: boolean): Promise<void> {
  const machine = describeMachine()
  await buildBundle()
  say(`pulls over unlimited loopback; services from ${findServices()}`)
  const pull = await measurePulls({ repetitions, hosts: 1 })
  const limitedSkipped = whyNoLimit()
  const limited: LimitedFigures[] = []
  if (limitedSkipped !== undefined) say(`SKIP: pulls over a limited link: ${limitedSkipped}`)
  for (const hosts of limitedSkipped === undefined ? [1, 4] : []) {
    say(`pulls with the registry behind 1 Gbit/s, ${hosts} at once`)
    const megabitsPerSecond = 1000
    const runs = hosts === 1 ? repetitions : Math.min(repetitions, 3)
    limited.push({
      megabitsPerSecond,
      ...(await measurePullsLimited({ megabitsPerSecond, repetitions: runs, hosts })),
    })
  }
  const transfer = { bare: await transferMedian('bare', bytes), disk: await transferMedian('disk', bytes) }
  const nginxSkipped = findCommand('nginx') === undefined ? 'nginx not found (Debian: nginx-core)' : undefined
  if (nginxSkipped !== undefined) say(`SKIP: ${nginxSkipped}`)
  const nginx =
    nginxSkipped === undefined
      ? { bare: await nginxMedian('bare', bytes), disk: await nginxMedian('disk', bytes) }
      : undefined
  const services = findServices()
  const figures: BenchFigures = {
    machine,
    services,
    pull,
    limited,
    limitedSkipped,
    transfer,
    nginx,
    nginxSkipped,
  }
  for (const { what, goal, seen, met } of judgeGoals(figures))
    process.stdout.write(`${met ? 'met   ' : 'MISSED'}  ${what}: ${seen} (goal ${goal})\n`)
  const report = renderReport(figures)
  if (dryRun) {
    process.stdout.write(report)
    return
  }
  const docs = join(root, 'docs')
  await writeFile(join(docs, 'benchmarks.md'), report)
  await writeFile(join(docs, 'benchmarks.json'), `${JSON.stringify(figures, undefined, 2)}\n`)
}

/** What is measured is what is shipped, of these very sources. */
async function buildBundle(): Promise<void> {
  const script = join(root, 'scripts', 'build.ts')
  if (existsSync(script)) await runCommand(process.execPath, [script])
}

/** The run with the median rate of three. */
async function transferMedian(kind: 'bare' | 'disk', bytes: number): Promise<TransferFigures> {
  say(`piece transfer, ${kind}`)
  const options = { kind, bytes, nodeFlags: ['--max-semi-space-size=2'], stock: false, inFlight: 4 }
  const runs: TransferFigures[] = []
  for (let turn = 0; turn < 3; turn++) runs.push(await measureTransfer(options))
  return pickMedian(runs)
}

async function nginxMedian(kind: 'bare' | 'disk', bytes: number): Promise<NginxFigures> {
  say(`nginx, ${kind}`)
  const runs: NginxFigures[] = []
  for (let turn = 0; turn < 3; turn++) runs.push(await measureNginx(kind, bytes))
  return pickMedian(runs)
}

function pickMedian<T extends { readonly megabytesPerSecond: number }>(runs: readonly T[]): T {
  const middle = median(runs.map(run => run.megabytesPerSecond))
  return runs.find(run => run.megabytesPerSecond === middle)!
}

function say(text: string): void {
  process.stderr.write(`${text} …\n`)
}
