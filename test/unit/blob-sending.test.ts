// Sending a blob while its pieces land: every byte in order, and no memory used again while a chunk of it is still being taken.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { SEND_CHUNK_BYTES, sendBlob } from '../../dfdaemon/session/blob-sending.ts'
import { BufferPool } from '../../dfdaemon/session/buffer-pool.ts'
import type { ReadableBlob } from '../../dfdaemon/session/readable-blob.ts'
import { SessionWaiters } from '../../dfdaemon/session/session-waiters.ts'
import { Bitfield } from '../../shared/bitfield.ts'
import { systemClock } from '../../shared/clock.ts'

const geometry = { size: 4 * 1024 * 1024 + 77, pieceSize: 1024 * 1024 }

function makeBlob() {
  const bytes = randomBytes(geometry.size)
  const have = new Bitfield(5)
  const waiters = new SessionWaiters()
  const state = { complete: false }
  const blob: ReadableBlob = {
    geometry,
    has: piece => have.has(piece),
    get full() {
      return have.isFull
    },
    get complete() {
      return state.complete
    },
    read: async (position, into) => {
      into.set(bytes.subarray(position, position + into.byteLength))
    },
    wait: (what, wake, fail) => waiters.add(what, wake, fail),
  }
  const land = (piece: number): void => {
    have.add(piece)
    waiters.wake(piece)
  }
  const complete = (): void => {
    state.complete = true
    waiters.complete()
  }
  return { bytes, blob, land, complete, waiters }
}

const makePool = () => new BufferPool({ clock: systemClock }, { bytesMax: 1024 * 1024 })
const never = new AbortController().signal
const stuck = () => never
const turn = () => new Promise<void>(resolve => setImmediate(resolve))

test('memory is not used again before the chunk in it was taken, also when pieces are waited for in between', async () => {
  const { bytes, blob, land, complete } = makeBlob()
  const got: Buffer[] = []
  const chunks = geometry.pieceSize / SEND_CHUNK_BYTES
  // A slow client: what it gets is what the memory holds when it is done with it.
  const take = async (chunk: Uint8Array): Promise<void> => {
    for (let turns = 0; turns < 12; turns++) await turn()
    got.push(Buffer.from(chunk))
  }
  const sending = sendBlob(
    { blob, pool: makePool(), stuck },
    { offset: 0, length: geometry.size, whole: true },
    take,
    never,
  )
  for (const piece of [0, 1, 2, 3, 4]) {
    land(piece)
    // The next piece lands while the last chunk of this one is still being taken.
    for (let turns = 0; piece < 4 && got.length < chunks * (piece + 1) - 1; turns++) {
      assert.ok(turns < 10_000, `${got.length} chunks came of piece ${piece} and those before`)
      await turn()
    }
    for (let turns = 0; turns < 3; turns++) await turn()
  }
  complete()
  await sending
  assert.ok(Buffer.concat(got).equals(bytes))
})

test('the last piece waits until the blob is complete', async () => {
  const { bytes, blob, land, complete } = makeBlob()
  let got = 0
  const take = async (chunk: Uint8Array): Promise<void> => {
    got += chunk.byteLength
  }
  const sending = sendBlob(
    { blob, pool: makePool(), stuck },
    { offset: 0, length: geometry.size, whole: true },
    take,
    never,
  )
  for (const piece of [0, 1, 2, 3, 4]) land(piece)
  for (let turns = 0; turns < 50; turns++) await turn()
  assert.equal(got, 4 * geometry.pieceSize)
  complete()
  await sending
  assert.equal(got, bytes.byteLength)
})

test('the last piece of a part waits only if all of the blob is here', async () => {
  for (const isAllHere of [true, false]) {
    const { blob, land, complete } = makeBlob()
    for (const piece of isAllHere ? [0, 1, 2, 3, 4] : [4]) land(piece)
    let got = 0
    const take = async (chunk: Uint8Array): Promise<void> => {
      got += chunk.byteLength
    }
    const part = { offset: geometry.size - 10, length: 10, whole: false }
    const sending = sendBlob({ blob, pool: makePool(), stuck }, part, take, never)
    for (let turns = 0; turns < 50; turns++) await turn()
    assert.equal(got, isAllHere ? 0 : 10)
    complete()
    await sending
    assert.equal(got, 10)
  }
})

test('each piece that the sending comes to is told once', async () => {
  const { blob, land } = makeBlob()
  for (const piece of [1, 2, 3]) land(piece)
  const entered: number[] = []
  const part = { offset: 1024 * 1024 + 5, length: 2.5 * 1024 * 1024, whole: false }
  const onEnter = (piece: number): void => void entered.push(piece)
  await sendBlob({ blob, pool: makePool(), stuck }, { ...part, onEnter }, async () => {}, never)
  assert.deepEqual(entered, [1, 2, 3])
})

test('buffers go back whatever ends the sending', async () => {
  for (const end of ['client', 'blob', 'signal']) {
    const { blob, land, waiters } = makeBlob()
    const pool = makePool()
    const gone = new AbortController()
    land(0)
    const take = async (): Promise<void> => {
      if (end === 'client') throw new Error('client')
    }
    const sending = sendBlob(
      { blob, pool, stuck },
      { offset: 0, length: geometry.size, whole: true },
      take,
      gone.signal,
    )
    sending.catch(() => {})
    await turn()
    if (end === 'blob') waiters.fail(new Error('blob'))
    if (end === 'signal') gone.abort(new Error('signal'))
    await assert.rejects(sending, new RegExp(end))
    assert.equal(pool.lentBytes, 0)
  }
})

test('what is in memory is sent from there, and given back when it was taken', async () => {
  const { bytes, blob, land, complete } = makeBlob()
  const out = new Set<number>()
  const lend = (piece: number) => {
    if (piece % 2 === 1) return undefined
    out.add(piece)
    const start = piece * geometry.pieceSize
    const lent = {
      isKept: true,
      bytes: Buffer.from(bytes.subarray(start, start + geometry.pieceSize)),
      giveBack() {
        out.delete(piece)
        // As when another piece is put there.
        lent.bytes.fill(0)
      },
    }
    if (piece === 4) lent.giveBack()
    return piece === 2 ? Promise.resolve(lent) : piece === 4 ? Promise.resolve(undefined) : lent
  }
  const got: Buffer[] = []
  const take = async (chunk: Uint8Array): Promise<void> => {
    for (let turns = 0; turns < 3; turns++) await turn()
    got.push(Buffer.from(chunk))
  }
  for (const piece of [0, 1, 2, 3, 4]) land(piece)
  complete()
  const whole = { offset: 0, length: geometry.size, whole: true }
  await sendBlob({ blob: { ...blob, complete: true, lend }, pool: makePool(), stuck }, whole, take, never)
  assert.ok(Buffer.concat(got).equals(bytes))
  assert.equal(out.size, 0)
})

test('a part of a piece in memory is sent from where it begins to where it ends', async () => {
  const { bytes, blob, land } = makeBlob()
  const asked: boolean[] = []
  const lend = (piece: number, all: boolean) => {
    asked.push(all)
    const start = piece * geometry.pieceSize
    return { isKept: true, bytes: bytes.subarray(start, start + geometry.pieceSize), giveBack() {} }
  }
  for (const piece of [1, 2, 3]) land(piece)
  const part = { offset: 1.5 * geometry.pieceSize, length: 2 * geometry.pieceSize, whole: false }
  const got: Buffer[] = []
  const take = async (chunk: Uint8Array): Promise<void> => void got.push(Buffer.from(chunk))
  await sendBlob({ blob: { ...blob, lend }, pool: makePool(), stuck }, part, take, never)
  assert.ok(Buffer.concat(got).equals(bytes.subarray(part.offset, part.offset + part.length)))
  assert.deepEqual(asked, [false, true, false])
})
