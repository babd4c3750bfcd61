// The pull lab: pulls of a real image and piece transfer between two hosts, every measurement in turn.
import { findCommand } from '../../harness/packages.ts'
import { buildBundle } from '../bundle.ts'
import type { Lab } from '../lab.ts'
import { median } from '../measure.ts'
import { measurePullsLimited, whyNoLimit } from './limited-link.ts'
import { measureNginx, type NginxFigures } from './nginx.ts'
import { measureTransfer, type TransferFigures } from './piece-transfer.ts'
import { findServices, measurePulls } from './pull.ts'
import { type BenchFigures, judgeGoals, type LimitedFigures, renderReport } from './report.ts'

const MiB = 2 ** 20

/** Pulls of a real image and piece transfer between two hosts, each against its baseline. */
export const pullLab: Lab<BenchFigures> = {
  name: 'pull',
  summary: 'Pulls of a real image by one host and by four, piece transfer between two hosts, and memory',
  options: {
    repetitions: { default: '5', short: '1', meaning: 'pulls of each kind that count' },
    mib: { default: '1024', short: '128', meaning: 'MiB moved by each piece transfer' },
  },
  whyNot: () =>
    findCommand('docker-registry') === undefined
      ? 'docker-registry not found; install the package docker-registry'
      : undefined,
  run: (wish, say) => runPulls(Number(wish['repetitions']), Number(wish['mib']) * MiB, say),
  judge: judgeGoals,
  render: renderReport,
}

type Say = (text: string) => void

async function runPulls(repetitions: number, bytes: number, say: Say): Promise<BenchFigures> {
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
  const transfer = {
    bare: await transferMedian('bare', bytes, say),
    disk: await transferMedian('disk', bytes, say),
  }
  const nginxSkipped = findCommand('nginx') === undefined ? 'nginx not found (Debian: nginx-core)' : undefined
  if (nginxSkipped !== undefined) say(`SKIP: ${nginxSkipped}`)
  const nginx =
    nginxSkipped === undefined
      ? { bare: await nginxMedian('bare', bytes, say), disk: await nginxMedian('disk', bytes, say) }
      : undefined
  return { services: findServices(), pull, limited, limitedSkipped, transfer, nginx, nginxSkipped }
}

/** The run with the median rate of three. */
async function transferMedian(kind: 'bare' | 'disk', bytes: number, say: Say): Promise<TransferFigures> {
  say(`piece transfer, ${kind}`)
  const options = { kind, bytes, nodeFlags: ['--max-semi-space-size=2'], stock: false, inFlight: 4 }
  const runs: TransferFigures[] = []
  for (let turn = 0; turn < 3; turn++) runs.push(await measureTransfer(options))
  return pickMedian(runs)
}

async function nginxMedian(kind: 'bare' | 'disk', bytes: number, say: Say): Promise<NginxFigures> {
  say(`nginx, ${kind}`)
  const runs: NginxFigures[] = []
  for (let turn = 0; turn < 3; turn++) runs.push(await measureNginx(kind, bytes))
  return pickMedian(runs)
}

function pickMedian<T extends { readonly megabytesPerSecond: number }>(runs: readonly T[]): T {
  const middle = median(runs.map(run => run.megabytesPerSecond))
  return runs.find(run => run.megabytesPerSecond === middle)!
}
