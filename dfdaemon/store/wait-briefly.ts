// Waiting with an end: until work settles, a signal fires or a time is over, whichever is first.
import type { Clock } from '../../shared/clock.ts'

/**
 * Settles as `work` does, or without a value once `waitMs` (if given) are over; the work goes on.
 * @throws the signal's reason
 */
export async function waitBriefly(
  work: Promise<void>,
  bounds: { clock: Clock; waitMs?: number; signal?: AbortSignal | undefined },
): Promise<void> {
  const { clock, waitMs, signal } = bounds
  signal?.throwIfAborted()
  const { promise, resolve } = Promise.withResolvers<void>()
  const onAbort = (): void => resolve()
  signal?.addEventListener('abort', onAbort, { once: true })
  const timer = waitMs === undefined ? undefined : clock.after(waitMs, resolve)
  try {
    await Promise.race([work, promise])
    signal?.throwIfAborted()
  } finally {
    timer?.cancel()
    signal?.removeEventListener('abort', onAbort)
  }
}
