// The fair queue: lines take turns, nobody waits for ever, and who leaves frees the place in line.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../../shared/clock.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { FairQueue } from '../../shared/fair-queue.ts'

const forEver = new AbortController().signal

/** Timers that end when told to. */
function makeQueue(waitingMax = 100) {
  const timers = new Set<() => void>()
  const clock: Clock = {
    now: () => 0,
    monotonic: () => 0,
    after: (_delayMs, task) => {
      timers.add(task)
      return { cancel: () => void timers.delete(task) }
    },
  }
  const queue = new FairQueue({ clock }, { waitingMax, waitMsMax: 1000, what: 'a turn' })
  return { queue, timers }
}

test('lines take turns, first come first served in each', () => {
  const { queue, timers } = makeQueue()
  const served: string[] = []
  for (const who of ['a1', 'a2', 'a3', 'b1', 'c1', 'b2'])
    void queue.wait(who[0]!, () => served.push(who), forEver)
  assert.equal(queue.waiting, 6)
  while (queue.next());
  assert.deepEqual(served, ['a1', 'b1', 'c1', 'a2', 'b2', 'a3'])
  assert.deepEqual([queue.waiting, timers.size], [0, 0])
})

test('the outcome is that of taking the place; one who cannot take it leaves it to the next', async () => {
  const { queue } = makeQueue()
  const failing = queue.wait('a', () => Promise.reject(new Error('late')), forEver)
  const throwing = queue.wait(
    'a',
    () => {
      throw new Error('no')
    },
    forEver,
  )
  const last = queue.wait('a', () => 7, forEver)
  assert.equal(queue.next(), true)
  assert.equal(queue.next(), true)
  assert.equal(queue.next(), false)
  await assert.rejects(failing, /late/)
  await assert.rejects(throwing, /no/)
  assert.equal(await last, 7)
})

test('too many, or too long, is OVERLOADED', async () => {
  const { queue, timers } = makeQueue(1)
  const waiting = queue.wait('a', () => 1, forEver)
  await assert.rejects(
    queue.wait('b', () => 1, forEver),
    error => isPantalaError(error, 'OVERLOADED'),
  )
  for (const end of [...timers]) end()
  await assert.rejects(waiting, error => isPantalaError(error, 'OVERLOADED'))
  assert.deepEqual([queue.waiting, timers.size, queue.next()], [0, 0, false])
})

test('who leaves is passed over, and leaves nothing behind', async () => {
  const { queue, timers } = makeQueue()
  const leaving = new AbortController()
  const left = queue.wait('a', () => assert.fail('it left'), leaving.signal)
  const stayed = queue.wait('a', () => 'served', forEver)
  leaving.abort(new Error('gone'))
  await assert.rejects(left, /gone/)
  await assert.rejects(
    queue.wait('a', () => assert.fail('it left'), leaving.signal),
    /gone/,
  )
  assert.equal(queue.waiting, 1)
  assert.equal(queue.next(), true)
  assert.equal(await stayed, 'served')
  assert.equal(timers.size, 0)
})

test('all that wait can be told that it is in vain', async () => {
  const { queue, timers } = makeQueue()
  const waiting = ['a', 'a', 'b'].map(line => queue.wait(line, () => 1, forEver))
  queue.rejectAll(new Error('closed'))
  for (const each of waiting) await assert.rejects(each, /closed/)
  assert.deepEqual([queue.waiting, timers.size], [0, 0])
})
