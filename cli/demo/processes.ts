// Child processes that never outlive us: started with their output kept, waited for, stopped by their own process id.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { createInterface } from 'node:readline'

export interface ProcessOptions {
  /** Shown in messages. */
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  /** A Node program: it ends itself once this process is gone, however that came about. */
  readonly leash?: boolean
  /** Called with each line of output. */
  readonly onLine?: (line: string) => void
}

/** Lines of output kept. */
const TAIL_LINES_MAX = 200
/** A line longer than this is cut, in characters. */
const LINE_CHARS_MAX = 4000

/**
 * Code that a leashed Node program, and every Node program it starts, runs first: once this process or its own parent is gone it asks itself
 * to stop, and dies if it has not within 5 s. A data URL, so that it works from a checkout and from a bundle alike.
 */
const leashCode = `
import { isMainThread } from 'node:worker_threads';
const parent = process.ppid;
const isAlone = () => {
  try {
    process.kill(${process.pid}, 0);
    return process.ppid !== parent;
  } catch {
    return true;
  }
};
if (isMainThread) {
  const watch = setInterval(() => {
    if (!isAlone()) return;
    clearInterval(watch);
    process.kill(process.pid, 'SIGTERM');
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), 5000).unref();
  }, 500).unref();
}`
const leashOption = `--import=data:text/javascript,${encodeURIComponent(leashCode)}`

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export class ServiceProcess {
  readonly name: string
  readonly #options: ProcessOptions
  readonly #tail: string[] = []
  #child: ChildProcess | undefined
  /** Resolves when the process is gone; never rejects. */
  ended: Promise<Ended> = new Promise(() => {})
  #endedAs: Ended | undefined

  constructor(options: ProcessOptions) {
    this.name = options.name
    this.#options = options
  }

  /** Starts it, also once more after it ended. */
  start(): void {
    this.#endedAs = undefined
    const { command, args, env, cwd, leash, onLine } = this.#options
    const nodeOptions = [process.env['NODE_OPTIONS'], leash ? leashOption : undefined]
      .filter(Boolean)
      .join(' ')
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...(leash ? { NODE_OPTIONS: nodeOptions } : {}), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child = child
    for (const output of [child.stdout, child.stderr]) {
      createInterface({ input: output }).on('line', line => {
        this.#tail.push(line.slice(0, LINE_CHARS_MAX))
        if (this.#tail.length > TAIL_LINES_MAX) this.#tail.shift()
        onLine?.(line)
      })
    }
    this.ended = new Promise(resolve => {
      const end = (ended: Ended) => {
        this.#endedAs ??= ended
        resolve(this.#endedAs)
      }
      child.once('error', error => {
        this.#tail.push(`${command}: ${error.message}`)
        end({ code: null, signal: null })
      })
      child.once('close', (code, signal) => end({ code, signal }))
    })
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** How it ended; undefined while it runs. */
  get endedAs(): Ended | undefined {
    return this.#endedAs
  }

  /** The last lines of its output, both streams together. */
  tail(lines = TAIL_LINES_MAX): string[] {
    return this.#tail.slice(-lines)
  }

  signal(signal: NodeJS.Signals): void {
    if (this.#endedAs === undefined) this.#child?.kill(signal)
  }

  /** Asks it to stop, and kills it if it has not after `graceMs`. */
  async stop(graceMs = 10_000): Promise<Ended | undefined> {
    if (this.#child === undefined || this.#endedAs !== undefined) return this.#endedAs
    this.signal('SIGTERM')
    const timer = setTimeout(() => this.signal('SIGKILL'), graceMs)
    const ended = await this.ended
    clearTimeout(timer)
    return ended
  }

  /** Waits until `probe` says true. @throws Error with the process's last words if it ends or the deadline passes first. */
  async waitUntil(
    probe: () => Promise<boolean>,
    options: { readonly deadlineMs: number; readonly signal?: AbortSignal },
  ): Promise<void> {
    const until = performance.now() + options.deadlineMs
    for (;;) {
      options.signal?.throwIfAborted()
      if (this.#endedAs !== undefined) throw this.explain(`${this.name} ended before it was ready`)
      if (await probe().catch(() => false)) return
      if (performance.now() > until)
        throw this.explain(`${this.name} was not ready in ${options.deadlineMs} ms`)
      await new Promise(resolve => setTimeout(resolve, 25))
    }
  }

  /** An error that shows how the process ended and its last lines. */
  explain(message: string): Error {
    const { code, signal } = this.#endedAs ?? {}
    const how = this.#endedAs === undefined ? '' : ` (${signal ? `signal ${signal}` : `exit code ${code}`})`
    const lines = this.tail(20).map(line => `    ${readLogLine(line)}`)
    const tail = lines.length === 0 ? 'It printed nothing.' : `Its last lines:\n${lines.join('\n')}`
    return new Error(`${message}${how}. ${tail}`)
  }
}

const levelNames: Readonly<Record<number, string>> = {
  10: 'TRACE',
  20: 'DEBUG',
  30: 'INFO',
  40: 'WARN',
  50: 'ERROR',
  60: 'FATAL',
}

/** A JSON log line as people read it; any other line as it is. */
export function readLogLine(line: string): string {
  if (!line.startsWith('{')) return line
  try {
    const { level, time: _time, pid: _pid, hostname: _hostname, msg, err, ...rest } = JSON.parse(line)
    const facts = Object.keys(rest).length === 0 ? '' : ` ${JSON.stringify(rest)}`
    const error = err?.message === undefined ? '' : ` (${err.message})`
    return `${(levelNames[level] ?? '').padEnd(5)} ${msg ?? ''}${error}${facts}`.slice(0, 400)
  } catch {
    return line
  }
}

/**
 * Below the ports that kernels give to connections and to whoever listens on port 0 (Linux begins at 32768, macOS at 49152) and below those
 * that Kubernetes opens on its nodes (from 30000).
 */
const quietPorts = { first: 16_384, last: 29_999 }
const PORT_TRIES = 100

/**
 * Finds ports that are free now, all different. They are chosen at random where no kernel hands ports out by itself: one of those would be
 * some connection's within the second that a process needs to come up and take it.
 */
export async function findFreePorts(count: number, host = '127.0.0.1'): Promise<number[]> {
  const held = await Promise.all(Array.from({ length: count }, () => holdFreePort(host)))
  await Promise.all(held.map(({ server }) => new Promise(resolve => server.close(resolve))))
  return held.map(({ port }) => port)
}

async function holdFreePort(host: string): Promise<{ port: number; server: Server }> {
  for (let tries = 1; ; tries++) {
    const port = randomInt(quietPorts.first, quietPorts.last + 1)
    const server = createServer()
    try {
      await once(server.listen(port, host), 'listening')
      return { port, server }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || tries === PORT_TRIES) throw error
    }
  }
}
