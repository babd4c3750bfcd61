// Upload slots: never more than there are, in turn, and no turn is lost.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type SlotTaker, UploadSlots } from '../../dfdaemon/upload/upload-slots.ts'

function taker(name: string, log: string[], pieces = Number.POSITIVE_INFINITY): SlotTaker {
  let left = pieces
  return {
    takeSlot: () => {
      if (left-- <= 0) return false
      log.push(name)
      return true
    },
  }
}

test('who waits longest is next', () => {
  const log: string[] = []
  const slots = new UploadSlots(2)
  const [a, b, c] = ['a', 'b', 'c'].map(name => taker(name, log)) as [SlotTaker, SlotTaker, SlotTaker]
  slots.want(a)
  slots.want(b)
  slots.want(c)
  slots.want(a)
  slots.want(a)
  assert.deepEqual(log, ['a', 'b'])
  assert.equal(slots.waiting, 2)
  slots.release()
  slots.release()
  assert.deepEqual(log, ['a', 'b', 'c', 'a'])
  assert.equal(slots.busy, 2)
})

test('one who has nothing after all, or left, does not hold up the line', () => {
  const log: string[] = []
  const slots = new UploadSlots(1)
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
  slots.release()
  assert.deepEqual(log, ['busy', 'last'])
  slots.release()
  assert.equal(slots.busy, 0)
  assert.throws(() => slots.release(), TypeError)
})
