// What is remembered of callers and repositories stays bounded, and the oldest goes first.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AccessMemory } from '../../dfdaemon/manifest/access-memory.ts'
import type { Digest } from '../../shared/digest.ts'
import { AcceptedCallers } from '../../supernode/edge/accepted-callers.ts'
import { TurnedClock } from '../doubles/turned-clock.ts'

const digestOfNumber = (number: number): Digest => `sha256:${number.toString(16).padStart(64, '0')}`
const source = { registry: 'reg.lab', repository: 'a/b' }

test('more tokens and digests than fit push out the oldest alone', () => {
  const memory = new AccessMemory({ clock: new TurnedClock() }, { freshMs: 60_000, awayMs: 3_600_000 })
  const scopes = Array.from({ length: 50_001 }, (_, number) =>
    memory.scopeOf({ ...source, authorization: `Bearer ${number}` }),
  )
  assert.equal(new Set(scopes).size, scopes.length)
  for (const scope of scopes) memory.accept(scope)
  assert.deepEqual([memory.accepts(scopes[0]!), memory.accepts(scopes[1]!)], [false, true])
  for (const scope of scopes) memory.refuse(scope, 1_000)
  assert.deepEqual([memory.isRefused(scopes[0]!), memory.isRefused(scopes[1]!)], [false, true])
  for (let number = 0; number <= 100_000; number++) memory.confirm(source, digestOfNumber(number))
  assert.equal(memory.standingOf(source, digestOfNumber(0)), undefined)
  assert.equal(memory.standingOf(source, digestOfNumber(1)), 'confirmed')
})

test('the supernode forgets the caller it accepted longest ago', () => {
  const callers = new AcceptedCallers({ clock: new TurnedClock() })
  for (let number = 0; number <= 100_000; number++) callers.accept(`scope ${number}`)
  assert.deepEqual([callers.ageMs('scope 0'), callers.ageMs('scope 1')], [Number.POSITIVE_INFINITY, 0])
})

test('a listing never takes back what was confirmed, and an older yes no younger one', () => {
  const clock = new TurnedClock()
  const memory = new AccessMemory({ clock }, { freshMs: 60_000, awayMs: 0 })
  memory.confirm(source, digestOfNumber(1))
  memory.list(source, [digestOfNumber(1), digestOfNumber(2)])
  assert.equal(memory.standingOf(source, digestOfNumber(1)), 'confirmed')
  assert.equal(memory.standingOf(source, digestOfNumber(2)), 'listed')
  assert.equal(memory.standingOf({ ...source, repository: 'a/c' }, digestOfNumber(1)), undefined)
  const scope = memory.scopeOf(source)
  clock.ms = 100_000
  memory.accept(scope)
  memory.accept(scope, 50_000)
  clock.ms = 159_999
  assert.deepEqual([memory.accepts(scope), memory.acceptsWhileAway(scope)], [true, false])
  clock.ms = 160_000
  assert(!memory.accepts(scope))
})
