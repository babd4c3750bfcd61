// SIGINT and SIGTERM as an AbortSignal; the second one ends the process at once.
import { PantalaError } from '../../shared/errors.ts'

export interface StopSignal {
  readonly signal: AbortSignal
  /** Gives the signals back to Node. */
  release(): void
}

export function onStopSignal(): StopSignal {
  const stop = new AbortController()
  const onSignal = (name: NodeJS.Signals): void => {
    if (stop.signal.aborted) process.exit(name === 'SIGINT' ? 130 : 143)
    stop.abort(new PantalaError('SHUTTING_DOWN', { detail: name }))
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return {
    signal: stop.signal,
    release: () => {
      process.off('SIGINT', onSignal)
      process.off('SIGTERM', onSignal)
    },
  }
}
