// What every BlobStore does about room: a part of the store's suite.
import assert from 'node:assert/strict'
import type { Digest } from '../../shared/digest.ts'
import { KiB, sampleBlob, storeBlob, writePieces } from '../harness/store-samples.ts'
import { held, type Scenario } from './store-scenario.ts'

export function roomScenarios(scenario: Scenario): void {
  const one = sampleBlob('one')
  const two = sampleBlob('two')
  const three = sampleBlob('three')

  scenario(
    'evicts what was used longest ago, never what is open',
    async store => {
      const evicted: (readonly Digest[])[] = []
      store.onEvicted = digests => evicted.push(digests)
      await storeBlob(store, one)
      await storeBlob(store, two)
      await (await store.open(one.digest))?.close()
      await storeBlob(store, three)
      assert.deepEqual(evicted, [[two.digest]])
      assert.deepEqual(held(store), [one.digest, three.digest].sort())
      const pin = await store.open(one.digest)
      await storeBlob(store, two)
      assert.deepEqual(evicted, [[two.digest], [three.digest]])
      await pin?.close()
      assert.equal(store.bytes, 20 * KiB)
    },
    { quotaBytes: 25 * KiB },
  )

  scenario(
    'tells watchers of an evicted blob, and says nothing to onEvicted of a deleted one',
    async store => {
      const evicted: Digest[] = []
      store.onEvicted = digests => evicted.push(...digests)
      let gone = 0
      store.watch(one.digest, { onPiece: () => {}, onGone: () => gone++ })
      await storeBlob(store, one)
      await storeBlob(store, two)
      assert.equal(gone, 1)
      await store.delete(two.digest)
      assert.deepEqual(evicted, [one.digest])
    },
    { quotaBytes: 15 * KiB },
  )

  scenario(
    'reserves room for what is being written, so that a second blob is refused at once',
    async store => {
      const first = await store.create(one.digest, one.geometry)
      await assert.rejects(store.create(two.digest, two.geometry), { code: 'STORE_FULL' })
      assert.equal(store.stat(two.digest), undefined)
      await writePieces(first, one)
      await first.close()
      await storeBlob(store, two)
      assert.deepEqual(held(store), [two.digest])
    },
    { quotaBytes: 15 * KiB },
  )

  scenario(
    'keeps no room for a blob that is opened for pieces only: each makes its own',
    async store => {
      const large = sampleBlob('large', 40 * KiB)
      await storeBlob(store, one)
      const handle = await store.create(large.digest, large.geometry, undefined, 'pieces')
      assert.deepEqual(held(store).toSorted(), [one.digest, large.digest].toSorted())
      await writePieces(handle, large, [3])
      const whole = store.create(large.digest, large.geometry)
      await assert.rejects(whole, { code: 'STORE_FULL' })
      assert.deepEqual([...handle.stat.have.pieces()], [3])
      await handle.close()
      assert.equal(store.stat(large.digest)?.have.count, 1)
    },
    { quotaBytes: 15 * KiB },
  )

  scenario(
    'refuses a blob that is larger than the quota and evicts nothing for it',
    async store => {
      await storeBlob(store, one)
      const large = sampleBlob('large', 40 * KiB)
      await assert.rejects(store.create(large.digest, large.geometry), { code: 'STORE_FULL' })
      assert.deepEqual(held(store), [one.digest])
    },
    { quotaBytes: 15 * KiB },
  )

  scenario(
    'a deleted blob takes room for as long as it is open',
    async store => {
      await storeBlob(store, one)
      const handle = await store.open(one.digest)
      await store.delete(one.digest)
      await assert.rejects(store.create(two.digest, two.geometry), { code: 'STORE_FULL' })
      await handle?.close()
      await storeBlob(store, two)
    },
    { quotaBytes: 15 * KiB },
  )

  scenario(
    'a piece written when nobody keeps room for the blob needs room of its own',
    async store => {
      const first = await store.create(one.digest, one.geometry)
      await writePieces(first, one, [0])
      const late = await store.open(one.digest)
      assert(late)
      await first.close()
      const other = await store.create(two.digest, two.geometry)
      await assert.rejects(writePieces(late, one, [1]), { code: 'STORE_FULL' })
      await other.close()
      await writePieces(late, one, [1])
      await late.close()
    },
    { quotaBytes: 15 * KiB },
  )
}
