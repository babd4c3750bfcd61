// How long an attempt to reach the supernode may take, and how long to wait before the next.
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

/** How long one of several addresses may take to be dialled in the first round over them, in ms; twice as long in each further one. */
const DIAL_MS = 700

/** Undefined for a lone address, which keeps no other waiting. */
export function dialPatienceMs(attempt: number, addresses: number): number | undefined {
  return addresses > 1 ? DIAL_MS * 2 ** Math.min(attempt, 8) : undefined
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
