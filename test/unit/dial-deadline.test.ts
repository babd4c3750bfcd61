// The deadline of a dial: short until the host takes the connection, longer for what follows.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DialDeadline } from '../../dfdaemon/fetch/dial-deadline.ts'
import { TurnedClock } from '../doubles/turned-clock.ts'

const init = { dialTimeoutMs: 3000, openTimeoutMs: 8000 }

test('who does not take the connection is given up soon', () => {
  const clock = new TurnedClock()
  const deadline = new DialDeadline(clock, init)
  clock.advance(2999)
  assert.equal(deadline.isLate, false)
  clock.advance(1)
  assert.deepEqual([deadline.isLate, deadline.isReached], [true, false])
  deadline.noteReached()
  assert.equal(deadline.isReached, false, 'too late')
})

test('who took it has until the second deadline, counted from the beginning', () => {
  const clock = new TurnedClock()
  const deadline = new DialDeadline(clock, init)
  clock.advance(2000)
  deadline.noteReached()
  clock.advance(2000)
  deadline.noteReached()
  clock.advance(3999)
  assert.equal(deadline.isLate, false)
  clock.advance(1)
  assert.deepEqual([deadline.isLate, deadline.isReached], [true, true])
})

test('an ended one never comes', () => {
  const clock = new TurnedClock()
  const deadline = new DialDeadline(clock, init)
  deadline.end()
  clock.advance(60_000)
  assert.equal(deadline.isLate, false)
})
