// Who reads from a session: what each needs next, in turn; and when the last has been gone for long enough.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ReaderSeats } from '../../dfdaemon/session/reader-seats.ts'
import type { Clock } from '../../shared/clock.ts'

const MiB = 1024 * 1024

function makeSeats(pieceSize = 4 * MiB) {
  const timers = new Set<() => void>()
  const clock = {
    after: (_ms: number, run: () => void) => {
      timers.add(run)
      return { cancel: () => timers.delete(run) }
    },
  } as unknown as Clock
  const heard = { moved: 0, empty: 0, deserted: 0 }
  const seats = new ReaderSeats(
    { clock },
    {
      lingerMs: 10,
      pieceSize,
      onMoved: () => heard.moved++,
      onEmpty: () => heard.empty++,
      onDeserted: () => heard.deserted++,
    },
  )
  const ring = (): void => {
    for (const run of [...timers]) run()
  }
  return { seats, heard, ring, pieces: () => [...seats.pieces] }
}

test('a reader of ranges needs what lies 16 MiB ahead of it, in the order in which it reads', () => {
  const { seats, pieces } = makeSeats()
  const seat = seats.take([
    { first: 9, last: 10 },
    { first: 2, last: 7 },
  ])
  assert.deepEqual(pieces(), [9, 10, 2, 3])
  seat.moveTo(2)
  assert.deepEqual(pieces(), [2, 3, 4, 5])
  seat.moveTo(6)
  assert.deepEqual(pieces(), [6, 7])
  seat.moveTo(40)
  assert.deepEqual(pieces(), [6, 7], 'it never reads that')
})

test('a reader looks further when half of what it saw is left', () => {
  const { seats, pieces } = makeSeats(MiB)
  const seat = seats.take([{ first: 0, last: 99 }])
  const seen: number[] = []
  for (let piece = 0; piece <= 24; piece++) {
    seat.moveTo(piece)
    if (seen.at(-1) !== pieces().at(-1)) seen.push(pieces().at(-1)!)
    assert.equal(pieces()[0], piece)
  }
  assert.deepEqual(seen, [15, 23, 31, 39])
})

test('the same piece in several ranges is needed once', () => {
  const { seats, pieces } = makeSeats()
  seats.take([
    { first: 3, last: 3 },
    { first: 3, last: 4 },
  ])
  assert.deepEqual(pieces(), [3, 4])
})

test('of large pieces two are looked ahead', () => {
  const { seats, pieces } = makeSeats(16 * MiB)
  seats.take([{ first: 0, last: 9 }])
  assert.deepEqual(pieces(), [0, 1])
})

test('readers take turns; one of the whole counts with what it waits for, and is no reader of ranges', () => {
  const { seats, pieces } = makeSeats()
  seats.take([{ first: 0, last: 2 }])
  const whole = seats.take()
  seats.take([{ first: 20, last: 21 }])
  assert.deepEqual(pieces(), [0, 20, 1, 21, 2])
  whole.moveTo(7)
  assert.deepEqual(pieces(), [0, 20, 7, 1, 21, 2])
  assert.deepEqual([...seats.rangedPieces], [0, 20, 1, 21, 2])
})

test('who leaves needs nothing any more, and moves no more', () => {
  const { seats, heard, pieces } = makeSeats()
  const seat = seats.take([{ first: 0, last: 1 }])
  seat.leave()
  seat.leave()
  seat.moveTo(1)
  assert.deepEqual(pieces(), [])
  assert.deepEqual(heard, { moved: 1, empty: 1, deserted: 0 })
})

test('it is told that nobody is there after a while, not if somebody came', () => {
  const { seats, heard, ring } = makeSeats()
  seats.take().leave()
  const second = seats.take()
  ring()
  assert.equal(heard.deserted, 0)
  second.leave()
  ring()
  assert.equal(heard.deserted, 1)
  assert.deepEqual([seats.hadWhole, seats.hadRanged, seats.hasWhole], [true, false, false])
})
