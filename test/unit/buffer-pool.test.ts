// The buffer pool: bounded in bytes, fair to those who wait, gives memory back.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BufferPool } from '../../dfdaemon/session/buffer-pool.ts'
import { systemClock } from '../../shared/clock.ts'

const never = new AbortController().signal
const makePool = (bytesMax: number) => new BufferPool({ clock: systemClock }, { bytesMax })

test('lends up to its bound, and the same buffers again', () => {
  const pool = makePool(300)
  const first = pool.tryLend(100)!
  const second = pool.tryLend(200)!
  assert.equal(pool.tryLend(1), undefined)
  const memory = first.buffer
  first.giveBack()
  first.giveBack()
  assert.equal(pool.lentBytes, 200)
  assert.equal(pool.tryLend(100)!.buffer, memory)
  second.giveBack()
})

test('a buffer larger than the bound is lent when nothing else is out', () => {
  const pool = makePool(100)
  const small = pool.tryLend(10)!
  assert.equal(pool.tryLend(500), undefined)
  small.giveBack()
  assert.equal(pool.tryLend(500)!.buffer.byteLength, 500)
})

test('waiters are served in order, and newcomers do not overtake them', async () => {
  const pool = makePool(100)
  const held = pool.tryLend(100)!
  const order: string[] = []
  const big = pool.lend(80, never).then(loan => {
    order.push('big')
    return loan
  })
  const small = pool.lend(10, never).then(loan => {
    order.push('small')
    return loan
  })
  assert.equal(pool.roomFor(1), 0)
  held.giveBack()
  await Promise.all([big, small])
  assert.deepEqual(order, ['big', 'small'])
})

test('a waiter that is aborted leaves the line and lets the next one through', async () => {
  const pool = makePool(100)
  const held = pool.tryLend(60)!
  const stop = new AbortController()
  const big = pool.lend(90, stop.signal)
  const small = pool.lend(30, never)
  stop.abort(new Error('gone'))
  await assert.rejects(big, /gone/)
  assert.equal((await small).buffer.byteLength, 30)
  held.giveBack()
})

test('idle buffers of another size make room', () => {
  const pool = makePool(100)
  const first = pool.tryLend(100)!
  first.giveBack()
  const loans = [pool.tryLend(50), pool.tryLend(50)]
  assert.ok(loans.every(loan => loan !== undefined))
  // Its memory is free by then, not garbage beside theirs.
  assert.equal(first.buffer.buffer.byteLength, 0)
})

test('what is kept is not lent again until it is let go, and does not count as lent', () => {
  const pool = new BufferPool({ clock: systemClock }, { bytesMax: 100, keptBytesMax: 100 })
  const first = pool.tryLend(100)!
  const release = first.keep()!
  first.giveBack()
  assert.equal(pool.lentBytes, 0)
  assert.equal(pool.keptBytes, 100)
  const second = pool.tryLend(100)!
  assert.notEqual(second.buffer, first.buffer)
  assert.equal(second.keep(), undefined)
  release()
  release()
  assert.equal(pool.keptBytes, 0)
  second.giveBack()
  // Both are idle now, within both bounds together.
  assert.deepEqual(new Set([pool.tryLend(50)!.buffer.byteLength]), new Set([50]))
})

test('a buffer that is kept by two and given back comes back with the last of them', () => {
  const pool = new BufferPool({ clock: systemClock }, { bytesMax: 100, keptBytesMax: 200 })
  const loan = pool.tryLend(100)!
  const releases = [loan.keep()!, loan.keep()!]
  releases[0]!()
  loan.giveBack()
  assert.notEqual(pool.tryLend(100)?.buffer, loan.buffer)
  releases[1]!()
  assert.equal(pool.keptBytes, 0)
})
