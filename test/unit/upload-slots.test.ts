// Upload slots: never more than there are, in turn, and no turn is lost.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type SlotTaker, UploadSlots, YOUNG_MS, YOUNG_SLOTS } from '../../dfdaemon/upload/upload-slots.ts'
import { TurnedClock } from '../doubles/turned-clock.ts'

function taker(name: string, log: string[], pieces = Number.POSITIVE_INFINITY, ahead = false): SlotTaker {
  let left = pieces
  return {
    isAhead: () => ahead,
    takeSlot: () => {
      if (left-- <= 0) return false
      log.push(name)
      return true
    },
  }
}

test('who waits longest is next', () => {
  const log: string[] = []
  const slots = new UploadSlots({ clock: new TurnedClock() }, { slots: 2 })
  const [a, b, c] = ['a', 'b', 'c'].map(name => taker(name, log)) as [SlotTaker, SlotTaker, SlotTaker]
  slots.want(a)
  slots.want(b)
  slots.want(c)
  slots.want(c)
  assert.throws(() => slots.want(a), TypeError)
  assert.deepEqual(log, ['a', 'b'])
  assert.equal(slots.waiting, 1)
  slots.release(a)
  slots.want(a)
  slots.release(b)
  assert.deepEqual(log, ['a', 'b', 'c', 'a'])
  assert.equal(slots.busy, 2)
})

test('one who has nothing after all, or left, does not hold up the line', () => {
  const log: string[] = []
  const slots = new UploadSlots({ clock: new TurnedClock() }, { slots: 1 })
  const [busy, empty, left, last] = [
    taker('busy', log),
    taker('empty', log, 0),
    taker('left', log),
    taker('last', log),
  ]
  slots.want(busy!)
  slots.want(empty!)
  slots.want(left!)
  slots.want(last!)
  slots.leave(left!)
  slots.release(busy!)
  assert.deepEqual(log, ['busy', 'last'])
  slots.release(last!)
  assert.equal(slots.busy, 0)
  assert.throws(() => slots.release(last!), TypeError)
})

test('few pieces are begun at a time, and more only while those take long', () => {
  const log: string[] = []
  const clock = new TurnedClock()
  const slots = new UploadSlots({ clock }, { slots: YOUNG_SLOTS + 2 })
  const takers = Array.from({ length: YOUNG_SLOTS + 4 }, (_, number) => taker(`${number}`, log))
  for (const one of takers) slots.want(one)
  assert.deepEqual([slots.busy, clock.timers], [YOUNG_SLOTS, 1], 'one timer at a time')
  slots.release(takers[1]!)
  assert.deepEqual(log.slice(YOUNG_SLOTS), [`${YOUNG_SLOTS}`])
  assert.equal(clock.timers, 1)
  clock.advance(YOUNG_MS - 1)
  assert.equal(slots.busy, YOUNG_SLOTS)
  clock.advance(1)
  assert.equal(slots.busy, YOUNG_SLOTS + 2, 'not above all slots, whatever their age')
  assert.equal(slots.waiting, 1)
})

test('who asked for a first copy comes before those who wait longer for a second', () => {
  const log: string[] = []
  const slots = new UploadSlots({ clock: new TurnedClock() }, { slots: 1 })
  const never = Number.POSITIVE_INFINITY
  const busy = taker('busy', log)
  slots.want(busy)
  slots.want(taker('second copy', log))
  const first = taker('first copy', log, never, true)
  slots.want(first)
  slots.release(busy)
  slots.release(first)
  assert.deepEqual(log, ['busy', 'first copy', 'second copy'])
})

test('while first copies are expected all others get one slot at a time, and the rest once they are not', () => {
  const log: string[] = []
  const clock = new TurnedClock()
  let isReserved = true
  const slots = new UploadSlots({ clock }, { slots: 4, isReserved: () => isReserved })
  const [a, b, c] = ['a', 'b', 'c'].map(name => taker(name, log)) as [SlotTaker, SlotTaker, SlotTaker]
  const ahead = taker('ahead', log, 1, true)
  for (const one of [a, b, c, ahead]) slots.want(one)
  assert.deepEqual(log, ['a', 'ahead'])
  assert.equal(slots.idle, 0, 'somebody waits')
  slots.release(a)
  assert.deepEqual(log, ['a', 'ahead', 'b'])
  isReserved = false
  clock.advance(100)
  assert.deepEqual(log, ['a', 'ahead', 'b', 'c'])
  slots.release(b)
  slots.release(c)
  slots.release(ahead)
  assert.equal(slots.idle, YOUNG_SLOTS)
})
