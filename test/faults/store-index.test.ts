// Every file of the index spoilt in every way: the store starts, loses no complete blob, and takes no hash from a rotten record.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Level } from 'level'
import type { DiskStore } from '../../dfdaemon/store/disk-store.ts'
import { StoreLayout } from '../../dfdaemon/store/layout.ts'
import { hashPiece } from '../../shared/piece-hash.ts'
import { startStore, withDirectory } from '../harness/disk-store-fixture.ts'
import { readAll, type SampleBlob, sampleBlob, storeBlob, writePieces } from '../harness/store-samples.ts'

const blobs = Array.from({ length: 24 }, (_, index) => sampleBlob(`blob ${index}`, 20_000, 400))
const partial = sampleBlob('partial', 20_000, 400)

/** Three runs, so that there are sorted tables as well as a log. */
async function fillDirectory(dataDir: string): Promise<void> {
  for (let run = 0; run < 3; run++) {
    const store = await startStore(dataDir)
    for (const blob of blobs.slice(run * 8, run * 8 + 8)) await storeBlob(store, blob)
    if (run === 1) {
      const handle = await store.create(partial.digest, partial.geometry)
      await writePieces(handle, partial, [0, 3, 49])
      await handle.close()
    }
    await store.stop()
  }
}

async function assertSound(store: DiskStore, blob: SampleBlob): Promise<void> {
  const handle = await store.open(blob.digest)
  assert(handle?.stat.complete, `${blob.digest} was lost`)
  assert.deepEqual(await readAll(handle), blob.bytes)
  // One that had to be found again by its file is cut as any new blob of its size would be.
  if (handle.stat.pieceSize === blob.geometry.pieceSize)
    for (const piece of handle.stat.have.pieces())
      assert.equal(Buffer.compare(handle.pieceHash(piece)!, hashPiece(blob.piece(piece))), 0, 'a wrong hash')
  else assert.equal(Buffer.compare(handle.pieceHash(0)!, hashPiece(blob.bytes)), 0, 'a wrong hash, made anew')
  await handle.close()
}

async function assertNothingWrong(store: DiskStore, blob: SampleBlob): Promise<void> {
  const handle = await store.open(blob.digest)
  for (const piece of handle?.stat.have.pieces() ?? []) {
    const into = new Uint8Array(blob.piece(piece).byteLength)
    await handle!.read(piece * blob.geometry.pieceSize, into)
    assert.deepEqual(into, Uint8Array.from(blob.piece(piece)))
  }
  await handle?.close()
}

function overwrite(path: string, change: (bytes: Buffer) => void): void {
  const bytes = fs.readFileSync(path)
  change(bytes)
  fs.writeFileSync(path, bytes)
}

const spots = [0, 0.2, 0.5, 0.8, 0.999]
const harms: readonly [told: string, spots: readonly number[], (path: string, spot: number) => void][] = [
  [
    'rubbish in',
    spots,
    (path, spot) =>
      overwrite(path, bytes => {
        const from = Math.floor(bytes.length * spot)
        bytes.fill(0xa5, from, Math.min(bytes.length, from + 60))
      }),
  ],
  [
    'one wrong bit in',
    spots,
    (path, spot) =>
      overwrite(path, bytes => {
        bytes[Math.floor(bytes.length * spot)]! ^= 4
      }),
  ],
  [
    'a part of',
    [0, 0.5, 0.999],
    (path, spot) => fs.truncateSync(path, Math.floor(fs.statSync(path).size * spot)),
  ],
  ['nothing left of', [0], path => fs.rmSync(path)],
]

for (const [told, at, harm] of harms) {
  test(`with ${told} any file of the index, all complete blobs are found and nothing wrong is told`, async () => {
    await withDirectory(async parent => {
      const sound = join(parent, 'sound')
      await fillDirectory(sound)
      const names = fs.readdirSync(new StoreLayout(sound).indexDir).filter(name => !/^LO/.test(name))
      assert(
        ['.ldb', '.log', 'MANIFEST', 'CURRENT'].every(part => names.some(name => name.includes(part))),
        `${names}`,
      )
      for (const name of names)
        for (const spot of at) {
          const dataDir = join(parent, 'spoilt')
          fs.cpSync(sound, dataDir, { recursive: true })
          harm(join(new StoreLayout(dataDir).indexDir, name), spot)
          try {
            const store = await startStore(dataDir)
            for (const blob of blobs) await assertSound(store, blob)
            await assertNothingWrong(store, partial)
            await store.stop()
          } catch (error) {
            throw new Error(`${told} ${name} at ${spot}`, { cause: error })
          }
          fs.rmSync(dataDir, { recursive: true })
        }
    })
  })
}

test('the hashes of a complete blob whose record is lost or rotten are made anew, once', async () => {
  await withDirectory(async dataDir => {
    const first = await startStore(dataDir)
    for (const blob of blobs.slice(0, 2)) await storeBlob(first, blob)
    await first.stop()
    const [lost, rotten] = blobs.slice(0, 2).map(blob => `h:${blob.digest}`) as [string, string]
    const withIndex = async (act: (db: Level<string, Buffer>) => Promise<void>): Promise<void> => {
      const db = new Level<string, Buffer>(new StoreLayout(dataDir).indexDir, { valueEncoding: 'buffer' })
      await act(db)
      await db.close()
    }
    await withIndex(async db => {
      await db.del(lost)
      const value = Buffer.from((await db.get(rotten))!)
      value[100]! ^= 1
      await db.put(rotten, value)
    })
    const second = await startStore(dataDir)
    for (const blob of blobs.slice(0, 2)) await assertSound(second, blob)
    await second.stop()
    await withIndex(async db => {
      for (const blob of blobs.slice(0, 2)) {
        const hashes = (await db.get(`h:${blob.digest}`))!.subarray(7)
        assert.equal(Buffer.compare(hashes.subarray(0, 32), hashPiece(blob.piece(0))), 0)
      }
    })
  })
})

test('an older record of the pieces does not stand for a complete blob', async () => {
  await withDirectory(async dataDir => {
    const [blob] = blobs as [SampleBlob]
    const key = `h:${blob.digest}`
    const indexDir = new StoreLayout(dataDir).indexDir
    const first = await startStore(dataDir)
    const handle = await first.create(blob.digest, blob.geometry)
    await writePieces(handle, blob, [0, 3])
    await handle.close()
    await first.stop()
    const before = new Level<string, Buffer>(indexDir, { valueEncoding: 'buffer' })
    const older = await before.get(key)
    await before.close()
    assert(older)
    const second = await startStore(dataDir)
    await storeBlob(second, blob)
    await second.stop()
    const after = new Level<string, Buffer>(indexDir, { valueEncoding: 'buffer' })
    await after.put(key, older)
    await after.close()
    const third = await startStore(dataDir)
    await assertSound(third, blob)
    await third.stop()
  })
})

test('a complete blob that rotted together with its record is not held', async () => {
  await withDirectory(async dataDir => {
    const [blob] = blobs as [SampleBlob]
    const layout = new StoreLayout(dataDir)
    const first = await startStore(dataDir)
    await storeBlob(first, blob)
    await first.stop()
    const db = new Level(layout.indexDir)
    await db.del(`h:${blob.digest}`)
    await db.close()
    overwrite(layout.finalPath(blob.digest), bytes => {
      bytes[9000]! ^= 1
    })
    const second = await startStore(dataDir)
    assert.equal(await second.open(blob.digest), undefined)
    await storeBlob(second, blob)
    await assertSound(second, blob)
    await second.stop()
  })
})
