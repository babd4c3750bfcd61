// What a lab is: a measurement with its own options, goals, page and plots. Contracts only; main.ts runs them.
import type { Machine } from './measure.ts'

/** One goal of the project and what was seen. */
export interface Goal {
  readonly what: string
  readonly goal: string
  readonly seen: string
  readonly met: boolean
}

/** One option of a lab's command line; all are text and have a default. */
export interface LabOption {
  readonly default: string
  /** Default of the short form, where it differs. */
  readonly short?: string
  readonly meaning: string
}

/** Option values by name, defaults filled in. */
export type LabWish = Readonly<Record<string, string>>

export interface Lab<Figures = unknown> {
  readonly name: string
  /** One line for the table of labs. */
  readonly summary: string
  readonly options: Readonly<Record<string, LabOption>>
  /** Why the lab cannot run here; undefined if it can. */
  whyNot?(): string | undefined
  /** Measures. @throws Error that says what failed */
  run(wish: LabWish, say: (text: string) => void): Promise<Figures>
  judge(figures: Figures): readonly Goal[]
  /** The page below the machine and the goals, in Markdown. */
  render(figures: Figures): string
  /** Plots as SVG by a short name; the page shows them as `![…](<lab>-<name>.svg)`. */
  plots?(figures: Figures): Readonly<Record<string, string>>
}

/** What docs/benchmarks/<lab>.json holds. */
export interface LabRecord {
  readonly lab: string
  readonly machine: Machine
  readonly wish: LabWish
  readonly goals: readonly Goal[]
  readonly figures: unknown
}

/** A goal that is a limit from above: met when `seen` is at most `limit`. */
export function atMost(what: string, seen: number, limit: number, unit: string, digits = 2): Goal {
  return { what, goal: `≤ ${limit} ${unit}`, seen: `${seen.toFixed(digits)} ${unit}`, met: seen <= limit }
}

/** A goal that is a limit from below. */
export function atLeast(what: string, seen: number, limit: number, unit: string, digits = 2): Goal {
  const text = (value: number) => (value >= 1000 ? Math.round(value).toLocaleString('en-US') : String(value))
  const shown = seen >= 1000 ? text(seen) : seen.toFixed(digits)
  return { what, goal: `≥ ${text(limit)} ${unit}`, seen: `${shown} ${unit}`, met: seen >= limit }
}
