// Starts services in order, undoes a start that failed half-way, and stops them in reverse within a grace.
import { systemClock } from './clock.ts'
import type { Logger } from './logger.ts'

export interface Service {
  readonly name: string
  start(): Promise<void> | void
  /** `graceMs`: how long running work may still take. */
  stop(graceMs: number): Promise<void> | void
}

/** Services started so far, stopped in reverse. */
export class ServiceStack {
  readonly #logger: Logger
  readonly #started: Service[] = []
  #stopping: Promise<void> | undefined

  constructor(components: { logger: Logger }) {
    this.#logger = components.logger
  }

  /** Starts one more; if it fails, all are stopped and its error is thrown. */
  async start(service: Service): Promise<void> {
    try {
      await service.start()
      this.#started.push(service)
    } catch (error) {
      await this.stop(0)
      throw error
    }
  }

  /** Stops all, last first; a service that fails or overstays its grace does not keep the others. Later calls wait for the first. */
  stop(graceMs: number): Promise<void> {
    this.#stopping ??= this.#stopAll(graceMs).finally(() => {
      this.#stopping = undefined
    })
    return this.#stopping
  }

  async #stopAll(graceMs: number): Promise<void> {
    for (let service = this.#started.pop(); service !== undefined; service = this.#started.pop()) {
      try {
        await withinMs(Promise.resolve(service.stop(graceMs)), graceMs + STOP_SLACK_MS)
      } catch (error) {
        this.#logger.warn({ err: error, service: service.name }, 'service did not stop cleanly')
      }
    }
  }
}

/** What a service may take beyond its grace before it is left behind, in ms. */
const STOP_SLACK_MS = 3000

function withinMs(work: Promise<void>, limitMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = systemClock.after(limitMs, () => reject(new Error(`not stopped within ${limitMs} ms`)))
    work.then(resolve, reject).finally(() => timer.cancel())
  })
}
