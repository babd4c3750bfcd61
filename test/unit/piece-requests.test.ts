// When a piece may be asked of a second parent.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PieceRequests } from '../../dfdaemon/session/piece-requests.ts'

function ask(init: { usualMs: number; begun: boolean; silentForMs?: number }): PieceRequests {
  const { usualMs, begun, silentForMs = 0 } = init
  const requests = new PieceRequests()
  requests.add(7, 'slow', 1000, {
    usualMs,
    begun: () => begun,
    stalled: () => false,
    silentForMs: () => silentForMs,
  })
  return requests
}

const overdueAt = (requests: PieceRequests, afterMs: number) =>
  requests.overdue(1000 + afterMs).map(request => request.piece)

test('what no parent has begun is asked again once it is out far longer than usual, and never at once', () => {
  assert.deepEqual(overdueAt(ask({ usualMs: 10, begun: false }), 1499), [])
  assert.deepEqual(overdueAt(ask({ usualMs: 10, begun: false }), 1500), [7])
  assert.deepEqual(overdueAt(ask({ usualMs: 1000, begun: false }), 2999), [])
  assert.deepEqual(overdueAt(ask({ usualMs: 1000, begun: false }), 3000), [7])
})

test('a piece whose bytes are coming is left to its parent for twice as long', () => {
  assert.deepEqual(overdueAt(ask({ usualMs: 10, begun: true }), 2999), [])
  assert.deepEqual(overdueAt(ask({ usualMs: 10, begun: true }), 3000), [7])
  assert.deepEqual(overdueAt(ask({ usualMs: 1000, begun: true }), 5999), [])
  assert.deepEqual(overdueAt(ask({ usualMs: 1000, begun: true }), 6000), [7])
})

test('a piece of a parent that sends no byte at all is asked again soon, a little later if it was begun', () => {
  for (const [begun, afterMs] of [
    [false, 650],
    [true, 950],
  ] as const) {
    assert.deepEqual(overdueAt(ask({ usualMs: 1000, begun, silentForMs: 5000 }), afterMs - 1), [])
    assert.deepEqual(overdueAt(ask({ usualMs: 1000, begun, silentForMs: afterMs }), afterMs), [7])
    assert.deepEqual(overdueAt(ask({ usualMs: 1000, begun, silentForMs: 600 }), 1499), [])
  }
})

test('what two were asked for is not asked again', () => {
  const requests = ask({ usualMs: 0, begun: false })
  requests.add(7, 'idle', 2000, {
    usualMs: 0,
    begun: () => false,
    stalled: () => false,
    silentForMs: () => 0,
  })
  assert.deepEqual(requests.overdue(60_000), [])
})

test('what came in whole and is being written is not asked again, however long that takes', () => {
  const requests = new PieceRequests()
  const how = { usualMs: 10, begun: () => false, stalled: () => false, silentForMs: () => 0 }
  const request = requests.add(7, 'quick', 1000, how)
  request.arrived = true
  assert.deepEqual(requests.overdue(60_000), [])
})

test('who fell silent is not counted on, what it has not begun is ended, and the oldest that waits can move', () => {
  const requests = new PieceRequests()
  let stalled = false
  const how = { usualMs: 10, stalled: () => stalled, silentForMs: () => 0 }
  const begun = requests.add(1, 'still', 1000, { ...how, begun: () => true })
  const waiting = requests.add(2, 'still', 1001, { ...how, begun: () => false })
  requests.add(3, 'still', 1002, { ...how, begun: () => false })
  assert.equal(
    requests.findUnbegun(1001, () => true),
    waiting,
  )
  assert.equal(
    requests.findUnbegun(1001, ({ piece }) => piece === 3),
    undefined,
  )
  waiting.movesTo = 'other'
  assert.equal(requests.findUnbegun(5000, () => true)!.piece, 3)
  assert.equal(requests.has(1), true)
  stalled = true
  assert.equal(requests.has(1), false)
  requests.abortUnbegun('still', new Error('silent'))
  assert.deepEqual([begun.abort.signal.aborted, waiting.abort.signal.aborted], [false, true])
})
