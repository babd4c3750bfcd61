// Hands libp2p's own log lines to ours: its errors at debug, the rest at trace. Costs nothing where those levels are off.
import type { ComponentLogger, Logger as Libp2pLogger } from '@libp2p/interface'
import type { Logger } from '../logger.ts'

/** A libp2p logger on top of `logger`; silent without one. The levels are read once, since libp2p logs on its hot paths. */
export function makeComponentLogger(logger?: Logger): ComponentLogger {
  const errors = logger?.isLevelEnabled('debug') === true
  const traces = logger?.isLevelEnabled('trace') === true
  return { forComponent: name => makeScope(name, logger, errors, traces) }
}

function makeScope(name: string, logger: Logger | undefined, errors: boolean, traces: boolean): Libp2pLogger {
  const write = traces
    ? (format: unknown, ...rest: unknown[]) => logger?.trace({ component: name }, formatLine(format, rest))
    : ignore
  return Object.assign((format: unknown, ...rest: unknown[]) => write(format, ...rest), {
    enabled: traces,
    trace: write,
    error: errors
      ? (format: unknown, ...rest: unknown[]) => logger?.debug({ component: name }, formatLine(format, rest))
      : ignore,
    newScope: (scope: string) => makeScope(`${name}:${scope}`, logger, errors, traces),
  })
}

const ignore = (): void => {}

/** Fills libp2p's placeholders (%s %d %p %a %e %o …) in a plain way; lines are cut at 2,000 characters. */
function formatLine(format: unknown, rest: readonly unknown[]): string {
  let next = 0
  const text = String(format).replace(/%[a-zA-Z]/g, placeholder =>
    next < rest.length ? showValue(rest[next++]) : placeholder,
  )
  return text.slice(0, 2000)
}

function showValue(value: unknown): string {
  if (value instanceof Error) return value.message
  if (typeof value !== 'object' || value === null) return String(value)
  // Some of libp2p's objects throw at a property that they do not have.
  try {
    return 'toString' in value && value.toString !== Object.prototype.toString
      ? String(value)
      : JSON.stringify(value)
  } catch {
    return '[object]'
  }
}
