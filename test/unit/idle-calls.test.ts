// Calls of idle upload slots: as many as could be served, in turn, seldom to those that ask for nothing.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Callable, IdleCalls } from '../../dfdaemon/upload/idle-calls.ts'
import { TurnedClock } from '../doubles/turned-clock.ts'

function stage(names: readonly string[], idle: number) {
  const clock = new TurnedClock()
  const heard: string[] = []
  const slots = { idle }
  const children = names.map(name => ({ isCallable: true, call: () => void heard.push(name) }))
  const calls = new IdleCalls({ clock, slots, children: new Set<Callable>(children) })
  return { clock, heard, slots, children, calls }
}

test('as many are called as slots are idle, those called longest ago first', () => {
  const { clock, heard, calls } = stage(['a', 'b', 'c', 'd', 'e'], 2)
  calls.wake()
  assert.deepEqual(heard, [])
  clock.advance(40)
  assert.deepEqual(heard, ['a', 'b'])
  clock.advance(40)
  assert.deepEqual(heard, ['a', 'b', 'c', 'd'])
  clock.advance(40)
  assert.deepEqual(heard, ['a', 'b', 'c', 'd', 'e'])
})

test('one that asks for nothing is called less and less often, until it asks', () => {
  const { clock, heard, calls, children } = stage(['a'], 1)
  calls.wake()
  clock.advance(10_000)
  const times = heard.length
  assert(times >= 5 && times <= 10, `${times} calls`)
  calls.forget(children[0]!)
  calls.wake()
  clock.advance(40)
  assert.equal(heard.length, times + 1)
})

test('nobody is called while nobody can be, or no slot is idle, and nothing ticks', () => {
  const { clock, heard, calls, slots, children } = stage(['a'], 0)
  calls.wake()
  clock.advance(1000)
  slots.idle = 1
  clock.advance(1000)
  assert.deepEqual(heard, [], 'the end of a send wakes it')
  children[0]!.isCallable = false
  calls.wake()
  clock.advance(1000)
  children[0]!.isCallable = true
  clock.advance(1000)
  assert.deepEqual(heard, [])
  calls.wake()
  calls.stop()
  clock.advance(1000)
  assert.deepEqual(heard, [])
})
