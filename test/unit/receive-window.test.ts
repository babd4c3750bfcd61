// A stream's receive window: never more in flight than it says, and as wide as the rate asks for.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  ORDINARY_WINDOW_BYTES,
  ReceiveWindow,
  TAKEN_WINDOW_BYTES_MAX,
  TAKEN_WINDOW_BYTES_MIN,
  WINDOW_MS,
} from '../../shared/transport/receive-window.ts'

const KiB = 1024

/** The other end sends all it may in frames of 16 KiB, at `bytesPerMs`; returns what it was allowed to have under way at most, after the first ten seconds. */
function mostInFlight(bytesPerMs: number): number {
  let now = 0
  const window = new ReceiveWindow(() => now)
  window.followRate()
  let allowed = 256 * KiB + window.open(0)
  let most = 0
  for (; now < 20_000; now += 10) {
    let budget = bytesPerMs * 10
    while (budget > 0 && allowed > 0) {
      const bytes = Math.min(16 * KiB, budget, allowed)
      assert(window.spend(bytes))
      window.noteReceived(bytes)
      allowed += window.open(0) - bytes
      budget -= bytes
    }
    if (now > 10_000) most = Math.max(most, allowed)
  }
  return most
}

test('an ordinary window opens in steps of a quarter, by what was read', () => {
  const window = new ReceiveWindow(() => 0)
  assert.equal(window.open(0), ORDINARY_WINDOW_BYTES - 256 * KiB)
  assert(window.spend(300 * KiB))
  assert.equal(window.open(0), 0, 'nothing of the frame has come')
  window.noteReceived(300 * KiB)
  assert.equal(window.open(300 * KiB), 0, 'nothing of it was read')
  assert.equal(window.open(100 * KiB), 0, 'less than a quarter')
  assert.equal(window.open(0), 300 * KiB)
  assert.equal(window.spend(ORDINARY_WINDOW_BYTES + 1), false)
})

test('a stream that is slow has little under way, a fast one enough for its rate', () => {
  assert.equal(mostInFlight(100), TAKEN_WINDOW_BYTES_MIN)
  const middle = mostInFlight(20_000)
  assert(middle >= 20_000 * WINDOW_MS * 0.7 && middle <= 20_000 * WINDOW_MS * 1.3, String(middle))
  const fast = mostInFlight(1_000_000)
  assert(fast > 0.9 * TAKEN_WINDOW_BYTES_MAX && fast <= TAKEN_WINDOW_BYTES_MAX, String(fast))
})
