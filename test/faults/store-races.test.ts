// Two things at once on one blob, at the worst moment: a commit and a dropped piece, a rename and a reader, a file that vanishes and a writer.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import { type Disk, nodeDisk } from '../../dfdaemon/store/disk.ts'
import { StoreLayout } from '../../dfdaemon/store/layout.ts'
import { eventually, listenedDisk, startStore, withDirectory } from '../harness/disk-store-fixture.ts'
import { KiB, readAll, sampleBlob, storeBlob, writePieces } from '../harness/store-samples.ts'

const one = sampleBlob('one')

test('a piece dropped and written again while a commit syncs is not vouched for by it', async () => {
  await withDirectory(async dataDir => {
    let during: (() => Promise<void>) | undefined
    const disk = listenedDisk(async call => {
      const act = during
      if (call !== 'sync' || act === undefined) return
      during = undefined
      await act()
    })
    const store = await startStore(dataDir, { disk })
    const handle = await store.create(one.digest, one.geometry)
    await writePieces(handle, one)
    during = async () => {
      await handle.dropPiece(1)
      await writePieces(handle, one, [1])
    }
    await handle.commit()
    assert.equal(during, undefined)
    assert.equal(handle.stat.have.isFull, true)
    assert.equal(handle.stat.complete, false)
    assert.equal(fs.existsSync(new StoreLayout(dataDir).finalPath(one.digest)), false)
    await handle.commit()
    assert.equal(handle.stat.complete, true)
    await handle.close()
    await store.stop()
  })
})

for (const step of ['sync', 'makeDirectory', 'rename', 'syncDirectory'] as const) {
  test(`a piece dropped at the ${step} of a commit leaves the blob partial, now and after a restart`, async () => {
    await withDirectory(async dataDir => {
      let drop: (() => Promise<void>) | undefined
      let dropped: Promise<void> | undefined
      const disk = listenedDisk(call => {
        if (call === step) dropped ??= drop?.()
      })
      const store = await startStore(dataDir, { disk })
      const handle = await store.create(one.digest, one.geometry)
      await writePieces(handle, one)
      drop = () => handle.dropPiece(1)
      await handle.commit()
      assert(dropped, 'nothing was dropped')
      await dropped
      assert.equal(handle.stat.complete, false)
      assert.deepEqual([...handle.stat.have.pieces()], [0, 2])
      await handle.close()
      await store.stop()
      const again = await startStore(dataDir)
      const reopened = (await again.open(one.digest))!
      assert.equal(reopened.stat.complete, false)
      await eventually(() => reopened.stat.have.count > 1)
      assert.deepEqual([...reopened.stat.have.pieces()], [0, 2])
      await reopened.close()
      await again.stop()
    })
  })
}

test('a reader that needs a descriptor while the file is moved finds it', async () => {
  await withDirectory(async dataDir => {
    const before = await startStore(dataDir)
    await storeBlob(before, one)
    await before.stop()
    let during: (() => Promise<unknown>) | undefined
    const disk: Disk = {
      ...nodeDisk,
      rename: async (from, to) => {
        await nodeDisk.rename(from, to)
        await during?.()
      },
    }
    const store = await startStore(dataDir, { disk })
    // Opened, but not read yet: there is no descriptor.
    const handle = (await store.open(one.digest))!
    const into = new Uint8Array(4 * KiB)
    during = () => handle.read(0, into)
    await handle.dropPiece(1)
    assert.deepEqual(into, Uint8Array.from(one.piece(0)))
    await handle.close()
    await store.stop()
  })
})

test('a partial blob whose file vanished behind the store’s back is begun anew by the next who creates it', async () => {
  await withDirectory(async dataDir => {
    const layout = new StoreLayout(dataDir)
    const store = await startStore(dataDir)
    const handle = await store.create(one.digest, one.geometry)
    await writePieces(handle, one, [0])
    await handle.close()
    await store.stop()
    const again = await startStore(dataDir)
    fs.rmSync(layout.partialPath(one.digest))
    const fresh = await again.create(one.digest, one.geometry)
    await writePieces(fresh, one)
    await fresh.commit()
    assert.equal(again.stat(one.digest)?.complete, true)
    assert.deepEqual(await readAll(fresh), one.bytes)
    await fresh.close()
    await again.stop()
  })
})

test('a directory without the right to write is refused with its name and the reason', async () => {
  await withDirectory(async dataDir => {
    const disk = listenedDisk((call, [path]) => {
      if (call === 'makeDirectory')
        throw Object.assign(new Error(`EACCES: permission denied, mkdir '${path}'`), { code: 'EACCES' })
    })
    await assert.rejects(startStore(dataDir, { disk }), error => {
      assert.equal((error as { code: string }).code, 'DATA_DIR_UNUSABLE')
      assert((error as Error).message.includes(dataDir))
      assert.match((error as Error).message, /permission denied/)
      return true
    })
    // An index that cannot be had, by the reason that level gives only deep inside.
    fs.writeFileSync(new StoreLayout(dataDir).indexDir, '')
    await assert.rejects(startStore(dataDir), { code: 'DATA_DIR_UNUSABLE', message: /index: EEXIST/ })
  })
})
