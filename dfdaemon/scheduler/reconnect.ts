// How long to wait before the next attempt to reach the supernode. Pure.
import type { Clock } from '../../shared/clock.ts'

/** First and longest delay between attempts, in ms. */
export const RECONNECT_MS_MIN = 100
export const RECONNECT_MS_MAX = 2000

/**
 * Delay in ms before attempt number `attempt` (0 is the first after a loss). Half of it is random, so that the hosts of a cluster do not all
 * come back at the same moment.
 */
export function reconnectDelayMs(attempt: number, random: () => number): number {
  const ceiling = Math.min(RECONNECT_MS_MAX, RECONNECT_MS_MIN * 2 ** Math.min(attempt, 16))
  return ceiling / 2 + (random() * ceiling) / 2
}

/** Resolves after `delayMs`, or at once when the signal aborts. */
export function delay(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const timer = clock.after(delayMs, done)
    signal.addEventListener('abort', done, { once: true })
    function done() {
      timer.cancel()
      signal.removeEventListener('abort', done)
      resolve()
    }
  })
}
