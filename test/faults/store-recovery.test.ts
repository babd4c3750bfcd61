// What a restart finds after rot, a lost or torn index, files that vanished, and directories it cannot have.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { DiskStore } from '../../dfdaemon/store/disk-store.ts'
import { StoreLayout } from '../../dfdaemon/store/layout.ts'
import { eventually, listenedDisk, startStore, withDirectory } from '../harness/disk-store-fixture.ts'
import {
  KiB,
  readAll,
  type SampleBlob,
  sampleBlob,
  storeBlob,
  writePieces,
} from '../harness/store-samples.ts'

const one = sampleBlob('one')
const two = sampleBlob('two')
const three = sampleBlob('three')

function flipByte(path: string, position: number): void {
  const bytes = fs.readFileSync(path)
  bytes[position]! ^= 1
  fs.writeFileSync(path, bytes)
}

async function storePartial(store: DiskStore, blob: SampleBlob, pieces: readonly number[]): Promise<void> {
  const handle = await store.create(blob.digest, blob.geometry)
  await writePieces(handle, blob, pieces)
  await handle.close()
}

/** Runs `first` on a store, `between` on its directory, `then` on a new store there. */
async function restart(
  first: (store: DiskStore) => Promise<void>,
  between: (layout: StoreLayout) => void,
  then: (store: DiskStore, layout: StoreLayout) => Promise<void>,
): Promise<void> {
  await withDirectory(async dataDir => {
    const layout = new StoreLayout(dataDir)
    const before = await startStore(dataDir)
    await first(before)
    await before.stop()
    between(layout)
    const after = await startStore(dataDir)
    try {
      await then(after, layout)
    } finally {
      await after.stop()
    }
  })
}

async function assertWhole(store: DiskStore, blob: SampleBlob): Promise<void> {
  const handle = await store.open(blob.digest)
  assert(handle?.stat.complete)
  assert.deepEqual(await readAll(handle), blob.bytes)
  assert.deepEqual(handle.pieceHash(0)?.byteLength, 32)
  await handle.close()
}

test('a restart keeps the pieces of a partial blob and claims none before it was hashed again', async () => {
  await restart(
    store => storePartial(store, one, [0, 2]),
    () => {},
    async store => {
      const told: number[] = []
      const stat = store.stat(one.digest)!
      assert.equal(stat.have.count, 0)
      assert.equal(store.bytes, 0)
      store.watch(one.digest, { onPiece: piece => told.push(piece), onGone: () => {} })
      await eventually(() => stat.have.count === 2)
      assert.deepEqual(told, [0, 2])
      const handle = await store.create(one.digest, one.geometry)
      assert.deepEqual([...handle.stat.have.pieces()], [0, 2])
      await writePieces(handle, one, [1])
      await handle.commit()
      await handle.close()
      await assertWhole(store, one)
    },
  )
})

test('a piece that rots while the daemon is down is dropped, the others are kept, and it stays dropped', async () => {
  await restart(
    store => storePartial(store, one, [0, 1]),
    layout => flipByte(layout.partialPath(one.digest), 100),
    async store => {
      const handle = (await store.open(one.digest))!
      assert.deepEqual([...handle.stat.have.pieces()], [1])
      assert.equal(handle.pieceHash(0), undefined)
      await writePieces(handle, one, [0, 2])
      assert.deepEqual(await readAll(handle), one.bytes)
      await handle.close()
    },
  )
})

test('a partial blob none of whose pieces is right is forgotten', async () => {
  await restart(
    store => storePartial(store, one, [0]),
    layout => flipByte(layout.partialPath(one.digest), 5),
    async (store, layout) => {
      await eventually(() => store.stat(one.digest) === undefined)
      await eventually(() => !fs.existsSync(layout.partialPath(one.digest)))
    },
  )
})

test('after a restart the order of use is known', async () => {
  await restart(
    async store => {
      await storeBlob(store, one)
      await storeBlob(store, two)
    },
    () => {},
    async store => {
      assert(store.stat(one.digest)!.usedAt < store.stat(two.digest)!.usedAt)
      await (await store.open(one.digest))!.close()
      assert(store.stat(one.digest)!.usedAt > store.stat(two.digest)!.usedAt)
    },
  )
})

test('with the index gone, complete blobs are found by their digest, a rotten one is removed, and partial ones are lost', async () => {
  await restart(
    async store => {
      for (const blob of [one, two]) await storeBlob(store, blob)
      await storePartial(store, three, [0])
    },
    layout => {
      fs.rmSync(layout.indexDir, { recursive: true })
      flipByte(layout.finalPath(two.digest), 7 * KiB)
    },
    async (store, layout) => {
      await assertWhole(store, one)
      assert.equal(await store.open(two.digest), undefined)
      assert.equal(fs.existsSync(layout.finalPath(two.digest)), false)
      assert.equal(store.stat(three.digest), undefined)
      assert.equal(fs.existsSync(layout.partialPath(three.digest)), false)
    },
  )
})

test('a rebuild that was interrupted goes on at the next start', async () => {
  await withDirectory(async dataDir => {
    const layout = new StoreLayout(dataDir)
    const first = await startStore(dataDir)
    for (const blob of [one, two]) await storeBlob(first, blob)
    await first.stop()
    fs.rmSync(layout.indexDir, { recursive: true })
    const hangs = listenedDisk(call => (call === 'openFile' ? Promise.reject(new Error('EIO')) : undefined))
    const second = await startStore(dataDir, { disk: hangs })
    assert.equal(await second.open(one.digest), undefined)
    await second.stop()
    const third = await startStore(dataDir)
    for (const blob of [one, two]) await assertWhole(third, blob)
    await third.stop()
  })
})

for (const [told, harm] of [
  ['a manifest full of rubbish', (dir: string) => spoil(dir, 'MANIFEST', 0)],
  ['a log that is torn in its middle', (dir: string) => spoil(dir, '.log', 0.3)],
  ['a log that ends too soon', (dir: string) => cut(dir, '.log')],
  ['no CURRENT', (dir: string) => fs.rmSync(join(dir, 'CURRENT'))],
] as const) {
  test(`an index with ${told} costs no complete blob and claims nothing wrong`, async () => {
    const blobs = Array.from({ length: 12 }, (_, index) => sampleBlob(`blob ${index}`))
    await restart(
      async store => {
        for (const blob of blobs) await storeBlob(store, blob)
        await storePartial(store, one, [0, 1])
      },
      layout => harm(layout.indexDir),
      async store => {
        for (const blob of blobs) await assertWhole(store, blob)
        for (const piece of store.stat(one.digest)?.have.pieces() ?? []) {
          const handle = (await store.open(one.digest))!
          const into = new Uint8Array(4 * KiB)
          await handle.read(piece * 4 * KiB, into)
          assert.deepEqual(into, Uint8Array.from(one.piece(piece)))
          await handle.close()
        }
      },
    )
  })
}

function indexFile(dir: string, part: string): string {
  return join(dir, fs.readdirSync(dir).find(name => name.includes(part))!)
}

function spoil(dir: string, part: string, from: number): void {
  const path = indexFile(dir, part)
  const bytes = fs.readFileSync(path)
  const start = Math.floor(bytes.length * from)
  bytes.fill(0xa5, start, Math.min(bytes.length, start + Math.floor(bytes.length / 5) + 50))
  fs.writeFileSync(path, bytes)
}

function cut(dir: string, part: string): void {
  const path = indexFile(dir, part)
  fs.truncateSync(path, Math.floor(fs.statSync(path).size * 0.6))
}

test('a complete blob whose file was removed or cut behind the store’s back is not held', async () => {
  await restart(
    async store => {
      for (const blob of [one, two, three]) await storeBlob(store, blob)
    },
    layout => {
      fs.rmSync(layout.finalPath(one.digest))
      fs.truncateSync(layout.finalPath(two.digest), 5 * KiB)
    },
    async (store, layout) => {
      assert.equal(await store.open(one.digest), undefined)
      assert.equal(await store.open(two.digest), undefined)
      fs.rmSync(layout.finalPath(three.digest))
      assert.equal(await store.open(three.digest), undefined)
      for (const blob of [one, two, three]) {
        await storeBlob(store, blob)
        await assertWhole(store, blob)
      }
    },
  )
})

test('files that are none of ours do no harm and, in the place of complete blobs, are left alone', async () => {
  await restart(
    store => storeBlob(store, one),
    layout => {
      fs.writeFileSync(join(layout.finalDir(one.digest), 'notes.txt'), 'mine')
      fs.writeFileSync(join(layout.partialDir, 'rubbish'), 'rubbish')
    },
    async (store, layout) => {
      await assertWhole(store, one)
      assert(fs.existsSync(join(layout.finalDir(one.digest), 'notes.txt')))
      assert.equal(fs.existsSync(join(layout.partialDir, 'rubbish')), false)
    },
  )
})

test('a second store on the same directory is refused, and the first goes on', async () => {
  await withDirectory(async dataDir => {
    const first = await startStore(dataDir)
    await assert.rejects(startStore(dataDir), { code: 'DATA_DIR_UNUSABLE', message: /another process/ })
    await storeBlob(first, one)
    await assertWhole(first, one)
    await first.stop()
    await (await startStore(dataDir)).stop()
  })
})

test('a directory that cannot be written is refused with its name', async () => {
  await withDirectory(async parent => {
    const file = join(parent, 'file')
    fs.writeFileSync(file, '')
    await assert.rejects(startStore(join(file, 'data')), { code: 'DATA_DIR_UNUSABLE', message: /file.data/ })
    fs.mkdirSync(join(parent, 'data'))
    fs.writeFileSync(join(parent, 'data', 'index'), '')
    await assert.rejects(startStore(join(parent, 'data')), { code: 'DATA_DIR_UNUSABLE', message: /index/ })
  })
})
