// What every BlobStore must do, told once and run against the disk store and its twin in memory.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { BlobStore } from '../../dfdaemon/store/blob-store.ts'
import { hashPiece } from '../../shared/piece-hash.ts'
import { KiB, readAll, sampleBlob, storeBlob, writePieces } from '../harness/store-samples.ts'
import { roomScenarios } from './blob-store-room-scenarios.ts'
import { held, type Scenario, type SuiteInit } from './store-scenario.ts'

/** A store of its own for one test, started. */
export interface StoreFixture {
  readonly store: BlobStore
  dispose(): Promise<void>
}

export function blobStoreSuite(name: string, openStore: (init: SuiteInit) => Promise<StoreFixture>): void {
  const scenario: Scenario = (told, run, init = {}) => {
    test(told, async () => {
      const fixture = await openStore(init)
      try {
        await run(fixture.store)
      } finally {
        await fixture.dispose()
      }
    })
  }
  const one = sampleBlob('one')
  const two = sampleBlob('two')

  describe(name, () => {
    scenario('knows nothing of a blob it never saw', async store => {
      assert.equal(store.stat(one.digest), undefined)
      assert.equal(await store.open(one.digest), undefined)
      assert.equal(await store.delete(one.digest), false)
      assert.deepEqual(held(store), [])
      assert.equal(store.bytes, 0)
    })

    scenario('gives back the pieces of a partial blob, in any order of writing', async store => {
      const handle = await store.create(one.digest, one.geometry)
      assert.equal(handle.stat.complete, false)
      assert.equal(handle.stat.have.count, 0)
      await writePieces(handle, one, [2, 0])
      assert.deepEqual([...handle.stat.have.pieces()], [0, 2])
      const into = new Uint8Array(2 * KiB)
      await handle.read(8 * KiB, into)
      assert.deepEqual(into, one.bytes.slice(8 * KiB))
      assert.deepEqual(Uint8Array.from(handle.pieceHash(2)!), Uint8Array.from(hashPiece(one.piece(2))))
      assert.equal(handle.pieceHash(1), undefined)
      assert.equal(store.bytes, 6 * KiB)
      await handle.close()
      assert.deepEqual([...store.stat(one.digest)!.have.pieces()], [0, 2])
    })

    scenario('a committed blob is complete and reads back whole, across piece borders', async store => {
      await storeBlob(store, one)
      assert.equal(store.stat(one.digest)?.complete, true)
      const handle = await store.open(one.digest)
      assert(handle)
      assert.deepEqual(await readAll(handle), one.bytes)
      const middle = new Uint8Array(5 * KiB)
      await handle.read(3 * KiB, middle)
      assert.deepEqual(middle, one.bytes.slice(3 * KiB, 8 * KiB))
      assert.deepEqual(Uint8Array.from(handle.pieceHash(1)!), Uint8Array.from(hashPiece(one.piece(1))))
      await handle.close()
    })

    scenario('creating a complete blob opens it, whatever geometry is asked for', async store => {
      await storeBlob(store, one)
      const handle = await store.create(one.digest, { size: 10 * KiB, pieceSize: 2 * KiB })
      assert.equal(handle.stat.complete, true)
      assert.equal(handle.stat.pieceSize, 4 * KiB)
      await handle.close()
    })

    scenario('creating a partial blob again goes on with its pieces', async store => {
      const first = await store.create(one.digest, one.geometry)
      await writePieces(first, one, [1])
      await first.close()
      const second = await store.create(one.digest, one.geometry)
      assert.deepEqual([...second.stat.have.pieces()], [1])
      await writePieces(second, one, [0, 2])
      await second.commit()
      assert.deepEqual(await readAll(second), one.bytes)
      await second.close()
    })

    scenario('creating a partial blob cut another way starts anew', async store => {
      const first = await store.create(one.digest, one.geometry)
      await writePieces(first, one, [1])
      const cut = { size: 10 * KiB, pieceSize: 2 * KiB }
      const second = await store.create(one.digest, cut)
      assert.equal(second.stat.have.count, 0)
      assert.equal(second.stat.have.length, 5)
      await second.writePiece(0, one.bytes.subarray(0, 2 * KiB), hashPiece(one.bytes.subarray(0, 2 * KiB)))
      await first.close()
      await second.close()
      assert.equal(store.stat(one.digest)?.pieceSize, 2 * KiB)
      assert.deepEqual([...store.stat(one.digest)!.have.pieces()], [0])
    })

    scenario('an empty blob can be committed', async store => {
      const empty = sampleBlob('empty', 0)
      await storeBlob(store, empty)
      assert.equal(store.stat(empty.digest)?.complete, true)
      const handle = await store.open(empty.digest)
      assert(handle)
      await handle.read(0, new Uint8Array(0))
      await handle.close()
    })

    scenario('a blob closed without a piece is not held', async store => {
      const handle = await store.create(one.digest, one.geometry)
      assert(store.stat(one.digest))
      await handle.close()
      await handle.close()
      assert.equal(store.stat(one.digest), undefined)
    })

    scenario('handles on one blob share its pieces', async store => {
      const writer = await store.create(one.digest, one.geometry)
      const reader = await store.open(one.digest)
      assert(reader)
      await writePieces(writer, one, [0])
      const into = new Uint8Array(4 * KiB)
      await reader.read(0, into)
      assert.deepEqual(into, one.bytes.slice(0, 4 * KiB))
      await writer.close()
      await reader.read(0, into)
      await reader.close()
    })

    scenario('the same piece written twice at once is stored once', async store => {
      const handle = await store.create(one.digest, one.geometry)
      const told: number[] = []
      store.watch(one.digest, { onPiece: piece => told.push(piece), onGone: () => {} })
      await Promise.all([writePieces(handle, one, [0]), writePieces(handle, one, [0])])
      await writePieces(handle, one, [0])
      assert.deepEqual(told, [0])
      assert.equal(store.bytes, 4 * KiB)
      await handle.close()
    })

    scenario('the caller’s buffer may be reused once a write has returned', async store => {
      const handle = await store.create(one.digest, one.geometry)
      const buffer = Uint8Array.from(one.piece(0))
      const hash = Uint8Array.from(hashPiece(buffer))
      await handle.writePiece(0, buffer, hash)
      const expected = Uint8Array.from(hash)
      buffer.fill(0)
      hash.fill(0)
      const into = new Uint8Array(4 * KiB)
      await handle.read(0, into)
      assert.deepEqual(into, one.bytes.slice(0, 4 * KiB))
      assert.deepEqual(Uint8Array.from(handle.pieceHash(0)!), expected)
      await handle.close()
    })

    scenario('refuses what does not fit: pieces, hashes, reads, geometries', async store => {
      const handle = await store.create(one.digest, one.geometry)
      const hash = new Uint8Array(32)
      await assert.rejects(handle.writePiece(3, new Uint8Array(4 * KiB), hash), RangeError)
      await assert.rejects(handle.writePiece(-1, new Uint8Array(4 * KiB), hash), RangeError)
      await assert.rejects(handle.writePiece(0, new Uint8Array(KiB), hash), RangeError)
      await assert.rejects(handle.writePiece(0, new Uint8Array(4 * KiB), new Uint8Array(20)), RangeError)
      await writePieces(handle, one, [0])
      await assert.rejects(handle.read(4 * KiB, new Uint8Array(1)), RangeError)
      await assert.rejects(handle.read(3 * KiB, new Uint8Array(2 * KiB)), RangeError)
      await assert.rejects(handle.read(10 * KiB, new Uint8Array(1)), RangeError)
      await assert.rejects(handle.read(-1, new Uint8Array(1)), RangeError)
      await assert.rejects(handle.commit(), TypeError)
      assert.equal(handle.stat.complete, false)
      for (const geometry of [
        { size: -1, pieceSize: KiB },
        { size: 10, pieceSize: 0 },
        { size: 1.5, pieceSize: KiB },
        { size: 2 ** 50, pieceSize: KiB },
      ])
        await assert.rejects(store.create(two.digest, geometry), RangeError)
      await handle.close()
    })

    scenario('a closed handle does nothing more', async store => {
      const handle = await store.create(one.digest, one.geometry)
      await writePieces(handle, one)
      await handle.close()
      await assert.rejects(handle.read(0, new Uint8Array(1)), TypeError)
      await assert.rejects(writePieces(handle, one, [0]), TypeError)
      await assert.rejects(handle.commit(), TypeError)
    })

    scenario('an aborted signal opens nothing', async store => {
      const reason = new Error('no more')
      await assert.rejects(store.create(one.digest, one.geometry, AbortSignal.abort(reason)), reason)
      await assert.rejects(store.open(one.digest, AbortSignal.abort(reason)), reason)
      assert.equal(store.stat(one.digest), undefined)
    })

    scenario(
      'a dropped piece is gone, the blob no longer complete, and can be made whole again',
      async store => {
        await storeBlob(store, one)
        const handle = await store.open(one.digest)
        assert(handle)
        await handle.dropPiece(1)
        await handle.dropPiece(1)
        assert.equal(handle.stat.complete, false)
        assert.deepEqual([...handle.stat.have.pieces()], [0, 2])
        assert.equal(handle.pieceHash(1), undefined)
        assert.equal(store.bytes, 6 * KiB)
        await assert.rejects(handle.read(4 * KiB, new Uint8Array(1)), RangeError)
        await writePieces(handle, one, [1])
        await handle.commit()
        assert.equal(handle.stat.complete, true)
        assert.deepEqual(await readAll(handle), one.bytes)
        await handle.close()
      },
    )

    scenario(
      'an open handle outlives the deletion of its blob, and the digest can be made anew',
      async store => {
        await storeBlob(store, one)
        const old = await store.open(one.digest)
        assert(old)
        assert.equal(await store.delete(one.digest), true)
        assert.equal(store.stat(one.digest), undefined)
        assert.equal(await store.open(one.digest), undefined)
        assert.equal(store.bytes, 0)
        const fresh = await store.create(one.digest, one.geometry)
        assert.equal(fresh.stat.have.count, 0)
        await writePieces(fresh, one, [0])
        assert.deepEqual(await readAll(old), one.bytes)
        await old.close()
        assert.deepEqual([...store.stat(one.digest)!.have.pieces()], [0])
        await fresh.close()
      },
    )

    scenario('writes to a deleted blob work for its handles and are kept for nobody else', async store => {
      const handle = await store.create(one.digest, one.geometry)
      await writePieces(handle, one, [0])
      await store.delete(one.digest)
      await writePieces(handle, one, [1, 2])
      assert.deepEqual(await readAll(handle), one.bytes)
      await handle.commit()
      assert.equal(handle.stat.complete, false)
      await handle.close()
      assert.equal(store.stat(one.digest), undefined)
    })

    scenario('a discarded blob is forgotten with all its pieces', async store => {
      const handle = await store.create(one.digest, one.geometry)
      await writePieces(handle, one)
      await handle.discard()
      assert.equal(store.stat(one.digest), undefined)
      assert.equal(handle.stat.have.count, 0)
      await assert.rejects(handle.read(0, new Uint8Array(1)), RangeError)
      await handle.close()
      assert.equal(store.bytes, 0)
      await storeBlob(store, one)
      assert.equal(store.stat(one.digest)?.complete, true)
    })

    scenario('watchers hear of pieces from then on, and of the end', async store => {
      const told: string[] = []
      const listen = (who: string) =>
        store.watch(one.digest, {
          onPiece: piece => told.push(`${who} ${piece}`),
          onGone: () => told.push(`${who} gone`),
        })
      const stopFirst = listen('first')
      const handle = await store.create(one.digest, one.geometry)
      await writePieces(handle, one, [1])
      assert.deepEqual(told, ['first 1'])
      const stopSecond = listen('second')
      await writePieces(handle, one, [2])
      stopFirst()
      stopFirst()
      await writePieces(handle, one, [0])
      await store.delete(one.digest)
      await handle.close()
      assert.deepEqual(told, ['first 1', 'first 2', 'second 2', 'second 0', 'second gone'])
      await storeBlob(store, one)
      assert.equal(told.length, 8, 'a watcher stays when the blob comes back')
      stopSecond()
    })

    roomScenarios(scenario)

    scenario('a touch is a use of a complete blob, and of no other', async store => {
      assert.equal(store.touch(one.digest), false)
      const handle = await store.create(two.digest, two.geometry)
      await writePieces(handle, two, [0])
      await handle.close()
      assert.equal(store.touch(two.digest), false)
      await storeBlob(store, one)
      const before = store.stat(one.digest)!.usedAt
      assert.equal(store.touch(one.digest), true)
      assert.ok(store.stat(one.digest)!.usedAt > before)
    })

    scenario('usedAt is the time of the last opening and only rises', async store => {
      const before = Date.now()
      await storeBlob(store, one)
      const first = store.stat(one.digest)!.usedAt
      assert(first >= before)
      await (await store.open(one.digest))?.close()
      assert(store.stat(one.digest)!.usedAt > first)
    })
  })
}
