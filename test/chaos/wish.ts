// What is asked of a chaos run on the command line.
import { parseArgs } from 'node:util'

export interface Wish {
  /** Everything at random at the end, for this long, in minutes. */
  readonly minutes: number
  /** Of everything at random. */
  readonly seed: number
  /** Only stories whose name has this in it; all unless given. */
  readonly only: string | undefined
  /** Faults last as long as they are told in the full form; the short form cuts the longest. */
  readonly full: boolean
  /** Writes docs/chaos.md and its JSON. */
  readonly writes: boolean
  readonly help: boolean
}

export const usage = `npm run test:chaos -- [options]
  --minutes N   everything at random for N minutes at the end (1)
  --seed N      of the random part; printed, so that a run can be repeated (of the clock)
  --only TEXT   only the stories with TEXT (or one of several, with commas between) in their name; "random" is the random part
  --full        faults last as long as they are told: a registry that fails for a minute; 10 random minutes
  --write       writes docs/chaos.md and docs/benchmarks/chaos.json; with --only the rows of those stories alone
`

/** A text says what was wrong. */
export function readWish(args: readonly string[]): Wish | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        minutes: { type: 'string' },
        seed: { type: 'string', default: String(Date.now() % 1_000_000) },
        only: { type: 'string' },
        full: { type: 'boolean', default: false },
        write: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    const minutes = Number(values.minutes ?? (values.full ? 10 : 1))
    const seed = Number(values.seed)
    if (!(minutes >= 0) || !Number.isInteger(seed)) return '--minutes and --seed are numbers'
    return { minutes, seed, only: values.only, full: values.full, writes: values.write, help: values.help }
  } catch (error) {
    return (error as Error).message
  }
}
