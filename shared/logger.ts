// The logger every part takes: pino, JSON lines, credentials redacted.
import type { Logger as PinoLogger } from 'pino'

export type Logger = PinoLogger
