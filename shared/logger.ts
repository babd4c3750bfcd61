// The logger every part takes: pino, JSON lines (pretty on a terminal), credentials redacted wherever they occur by name.
import {
  type DestinationStream,
  type Logger as PinoLogger,
  pino,
  stdTimeFunctions,
  type TransportSingleOptions,
} from 'pino'

export type Logger = PinoLogger

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

export interface LoggerInit {
  readonly name: string
  readonly level: string
  /** `auto`: pretty when standard error is a terminal. */
  readonly format: 'auto' | 'json' | 'pretty'
}

const secretNames = [
  'authorization',
  'Authorization',
  'password',
  'secret',
  'token',
  'proof',
  'ticket',
  'cookie',
]

/** Paths of secrets at any of the first three levels, as pino's redaction takes them. */
const redacted = secretNames.flatMap(name => [name, `*.${name}`, `*.*.${name}`, `headers["${name}"]`])

/** Makes a logger that writes to standard error, or to `destination` (tests). */
export function createLogger(init: LoggerInit, destination?: DestinationStream): Logger {
  const options = {
    name: init.name,
    level: init.level,
    redact: { paths: redacted, censor: '[redacted]' },
    timestamp: stdTimeFunctions.isoTime,
    serializers: { err: describeError, error: describeError },
  }
  if (destination !== undefined) return pino(options, destination)
  const pretty = init.format === 'pretty' || (init.format === 'auto' && process.stderr.isTTY)
  if (!pretty) return pino(options, pino.destination({ fd: 2, sync: false, minLength: 0 }))
  const transport: TransportSingleOptions = {
    target: 'pino-pretty',
    options: { destination: 2, ignore: 'pid,hostname,name', translateTime: 'SYS:HH:MM:ss.l' },
  }
  return pino({ ...options, transport })
}

/** Errors in a line: code and message, the stack only of what is unexpected; no URL keeps its user and password. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return typeof error === 'string' ? stripCredentials(error) : error
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
