// What goes to make room, and when nothing can.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planEvictions, type RoomTaker } from '../../dfdaemon/store/eviction.ts'
import { digestOf } from '../../shared/digest.ts'

const bounds = { quotaBytes: 100, freeBytes: 1000, minFreeBytes: 0, blobsMax: 10 }

function taker(name: string, taken: Partial<RoomTaker>): RoomTaker {
  const size = taken.size ?? 10
  return {
    digest: digestOf(Buffer.from(name)),
    size,
    claimedBytes: size,
    heldBytes: size,
    writers: 0,
    handles: 0,
    usedAt: 0,
    ...taken,
  }
}

const old = taker('old', { size: 40, usedAt: 1 })
const middle = taker('middle', { size: 30, usedAt: 2 })
const fresh = taker('fresh', { size: 20, usedAt: 3 })
const all = [fresh, old, middle]

test('nothing goes while there is room, to the last byte', () => {
  assert.deepEqual(planEvictions(all, { bytes: 10, blobs: 1 }, bounds), [])
})

test('the least recently used go, and no more than are needed', () => {
  assert.deepEqual(planEvictions(all, { bytes: 11, blobs: 1 }, bounds), [old.digest])
  assert.deepEqual(planEvictions(all, { bytes: 51, blobs: 1 }, bounds), [old.digest, middle.digest])
})

test('what is open stays, and what cannot fit is refused', () => {
  const pinned = [taker('old', { size: 40, usedAt: 1, handles: 1 }), middle, fresh]
  assert.deepEqual(planEvictions(pinned, { bytes: 11, blobs: 1 }, bounds), [middle.digest])
  assert.throws(() => planEvictions(pinned, { bytes: 61, blobs: 1 }, bounds), { code: 'STORE_FULL' })
  assert.throws(() => planEvictions([], { bytes: 101, blobs: 1 }, bounds), { code: 'STORE_FULL' })
})

test('free space counts what is promised and not written yet', () => {
  const writing = taker('writing', {
    size: 50,
    claimedBytes: 50,
    heldBytes: 20,
    writers: 1,
    handles: 1,
    usedAt: 9,
  })
  const scarce = { ...bounds, quotaBytes: 1e6, freeBytes: 60, minFreeBytes: 10 }
  assert.deepEqual(planEvictions([old, writing], { bytes: 20, blobs: 1 }, scarce), [])
  assert.deepEqual(planEvictions([old, writing], { bytes: 21, blobs: 1 }, scarce), [old.digest])
})

test('the number of blobs is bounded, too', () => {
  const few = { ...bounds, blobsMax: 3 }
  assert.deepEqual(planEvictions(all, { bytes: 0, blobs: 1 }, few), [old.digest])
  assert.deepEqual(planEvictions(all, { bytes: 0, blobs: 0 }, few), [])
})

test('a quota that was lowered takes effect with the next blob', () => {
  assert.deepEqual(planEvictions(all, { bytes: 0, blobs: 1 }, { ...bounds, quotaBytes: 25 }), [
    old.digest,
    middle.digest,
  ])
})
