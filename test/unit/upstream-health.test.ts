// For how long an endpoint that failed is asked last, and when it is looked at again.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UpstreamHealth } from '../../shared/source/upstream-health.ts'
import type { Endpoint } from '../../shared/source/upstreams.ts'
import { SkippingClock } from '../harness/manifests-rig.ts'
import { recordingLogger } from '../harness/source-client.ts'

const make = (origin: string): Endpoint => ({ origin, prefix: '', insecure: false, trust: '', mirror: true })
const [first, second] = [make('https://one.lab'), make('https://two.lab')]
const broken = { message: 'broken', retryAfterMs: 0 }

function start() {
  const clock = new SkippingClock()
  const { logger, lines } = recordingLogger()
  return { clock, lines, health: new UpstreamHealth({ clock, logger }) }
}

/** How long until the endpoint is looked at again, in whole seconds. */
function secondsUntilProbe(health: UpstreamHealth, clock: SkippingClock): number {
  for (let seconds = 0; seconds < 1_000; seconds++) {
    if (health.takeProbe(first)) return seconds
    clock.skip(1_000)
  }
  return Number.POSITIVE_INFINITY
}

test('those in trouble come last, in the configured order otherwise', () => {
  const { health } = start()
  const third = make('https://three.lab')
  const all = [first, second, third]
  assert.deepEqual(health.inOrder(all), all)
  health.failed(first, broken)
  assert.deepEqual(health.inOrder(all), [second, third, first])
  health.failed(second, broken)
  assert.deepEqual(health.inOrder(all), [third, first, second])
  health.answered(first)
  assert.deepEqual(health.inOrder(all), [first, third, second])
})

test('avoidance doubles from 5 seconds to a minute, and one look is taken at its end', () => {
  const { health, clock } = start()
  health.failed(first, broken)
  const periods = Array.from({ length: 6 }, () => {
    const seconds = secondsUntilProbe(health, clock)
    assert.equal(health.takeProbe(first), false)
    return seconds
  })
  assert.deepEqual(periods, [5, 10, 20, 40, 60, 60])
})

test('failures of requests that were under way do not add up', () => {
  const { health, clock, lines } = start()
  for (let request = 0; request < 20; request++) health.failed(first, broken)
  assert.equal(secondsUntilProbe(health, clock), 5)
  assert.equal(lines.length, 1)
})

test('what comes and goes is avoided for longer, until it has been well for a minute', () => {
  const { health, clock } = start()
  health.failed(first, broken)
  health.answered(first)
  health.failed(first, broken)
  assert.equal(secondsUntilProbe(health, clock), 10)
  health.answered(first)
  clock.skip(61_000)
  health.failed(first, broken)
  assert.equal(secondsUntilProbe(health, clock), 5)
})

test('a source that says how long it wants to be left alone is, up to a minute', () => {
  const { health, clock } = start()
  health.failed(first, { message: '429', retryAfterMs: 30_000 })
  assert.equal(secondsUntilProbe(health, clock), 30)
  const other = start()
  other.health.failed(first, { message: '429', retryAfterMs: 3_600_000 })
  assert.equal(secondsUntilProbe(other.health, other.clock), 60)
})
