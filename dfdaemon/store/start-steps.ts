// The steps of a store's start by name, each with its time and what it found: logged as each ends, and kept for whoever asks meanwhile.
import type { Clock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/logger.ts'

/** In this order; the last two run in the background, while the store is in use. */
export type StartStepName =
  | 'open index'
  | 'list files'
  | 'match records'
  | 'remove leftovers'
  | 'verify partial blobs'
  | 'read strays'

/** Counts grow while the step runs; bytes have `bytes` in their name. */
export type StepCounts = Record<string, number>

export interface StartStep {
  readonly step: StartStepName
  readonly counts: Readonly<StepCounts>
  /** How long it took, or has taken so far, in ms. */
  readonly ms: number
  readonly done: boolean
}

interface RunStep {
  readonly step: StartStepName
  readonly counts: StepCounts
  readonly startedMs: number
  ms: number | undefined
}

export class StartSteps {
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #steps: RunStep[] = []

  constructor(components: { clock: Clock; logger: Logger }) {
    this.#clock = components.clock
    this.#logger = components.logger
  }

  /** Runs one step; `work` counts what it finds. A step that fails is never done. @throws what `work` rejects with */
  async run<T>(step: StartStepName, work: (counts: StepCounts) => Promise<T>): Promise<T> {
    const run: RunStep = { step, counts: {}, startedMs: this.#clock.monotonic(), ms: undefined }
    this.#steps.push(run)
    const result = await work(run.counts)
    run.ms = this.#since(run.startedMs)
    this.#logger.info({ step, ...run.counts, ms: run.ms }, 'store start: step done')
    return result
  }

  /** Those begun so far. */
  list(): StartStep[] {
    return this.#steps.map(({ step, counts, startedMs, ms }) => ({
      step,
      counts: { ...counts },
      ms: ms ?? this.#since(startedMs),
      done: ms !== undefined,
    }))
  }

  #since(startedMs: number): number {
    return Math.round(this.#clock.monotonic() - startedMs)
  }
}
