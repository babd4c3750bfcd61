// A start is quick however much there is, and what it leaves to be read again is read without holding anybody up.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { dirname } from 'node:path'
import { test } from 'node:test'
import type { DiskStore } from '../../dfdaemon/store/disk-store.ts'
import { StoreLayout } from '../../dfdaemon/store/layout.ts'
import { PieceIndex } from '../../dfdaemon/store/piece-index.ts'
import { StoredBlob } from '../../dfdaemon/store/stored-blob.ts'
import { digestOf } from '../../shared/digest.ts'
import { pieceCount } from '../../shared/piece.ts'
import { eventually, listenedDisk, startStore, withDirectory } from '../harness/disk-store-fixture.ts'
import { makeSoundBlob, storePieces } from '../harness/sample-blob.ts'
import { sampleBlob } from '../harness/store-samples.ts'

const MiB = 1024 * 1024

/**
 * The most that was done in one go while `work` ran, in ms of this thread's processor time: on a busy machine the clock on the wall tells of
 * others' work.
 */
async function longestHold(work: Promise<unknown>): Promise<number> {
  let done = false
  void work.finally(() => {
    done = true
  })
  let longestUs = 0
  for (let before = measureWorkUs(); !done; ) {
    await new Promise(resolve => setImmediate(resolve))
    const now = measureWorkUs()
    longestUs = Math.max(longestUs, now - before)
    before = now
  }
  return longestUs / 1000
}

function measureWorkUs(): number {
  const { user, system } = process.threadCpuUsage()
  return user + system
}

test('start waits for no piece to be hashed again; nothing is claimed until one is', async () => {
  await withDirectory(async dataDir => {
    const blob = sampleBlob('partial')
    const first = await startStore(dataDir)
    await storePieces(first, blob, [0, 2])
    await first.stop()
    const { promise: gate, resolve: letGo } = Promise.withResolvers<void>()
    const store = await startStore(dataDir, {
      disk: listenedDisk(call => (call === 'read' ? gate : undefined)),
    })
    const stat = store.stat(blob.digest)!
    assert.equal(stat.have.count, 0)
    // Who opens it meanwhile has it, without those pieces.
    const handle = (await store.open(blob.digest))!
    assert.equal(handle.stat.have.count, 0)
    letGo()
    await eventually(() => stat.have.count === 2)
    await handle.close()
    await store.stop()
  })
})

test('stop does not wait for all that is left to be hashed', async () => {
  await withDirectory(async dataDir => {
    const blob = sampleBlob('partial', 100_000, 100)
    const first = await startStore(dataDir)
    await storePieces(first, blob)
    await first.stop()
    let reads = 0
    let letGo = (): void => {}
    const disk = listenedDisk(call => {
      if (call !== 'read' || ++reads !== 10) return
      return new Promise(resolve => {
        letGo = resolve
      })
    })
    const store = await startStore(dataDir, { disk })
    await eventually(() => reads === 10)
    const stopped = store.stop()
    letGo()
    await stopped
    assert(reads < 20, `${reads} pieces were read`)
    const again = await startStore(dataDir)
    await eventually(() => again.stat(blob.digest)!.have.isFull)
    await again.stop()
  })
})

test('reading again what a restart left, in the largest pieces, leaves the event loop to others', async () => {
  await withDirectory(async dataDir => {
    const partial = makeSoundBlob('partial', 96 * MiB, 16 * MiB)
    const stray = makeSoundBlob('stray', 64 * MiB, 16 * MiB)
    const strayDigest = digestOf(stray.bytes, 'sha512')
    const layout = new StoreLayout(dataDir)
    let best = Number.POSITIVE_INFINITY
    // Some of it is the collection of garbage: the best of three counts.
    for (let attempt = 0; attempt < 3 && best > 20; attempt++) {
      const first = await startStore(dataDir)
      await storePieces(first, partial)
      await storePieces(first, { ...stray, digest: strayDigest })
      const handle = (await first.open(strayDigest))!
      await handle.commit()
      await handle.close()
      await first.stop()
      // Its record is lost but for how it is cut.
      const index = new PieceIndex(layout.indexDir)
      await index.open()
      await index.record([new StoredBlob(strayDigest, stray.geometry, '', 0)], false)
      await index.close()
      const store = await startStore(dataDir)
      best = Math.min(
        best,
        await longestHold(
          eventually(() => isWhole(store, partial.digest) && isWhole(store, strayDigest), 20_000),
        ),
      )
      assert.equal(store.stat(strayDigest)?.pieceSize, 16 * MiB)
      await store.delete(strayDigest)
      await store.delete(partial.digest)
      await store.stop()
    }
    assert(best <= 20, `the event loop was held for ${best.toFixed(1)} ms`)
  })
})

function isWhole(store: DiskStore, digest: StoredBlob['digest']): boolean {
  return store.stat(digest)?.have.isFull === true
}

test('a store of 10,000 blobs starts in moments, and telling its size costs nearly nothing', async () => {
  await withDirectory(async dataDir => {
    const layout = new StoreLayout(dataDir)
    fs.mkdirSync(dataDir, { recursive: true })
    const index = new PieceIndex(layout.indexDir)
    await index.open()
    const geometry = { size: 5, pieceSize: MiB }
    const blobs = Array.from({ length: 10_000 }, (_, at) => {
      const bytes = Buffer.from(String(at).padStart(geometry.size, '0'))
      const path = layout.finalPath(digestOf(bytes))
      const blob = new StoredBlob(digestOf(bytes), geometry, path, at)
      blob.trusted = true
      blob.hashes = Buffer.alloc(pieceCount(geometry) * 32)
      fs.mkdirSync(dirname(path), { recursive: true })
      fs.writeFileSync(path, bytes)
      return blob
    })
    await index.record(blobs, false)
    await index.close()
    const startedMs = performance.now()
    const store = await startStore(dataDir)
    const startMs = performance.now() - startedMs
    assert(startMs < 5000, `the start took ${startMs.toFixed(0)} ms`)
    assert.equal([...store.list()].filter(stat => stat.complete).length, 10_000)
    const askedMs = performance.now()
    for (let times = 0; times < 20; times++) assert.equal(store.bytes, 50_000)
    const bytesMs = (performance.now() - askedMs) / 20
    assert(bytesMs < 20, `bytes took ${bytesMs.toFixed(1)} ms`)
    await store.stop()
  })
})
