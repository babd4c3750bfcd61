// A disk that is full, failing or slow, and a quota that many want at once.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import type { BlobHandle } from '../../dfdaemon/store/blob-store.ts'
import { StoreLayout } from '../../dfdaemon/store/layout.ts'
import {
  type DiskCall,
  eventually,
  listenedDisk,
  startStore,
  withDirectory,
} from '../harness/disk-store-fixture.ts'
import { KiB, readAll, sampleBlob, storeBlob, writePieces } from '../harness/store-samples.ts'

const one = sampleBlob('one')
const two = sampleBlob('two')

/** A disk on which the calls named in `failing` fail with the code given there. */
function failingDisk(failing: Map<DiskCall, string>) {
  return listenedDisk(call => {
    const code = failing.get(call)
    if (code !== undefined) throw Object.assign(new Error(`${code}: played`), { code })
  })
}

for (const [code, expected] of [
  ['ENOSPC', 'STORE_FULL'],
  ['EDQUOT', 'STORE_FULL'],
  ['EIO', 'STORE_FAILED'],
  ['EROFS', 'STORE_FAILED'],
] as const) {
  test(`${code} at any step is ${expected}; once it is over, the same blob can be stored`, async () => {
    await withDirectory(async dataDir => {
      const failing = new Map<DiskCall, string>()
      const store = await startStore(dataDir, { disk: failingDisk(failing) })
      const during = async (call: DiskCall, act: () => Promise<unknown>): Promise<void> => {
        failing.set(call, code)
        await assert.rejects(act(), { code: expected }, `${call} failing`)
        failing.delete(call)
      }
      await during('freeBytes', () => store.create(one.digest, one.geometry))
      await during('createFile', () => store.create(one.digest, one.geometry))
      assert.equal(store.stat(one.digest), undefined)
      const handle = await store.create(one.digest, one.geometry)
      await during('write', () => writePieces(handle, one, [0]))
      assert.equal(handle.stat.have.count, 0)
      await writePieces(handle, one)
      await during('read', () => readAll(handle))
      for (const call of ['makeDirectory', 'rename', 'syncDirectory'] as const) {
        await during(call, () => handle.commit())
        assert.equal(handle.stat.complete, false)
      }
      await handle.commit()
      assert.equal(handle.stat.complete, true)
      assert.deepEqual(await readAll(handle), one.bytes)
      await handle.close()
      await store.stop()
      const again = await startStore(dataDir)
      assert.equal(again.stat(one.digest)?.complete, true)
      await again.stop()
    })
  })
}

test('a sync that failed once is never made good by a later one: the blob is stored anew', async () => {
  await withDirectory(async dataDir => {
    const failing = new Map<DiskCall, string>([['sync', 'EIO']])
    const store = await startStore(dataDir, { disk: failingDisk(failing) })
    const handle = await store.create(one.digest, one.geometry)
    await writePieces(handle, one)
    await assert.rejects(handle.commit(), { code: 'STORE_FAILED' })
    failing.clear()
    await assert.rejects(handle.commit(), { code: 'STORE_FAILED' })
    assert.deepEqual(await readAll(handle), one.bytes)
    await handle.close()
    assert.equal(store.stat(one.digest), undefined)
    await storeBlob(store, one)
    assert.equal(store.stat(one.digest)?.complete, true)
    await store.stop()
  })
})

test('large blobs are synced while they are written, and a failure of that counts as one of the commit', async () => {
  await withDirectory(async dataDir => {
    const MiB = 1024 * KiB
    let syncs = 0
    let failing = false
    const disk = listenedDisk(call => {
      if (call !== 'sync') return
      syncs++
      if (failing) throw Object.assign(new Error('EIO: played'), { code: 'EIO' })
    })
    const store = await startStore(dataDir, { disk })
    for (const fails of [false, true]) {
      failing = fails
      syncs = 0
      const blob = sampleBlob(`large ${fails}`, 17 * MiB, 16 * MiB)
      const handle = await store.create(blob.digest, blob.geometry)
      await writePieces(handle, blob)
      await eventually(() => syncs === 1)
      failing = false
      if (fails) await assert.rejects(handle.commit(), { code: 'STORE_FAILED' })
      else await handle.commit()
      assert.equal(handle.stat.complete, !fails)
      await handle.close()
      assert.equal(store.stat(blob.digest) !== undefined, !fails)
    }
    await store.stop()
  })
})

test('a commit that failed is not found complete by a restart that cannot vouch for it', async () => {
  await withDirectory(async dataDir => {
    const failing = new Map<DiskCall, string>([['rename', 'EIO']])
    const store = await startStore(dataDir, { disk: failingDisk(failing) })
    const handle = await store.create(one.digest, one.geometry)
    await writePieces(handle, one)
    await assert.rejects(handle.commit(), { code: 'STORE_FAILED' })
    await handle.close()
    await store.stop()
    const again = await startStore(dataDir)
    const stat = again.stat(one.digest)!
    assert.equal(stat.complete, false)
    await eventually(() => stat.have.isFull)
    await again.stop()
  })
})

test('minFreeBytes is left to others: idle blobs go for it, and if that does not do, the store is full', async () => {
  await withDirectory(async dataDir => {
    let freeBytes = 1e6
    const disk = { ...listenedDisk(() => {}), freeBytes: async () => freeBytes }
    const store = await startStore(dataDir, { disk, minFreeBytes: 100 * KiB })
    await storeBlob(store, one)
    freeBytes = 100 * KiB
    const handle = await store.create(two.digest, two.geometry)
    assert.equal(store.stat(one.digest), undefined)
    // What was promised to `two` and is not written yet counts as taken.
    freeBytes = 119 * KiB
    await assert.rejects(store.create(one.digest, one.geometry), { code: 'STORE_FULL' })
    freeBytes = 120 * KiB
    const other = await store.create(one.digest, one.geometry)
    await handle.close()
    await other.close()
    await store.stop()
  })
})

test('many creators at once never take more than the quota together, and evict nothing that is open', async () => {
  await withDirectory(async dataDir => {
    const blobs = Array.from({ length: 30 }, (_, index) => sampleBlob(`blob ${index}`))
    const store = await startStore(dataDir, { quotaBytes: 55 * KiB })
    const pinned = blobs[0]!
    await storeBlob(store, pinned)
    const pin = (await store.open(pinned.digest))!
    let most = 0
    let full = 0
    const open = new Set<string>([pinned.digest])
    store.onEvicted = digests => {
      for (const digest of digests) assert.equal(open.has(digest), false, 'an open blob was evicted')
    }
    await Promise.all(
      blobs.slice(1).map(async blob => {
        let handle: BlobHandle
        try {
          handle = await store.create(blob.digest, blob.geometry)
        } catch (error) {
          assert.equal((error as { code: string }).code, 'STORE_FULL')
          full++
          return
        }
        open.add(blob.digest)
        await writePieces(handle, blob)
        most = Math.max(most, store.bytes)
        await handle.commit()
        assert.deepEqual(await readAll(handle), blob.bytes)
        open.delete(blob.digest)
        await handle.close()
      }),
    )
    assert(full > 0 && full < 29, `${full} were refused`)
    assert(most <= 55 * KiB, `${most} bytes were held`)
    assert.deepEqual(await readAll(pin), pinned.bytes)
    await pin.close()
    await store.stop()
    // What was evicted is off the disk, too.
    const layout = new StoreLayout(dataDir)
    const left = blobs.filter(blob => fs.existsSync(layout.finalPath(blob.digest)))
    assert(left.length <= 5, `${left.length} files are left`)
    assert.deepEqual(fs.readdirSync(layout.partialDir), [])
  })
})

test('a slow removal holds back a new blob of the same digest only', async () => {
  await withDirectory(async dataDir => {
    const { promise: removed, resolve: letGo } = Promise.withResolvers<void>()
    const disk = listenedDisk(call => (call === 'removeFile' ? removed : undefined))
    const store = await startStore(dataDir, { disk })
    await storeBlob(store, one)
    const gone = store.delete(one.digest)
    let made = false
    const again = store.create(one.digest, one.geometry).then(handle => {
      made = true
      return handle
    })
    await storeBlob(store, two)
    assert.equal(made, false)
    letGo()
    await gone
    const handle = await again
    await writePieces(handle, one)
    await handle.commit()
    assert.deepEqual(await readAll(handle), one.bytes)
    await handle.close()
    await store.stop()
  })
})

test('stop waits for writes under way and keeps what they stored; later calls are refused', async () => {
  await withDirectory(async dataDir => {
    const store = await startStore(dataDir)
    const handle = await store.create(one.digest, one.geometry)
    const written = writePieces(handle, one, [0])
    await store.stop()
    await written
    await assert.rejects(store.create(two.digest, two.geometry), { code: 'STORE_FAILED' })
    await assert.rejects(writePieces(handle, one, [1]), { code: 'STORE_FAILED' })
    await handle.close()
    const again = await startStore(dataDir)
    const reopened = (await again.open(one.digest))!
    assert.deepEqual([...reopened.stat.have.pieces()], [0])
    await reopened.close()
    await again.stop()
  })
})

const descriptors = '/proc/self/fd'

test('more blobs are open than descriptors are kept, and all can be read', {
  skip: !fs.existsSync(descriptors),
}, async () => {
  await withDirectory(async dataDir => {
    const store = await startStore(dataDir)
    const before = fs.readdirSync(descriptors).length
    const blobs = Array.from({ length: 300 }, (_, index) => sampleBlob(`many ${index}`, 64, 64))
    const handles: BlobHandle[] = []
    for (const blob of blobs) {
      const handle = await store.create(blob.digest, blob.geometry)
      await writePieces(handle, blob)
      handles.push(handle)
    }
    assert(fs.readdirSync(descriptors).length - before <= 260)
    for (const [index, handle] of handles.entries()) {
      assert.deepEqual(await readAll(handle), blobs[index]!.bytes)
      await handle.close()
    }
    await store.stop()
    assert(fs.readdirSync(descriptors).length <= before)
  })
})
