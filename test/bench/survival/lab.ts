// The survival lab: what it costs running pulls that the supernode or a parent is killed, or a parent frozen, against undisturbed pulls of the same run.
import { buildBundle } from '../bundle.ts'
import { atMost, type Goal, type Lab } from '../lab.ts'
import { median } from '../measure.ts'
import { type Round, Rounds, type Trouble } from './rounds.ts'

export interface SurvivalFigures {
  readonly hosts: number
  readonly mib: number
  readonly sourceMiBPerSecond: number
  /** In the order in which they ran. */
  readonly rounds: readonly Round[]
}

const MiB = 2 ** 20
const troubles: readonly Trouble[] = ['supernode killed', 'parent killed', 'parent frozen']

export const survivalLab: Lab<SurvivalFigures> = {
  name: 'survival',
  summary: 'What running pulls lose when the supernode or a parent is killed, or a parent frozen',
  options: {
    hosts: { default: '8', short: '4', meaning: 'hosts that pull at once' },
    mib: { default: '256', short: '32', meaning: 'size of the image, MiB' },
    layers: { default: '4', meaning: 'layers of the image' },
    source: { default: '24', short: '8', meaning: 'what the registry sends, MiB/s' },
    repetitions: { default: '3', short: '1', meaning: 'rounds of each kind' },
  },
  run: async (wish, say) => {
    await buildBundle()
    const init = {
      hosts: Number(wish['hosts']),
      layers: Number(wish['layers']),
      imageBytes: Number(wish['mib']) * MiB,
      sourceBytesPerSecond: Number(wish['source']) * MiB,
    }
    const rounds: Round[] = []
    const lab = new Rounds(init)
    try {
      await lab.start()
      // The first pull compiles the code of all services, and does not count.
      await lab.run('none')
      for (let turn = 1; turn <= Number(wish['repetitions']); turn++) {
        for (const trouble of troubles) {
          for (const kind of ['none', trouble] as const) {
            const round = await lab.run(kind)
            rounds.push(round)
            const seconds = (round.slowestMs / 1000).toFixed(1)
            say(
              `${turn}: ${kind}, ${seconds} s, ${round.failed} failed, source ${round.sourceRatio.toFixed(2)}x`,
            )
          }
        }
      }
    } finally {
      await lab.stop()
    }
    return {
      hosts: init.hosts,
      mib: Number(wish['mib']),
      sourceMiBPerSecond: Number(wish['source']),
      rounds,
    }
  },
  judge,
  render,
}

const ofKind = ({ rounds }: SurvivalFigures, trouble: Trouble) =>
  rounds.filter(round => round.trouble === trouble)

/** What a trouble added, in s: the median over its rounds of the difference to the undisturbed round just before each. */
function addedSeconds({ rounds }: SurvivalFigures, trouble: Trouble): number {
  const added = rounds.flatMap((round, index) =>
    round.trouble === trouble ? [(round.slowestMs - rounds[index - 1]!.slowestMs) / 1000] : [],
  )
  return median(added)
}

function judge(figures: SurvivalFigures): Goal[] {
  const failed = figures.rounds.reduce((sum, round) => sum + round.failed, 0)
  const where = `${figures.mib} MiB, ${figures.hosts} hosts`
  return [
    atMost(`${where}: pulls failed, all rounds`, failed, 0, 'pulls', 0),
    atMost(`${where}, supernode killed: added time`, addedSeconds(figures, 'supernode killed'), 1, 's'),
    atMost(`${where}, parent killed: added time`, addedSeconds(figures, 'parent killed'), 1, 's'),
  ]
}

function render(figures: SurvivalFigures): string {
  const { hosts, mib, sourceMiBPerSecond } = figures
  const rows = (['none', ...troubles] as const).map(trouble => {
    const rounds = ofKind(figures, trouble)
    const times = rounds.map(({ slowestMs }) => (slowestMs / 1000).toFixed(1)).join(', ')
    const added = trouble === 'none' ? '' : `${addedSeconds(figures, trouble).toFixed(2)} s`
    const failed = rounds.reduce((sum, round) => sum + round.failed, 0)
    const source = Math.max(...rounds.map(({ sourceRatio }) => sourceRatio)).toFixed(3)
    const middle = `${(median(rounds.map(({ slowestMs }) => slowestMs)) / 1000).toFixed(2)} s`
    return `| ${trouble} | ${rounds.length} | ${failed} | ${middle} | ${added} | ${source} | ${times} |`
  })
  return `${hosts} hosts, each a process, pull an image of ${mib} MiB that nobody had before, all at once, from a registry that sends ${sourceMiBPerSecond} MiB/s. When half of it has left the
registry the supernode is killed (kill -9; its seed goes with it), or the last host is killed or frozen while others take pieces from it. Timed is the slowest of the other
${hosts - 1} hosts; **added** is the median of the differences to the undisturbed round just before each. Every digest is checked.

| what happens | rounds | failed | slowest pull, median | added | source / image, worst | slowest pulls, s |
|---|---|---|---|---|---|---|
${rows.join('\n')}
`
}
