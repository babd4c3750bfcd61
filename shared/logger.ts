// The logger every part takes: pino, JSON lines (pretty on a terminal), credentials redacted wherever they occur by name.
import { createRequire } from 'node:module'
import { type DestinationStream, type Logger as PinoLogger, pino, stdTimeFunctions } from 'pino'

export type Logger = PinoLogger

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

export interface LoggerInit {
  readonly name: string
  readonly level: string
  /** `auto`: pretty when standard error is a terminal. */
  readonly format: 'auto' | 'json' | 'pretty'
}

/** Names under which nothing is shown, in any spelling: `x-registry-token`, `clusterSecret`. */
const secretName = /authorization|password|secret|token|proof|ticket|cookie|credential/i

const boundSecrets = ['authorization', 'password', 'secret', 'token', 'proof', 'ticket', 'cookie']

/** Beyond these, facts of a log line are left out. */
const DEPTH_MAX = 6
const ITEMS_MAX = 200

/** Makes a logger that writes to standard error, or to `destination` (tests). */
export function createLogger(init: LoggerInit, destination?: DestinationStream): Logger {
  const options = {
    name: init.name,
    level: init.level,
    timestamp: stdTimeFunctions.isoTime,
    hooks: { logMethod: logCleanly },
    // By then `err` is described already; pino would describe the description.
    serializers: { err: (described: unknown) => described },
    // What a child logger is bound to passes by the hook.
    redact: { paths: boundSecrets, censor: '[redacted]' },
  }
  if (destination !== undefined) return pino(options, destination)
  const pretty = init.format === 'pretty' || (init.format === 'auto' && process.stderr.isTTY)
  if (!pretty) return pino(options, pino.destination({ fd: 2, sync: false, minLength: 0 }))
  return pino(options, makePrettyStream())
}

/** Loaded only where it is used: it takes time and memory that a service in a cluster should not spend. */
function makePrettyStream(): DestinationStream {
  const { build } = createRequire(import.meta.url)('pino-pretty') as typeof import('pino-pretty')
  return build({ destination: 2, sync: true, ignore: 'pid,hostname,name', translateTime: 'SYS:HH:MM:ss.l' })
}

/** Everything that is logged goes through here: what a secret's name stands for is masked, at any depth, and URLs lose user and password. */
function logCleanly(this: PinoLogger, args: unknown[], log: (...args: never[]) => void): void {
  const [first, ...rest] = args
  const facts = first instanceof Error ? { err: first } : first
  const words = first instanceof Error && rest.length === 0 ? [first.message] : rest
  log.apply(this, [facts, ...words].map(part => cleanFacts(part, 0)) as never[])
}

function cleanFacts(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return stripCredentials(value)
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Error) return describeError(value)
  if (depth > DEPTH_MAX) return '[deep]'
  if (Array.isArray(value)) return value.slice(0, ITEMS_MAX).map(item => cleanFacts(item, depth + 1))
  const prototype = Object.getPrototypeOf(value)
  // Dates, multiaddrs and their like know how to write themselves.
  if (prototype !== Object.prototype && prototype !== null) return value
  const clean: Record<string, unknown> = {}
  for (const [name, fact] of Object.entries(value).slice(0, ITEMS_MAX)) {
    const hidden = secretName.test(name) && typeof fact !== 'boolean' && fact !== undefined
    clean[name] = hidden ? '[redacted]' : cleanFacts(fact, depth + 1)
  }
  return clean
}

/** Errors in a line: code and message, the stack only of what is unexpected; no URL keeps its user and password. */
function describeError(error: Error): unknown {
  const { code } = error as { code?: unknown }
  return {
    type: error.name,
    ...(code === undefined ? {} : { code }),
    message: stripCredentials(error.message),
    ...(error.name === 'PantalaError' ? {} : { stack: stripCredentials(error.stack ?? '') }),
    ...(error.cause instanceof Error ? { cause: stripCredentials(error.cause.message) } : {}),
  }
}

/** Takes `user:password@` out of URLs in a text. */
export function stripCredentials(text: string): string {
  return text.replace(/\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi, '$1')
}
