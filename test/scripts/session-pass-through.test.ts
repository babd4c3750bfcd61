// Stories of blobs that the store can't take: what the source sends is handed on and checked, and fetched again where it came wrong.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import { sendAll, setStage } from './session-harness.ts'

/** A stage whose store is full, and whose source sends the byte at `offset` wrong, so many times. */
function setFullStage(init: { offset: number; times: number; size?: number }) {
  const stage = setStage(init.size === undefined ? {} : { size: init.size })
  stage.store.create = async () => {
    throw new PantalaError('STORE_FULL')
  }
  const wrong = Buffer.from(stage.blob)
  wrong[init.offset]! ^= 1
  const send = stage.registry.fetch.bind(stage.registry)
  const passedOver: (number | undefined)[] = []
  stage.registry.fetch = (range, take, signal) => {
    stage.registry.blob = passedOver.length < init.times ? wrong : stage.blob
    passedOver.push(range.passOver)
    return send(range, take, signal)
  }
  return { stage, passedOver }
}

test('a blob whose end comes wrong once is fetched again, from the next endpoint, and its reader notices nothing', async () => {
  const { stage, passedOver } = setFullStage({ offset: 4 * 1024 * 1024 + 332, times: 1 })
  assert.deepEqual(await stage.pull(), stage.blob)
  assert.deepEqual(passedOver, [0, 1])
  assert.deepEqual(stage.counted.passed, ['start'])
  assert.equal(stage.counted.refetched, 1)
  assert.deepEqual(stage.counted.rejected, ['digest'])
  assert.equal(stage.counted.source, 2 * stage.blob.byteLength)
})

test('of a small blob nothing is handed on before it is right, so that any byte of it may come wrong', async () => {
  const { stage } = setFullStage({ offset: 0, times: 2, size: 300_000 })
  assert.deepEqual(await stage.pull(), stage.blob)
  assert.equal(stage.counted.refetched, 2)
})

test('a reader that was handed a wrong byte is cut: the next try brings other bytes than it got', async () => {
  const { stage, passedOver } = setFullStage({ offset: 3, times: 1 })
  const open = await stage.open()
  let got = 0
  const take = async (chunk: Uint8Array): Promise<void> => {
    got += chunk.byteLength
  }
  await assert.rejects(open.send(0, stage.blob.byteLength, take, AbortSignal.timeout(10_000)), error =>
    isPantalaError(error, 'SOURCE_DIGEST_MISMATCH'),
  )
  assert.ok(got < stage.blob.byteLength)
  assert.equal(passedOver.length, 2)
})

test('a blob that comes wrong three times is given up, before its end is handed on', async () => {
  const { stage, passedOver } = setFullStage({ offset: 17, times: 9, size: 300_000 })
  const open = await stage.open()
  const took: Uint8Array[] = []
  const take = async (chunk: Uint8Array) => void took.push(chunk)
  await assert.rejects(open.send(0, stage.blob.byteLength, take, AbortSignal.timeout(10_000)), error =>
    isPantalaError(error, 'SOURCE_DIGEST_MISMATCH'),
  )
  assert.equal(took.length, 0)
  assert.equal(passedOver.length, 3)
})

test('a part of a blob passes through as it is', async () => {
  const { stage } = setFullStage({ offset: 0, times: 0 })
  const open = await stage.open(undefined, [{ offset: 1000, length: 2_000_000 }])
  assert.deepEqual(await sendAll(open, 1000, 2_000_000), stage.blob.subarray(1000, 2_001_000))
})
