// Blobs that a host has: small ones are read from the disk once, as long as the store has them, and never handed on if the disk has spoilt them.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { BlobReader, type ReadingPlace } from '../../dfdaemon/session/blob-reader.ts'
import type { OpenBlob } from '../../dfdaemon/session/blobs.ts'
import { BufferPool } from '../../dfdaemon/session/buffer-pool.ts'
import { LocalBlobs } from '../../dfdaemon/session/local-blobs.ts'
import { KEPT_BLOB_BYTES_MAX } from '../../dfdaemon/session/small-blobs.ts'
import { systemClock } from '../../shared/clock.ts'
import { digestOf } from '../../shared/digest.ts'
import { geometryFor } from '../../shared/piece.ts'
import { hashPiece } from '../../shared/piece-hash.ts'
import { privateKey, type TaskKey } from '../../shared/task-key.ts'
import { MemoryBlobStore } from '../doubles/memory-blob-store.ts'
import { quietLogger } from '../harness/schedule-net.ts'
import { sendAll } from '../scripts/session-harness.ts'

const signal = new AbortController().signal

/** A store that counts what is opened, and may spoil what is read. */
class WatchedStore extends MemoryBlobStore {
  opened = 0
  isRotten = false

  override async open(digest: TaskKey, openSignal?: AbortSignal) {
    this.opened++
    const handle = await super.open(digest, openSignal)
    if (handle === undefined || !this.isRotten) return handle
    const read = handle.read.bind(handle)
    handle.read = async (position, into) => {
      await read(position, into)
      into[0]! ^= 1
    }
    return handle
  }
}

async function setUp(bytes: Buffer, key: TaskKey = digestOf(bytes)) {
  const store = new WatchedStore()
  const handle = await store.create(key, geometryFor(bytes.byteLength))
  await handle.writePiece(0, bytes, hashPiece(bytes))
  await handle.commit()
  await handle.close()
  const pool = new BufferPool({ clock: systemClock }, { bytesMax: 1024 * 1024 })
  const blobs = new LocalBlobs({ store, logger: quietLogger })
  const read = (place: ReadingPlace): OpenBlob =>
    new BlobReader(
      { pool, logger: quietLogger, stuck: () => signal },
      {
        place,
        whole: true,
        findNext: async () => undefined,
        passOn: () => Promise.reject(new Error('no way')),
      },
    )
  const local = {
    open: (wanted: TaskKey, from: AbortSignal) => blobs.open(wanted, read, from),
    openFresh: blobs.openFresh.bind(blobs),
  }
  return { store, local, key }
}

test('a small blob is read from the disk once; a read of it counts as use', async () => {
  const bytes = randomBytes(3000)
  const { store, local, key } = await setUp(bytes)
  for (let turn = 0; turn < 3; turn++) {
    const usedAt = store.stat(key)!.usedAt
    const blob = (await local.open(key, signal))!
    assert.deepEqual(Buffer.from(blob.bytes!), bytes)
    assert.equal(blob.from, 'cache')
    assert.deepEqual(await sendAll(blob, 100, 50), bytes.subarray(100, 150))
    assert.ok(store.stat(key)!.usedAt > usedAt)
  }
  assert.equal(store.opened, 1)
})

test('what a session has just fetched is not read again', async () => {
  const bytes = randomBytes(500)
  const { store, local, key } = await setUp(bytes)
  let closed = 0
  const fresh = {
    geometry: geometryFor(bytes.byteLength),
    read: async (_: number, into: Uint8Array) => into.set(bytes),
  }
  const blob = await local.openFresh(key, fresh, () => void closed++)
  assert.deepEqual(Buffer.from(blob!.bytes!), bytes)
  blob!.close()
  assert.equal(closed, 1)
  assert.deepEqual(Buffer.from((await local.open(key, signal))!.bytes!), bytes)
  assert.equal(store.opened, 0)
})

test('what the store has no more is not served from memory', async () => {
  const { store, local, key } = await setUp(randomBytes(500))
  await local.open(key, signal)
  await store.delete(key)
  assert.equal(await local.open(key, signal), undefined)
})

test('a small blob that the disk has spoilt is not handed on, and is no longer complete', async () => {
  const { store, local, key } = await setUp(randomBytes(500))
  store.isRotten = true
  assert.equal(await local.open(key, signal), undefined)
  assert.equal(store.stat(key), undefined)
})

test('private content stays under its registry’s name, and what anyone may have serves those with a credential too', async () => {
  const bytes = randomBytes(500)
  const secret = await setUp(bytes, privateKey(digestOf(bytes), 'reg.lab'))
  assert.ok(await secret.local.open(secret.key, signal))
  assert.equal(await secret.local.open(digestOf(bytes), signal), undefined)
  const open = await setUp(bytes)
  assert.ok(await open.local.open(privateKey(open.key, 'reg.lab'), signal))
})

test('a larger blob is read from the store each time', async () => {
  const bytes = randomBytes(KEPT_BLOB_BYTES_MAX + 1)
  const { store, local, key } = await setUp(bytes)
  for (let turn = 0; turn < 2; turn++) {
    const blob = (await local.open(key, signal))!
    assert.equal(blob.bytes, undefined)
    assert.deepEqual(await sendAll(blob, 0, bytes.byteLength), bytes)
  }
  assert.equal(store.opened, 2)
})
