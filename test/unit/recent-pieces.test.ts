// Pieces in memory: read once for all who want them, never overwritten while on loan, bounded.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { BufferPool } from '../../dfdaemon/session/buffer-pool.ts'
import { RecentPieces } from '../../dfdaemon/session/recent-pieces.ts'
import { systemClock } from '../../shared/clock.ts'

const MiB = 1024 * 1024
const geometry = { size: 20 * MiB + 17, pieceSize: MiB }
const never = new AbortController().signal

function setUp({ keptBytesMax = 64 * MiB, signal = never } = {}) {
  const blob = randomBytes(geometry.size)
  const pool = new BufferPool({ clock: systemClock }, { bytesMax: 4 * MiB, keptBytesMax })
  const reads: number[] = []
  const failure: { error?: Error } = {}
  const recent = new RecentPieces(
    { pool },
    {
      geometry,
      signal,
      read: async (position, into) => {
        reads.push(position / MiB)
        if (failure.error !== undefined) throw failure.error
        into.set(blob.subarray(position, position + into.byteLength))
      },
    },
  )
  const pieceOf = (piece: number) => blob.subarray(piece * MiB, (piece + 1) * MiB)
  const land = (piece: number): void => {
    const loan = pool.tryLend(MiB)!
    loan.buffer.set(pieceOf(piece))
    recent.keep(piece, loan)
    loan.giveBack()
  }
  return { pool, recent, reads, failure, pieceOf, land }
}

test('a piece that landed is taken from memory', async () => {
  const { recent, reads, pieceOf, land } = setUp()
  land(20)
  const lent = await recent.bring(20)
  assert.ok(lent.bytes.equals(pieceOf(20)))
  lent.giveBack()
  assert.deepEqual(reads, [])
})

test('two that want a piece at once cost one read, and so does who comes later', async () => {
  const { recent, reads, pieceOf } = setUp()
  const lent = await Promise.all([recent.bring(3), recent.bring(3), recent.lend(3)])
  for (const one of lent) assert.ok(one!.bytes.equals(pieceOf(3)))
  const later = recent.lend(3)
  assert.ok(later !== undefined && !(later instanceof Promise))
  assert.ok(later.bytes.equals(pieceOf(3)))
  for (const one of [...lent, later]) one!.giveBack()
  assert.deepEqual(reads, [3])
})

test('what is on loan is not overwritten, however many pieces come after it', async () => {
  const { pool, recent, pieceOf, land } = setUp()
  land(0)
  const lent = await recent.bring(0)
  for (let piece = 1; piece <= recent.piecesMax + 4; piece++) land(piece)
  assert.equal(recent.lend(0), undefined)
  assert.ok(lent.bytes.equals(pieceOf(0)))
  assert.equal(pool.keptBytes, (recent.piecesMax + 1) * MiB)
  lent.giveBack()
  lent.giveBack()
  assert.equal(pool.keptBytes, recent.piecesMax * MiB)
})

test('where nothing more may be kept a piece is read for those that wait, and then gone', async () => {
  const { pool, recent, reads, pieceOf, land } = setUp({ keptBytesMax: 0 })
  land(5)
  const lent = await Promise.all([recent.bring(5), recent.bring(5)])
  for (const one of lent) assert.ok(one.bytes.equals(pieceOf(5)) && !one.isKept)
  assert.equal(pool.lentBytes, MiB)
  for (const one of lent) one.giveBack()
  assert.equal(pool.lentBytes, 0)
  assert.equal(recent.lend(5), undefined)
  assert.deepEqual(reads, [5])
})

test('a piece that was stored anew is not what was kept before', () => {
  const { recent, land } = setUp()
  land(7)
  recent.forget(7)
  assert.equal(recent.lend(7), undefined)
})

test('a read that fails fails all who wait, and the next tries again', async () => {
  const { pool, recent, reads, failure, pieceOf } = setUp()
  failure.error = new Error('disk')
  const both = await Promise.allSettled([recent.bring(2), recent.bring(2)])
  assert.deepEqual(
    both.map(one => one.status),
    ['rejected', 'rejected'],
  )
  assert.equal(pool.lentBytes, 0)
  delete failure.error
  const lent = await recent.bring(2)
  assert.ok(lent.bytes.equals(pieceOf(2)))
  lent.giveBack()
  assert.deepEqual(reads, [2, 2])
})

test('nothing is held after the end, but for what is on loan', async () => {
  const { pool, recent, pieceOf, land } = setUp()
  land(0)
  land(1)
  const lent = await recent.bring(0)
  const coming = recent.bring(9)
  recent.close()
  land(2)
  assert.ok(lent.bytes.equals(pieceOf(0)))
  lent.giveBack()
  ;(await coming).giveBack()
  assert.equal(pool.keptBytes, 0)
  assert.equal(pool.lentBytes, 0)
})

test('waiting for a buffer ends with the session', async () => {
  const stop = new AbortController()
  const { pool, recent } = setUp({ signal: stop.signal })
  const all = pool.tryLend(4 * MiB)!
  const waiting = recent.bring(1)
  stop.abort(new Error('over'))
  await assert.rejects(async () => waiting, /over/)
  all.giveBack()
})

test('where what may be kept is used up, what is older gives its place', () => {
  const { recent, land } = setUp({ keptBytesMax: 2 * MiB })
  for (const piece of [0, 1, 2, 3]) land(piece)
  for (const piece of [0, 1]) assert.equal(recent.lend(piece), undefined)
  for (const piece of [2, 3]) assert.notEqual(recent.lend(piece), undefined)
})
