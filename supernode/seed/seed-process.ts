// Runs the supernode's own seed as a child process, starts it again when it dies, and takes it down with the supernode.
import { type ChildProcess, spawn } from 'node:child_process'
import type { Clock, Timer } from '../../shared/clock.ts'
import type { Logger } from '../../shared/logger.ts'

/** First and longest wait before a seed that died is started again, in ms. */
export const RESTART_MS_MIN = 250
export const RESTART_MS_MAX = 30_000
/** A seed that lived this long has earned a quick restart, in ms. */
const STEADY_MS = 60_000

/** How a child process is made; injected, so that tests run a dummy. */
export interface SeedLaunch {
  readonly command: string
  readonly args: readonly string[]
  /** Added to this process's environment. */
  readonly env: Readonly<Record<string, string>>
}

/** Ends a child whose parent is gone, as when the supernode was killed: without its channel it asks itself to stop. */
const leash = `--import=data:text/javascript,${encodeURIComponent(
  `process.channel?.unref();process.once('disconnect',()=>{process.kill(process.pid,'SIGTERM');setTimeout(()=>process.exit(1),15000).unref()})`,
)}`

/** The launch of `entry`, a Node program, under the flags of this process. */
export function nodeLaunch(entry: string, args: readonly string[], env: SeedLaunch['env']): SeedLaunch {
  return { command: process.execPath, args: [leash, ...process.execArgv, entry, ...args], env }
}

export class SeedProcess {
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #launch: SeedLaunch
  #child: ChildProcess | undefined
  #restart: Timer | undefined
  #delayMs = RESTART_MS_MIN
  #stopping = false
  /** How often it was started again. */
  restarts = 0

  constructor(components: { clock: Clock; logger: Logger }, init: { launch: SeedLaunch }) {
    this.#clock = components.clock
    this.#logger = components.logger
    this.#launch = init.launch
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  start(): void {
    const { command, args, env } = this.#launch
    const startedAt = this.#clock.monotonic()
    const child = spawn(command, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.#child = child
    let over = false
    const onOver = (reason: object) => {
      if (over) return
      over = true
      if (this.#child === child) this.#child = undefined
      if (this.#stopping) return
      if (this.#clock.monotonic() - startedAt > STEADY_MS) this.#delayMs = RESTART_MS_MIN
      this.#logger.warn({ ...reason, restartMs: this.#delayMs }, 'the seed ended; it is started again')
      this.#restart = this.#clock.after(this.#delayMs, () => {
        this.restarts++
        this.start()
      })
      this.#delayMs = Math.min(RESTART_MS_MAX, this.#delayMs * 2)
    }
    child.once('error', error => onOver({ err: error }))
    child.once('exit', (code, signal) => onOver({ code, signal }))
    this.#logger.info({ pid: child.pid }, 'seed process started')
  }

  /** Asks the seed to stop; killed after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true
    this.#restart?.cancel()
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    await new Promise<void>(resolve => {
      const timer = this.#clock.after(graceMs, () => child.kill('SIGKILL'))
      child.once('exit', () => {
        timer.cancel()
        resolve()
      })
      if (!child.kill('SIGTERM')) {
        timer.cancel()
        resolve()
      }
    })
  }
}
