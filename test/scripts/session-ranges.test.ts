// Sessions and readers of ranges: their pieces first, only they where the rest is not wanted, and nothing left behind when they go.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readRange, sendAll, setStage, until } from './session-harness.ts'

const MiB = 1024 * 1024
const run = (first: number, count = 1) => ({ first, count })
const size = 32 * MiB + 77

function wishes(stage: ReturnType<typeof setStage>) {
  return [
    ...stage.told('register').map(({ wish }) => wish),
    ...stage.told('want').map(({ urgent, partial }) => ({ urgent, partial })),
  ]
}

test('a range is read as soon as its own pieces are there, also the last byte of the blob', async () => {
  const stage = setStage({ size })
  const h1 = stage.parent('h1', [20, 32])
  stage.scheduler.registerAnswer = () => stage.answer([20, 32], [h1])
  assert.ok(
    (await readRange(stage, 20 * MiB + 5, 1000)).equals(stage.blob.subarray(20 * MiB + 5, 20 * MiB + 1005)),
  )
  assert.ok((await readRange(stage, size - 50, 50)).equals(stage.blob.subarray(size - 50)))
  assert.deepEqual(h1.asked.toSorted(), [20, 32])
})

test('the supernode hears what a reader needs when it registers, and then of each piece once', async () => {
  const stage = setStage({ size, prefetch: false, lingerMs: 1000 })
  const h1 = stage.parent('h1', [3])
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  await readRange(stage, 3 * MiB, 10)
  assert.deepEqual(wishes(stage), [{ urgent: [run(3)], partial: true }])
  const reading = [readRange(stage, 3 * MiB, 2 * MiB), readRange(stage, 3 * MiB, 2 * MiB)]
  await until(() => stage.told('want').length > 0)
  h1.gain(4)
  await Promise.all(reading)
  assert.deepEqual(wishes(stage).slice(1), [{ urgent: [run(4)], partial: true }])
})

test('without prefetch nothing but the pieces of the range is asked for, and they stay', async () => {
  const stage = setStage({ size, prefetch: false })
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  await readRange(stage, 7 * MiB + 1, MiB)
  await until(() => stage.table.size === 0)
  assert.deepEqual(h1.asked.toSorted(), [7, 8])
  assert.deepEqual([...stage.store.stat(stage.digest)!.have.pieces()], [7, 8])
  assert.deepEqual(
    stage.told('finish').map(message => message.outcome),
    ['left'],
  )
  // What is held is not fetched again.
  await readRange(stage, 7 * MiB, 2 * MiB)
  assert.deepEqual(h1.asked.toSorted(), [7, 8])
})

test('with prefetch the rest follows after the reader has gone, and the blob is checked as a whole', async () => {
  const stage = setStage({ size, prefetch: true, lingerMs: 50 })
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  await readRange(stage, 7 * MiB + 1, 10)
  assert.equal(h1.asked[0], 7)
  await until(() => stage.store.stat(stage.digest)?.complete === true)
  assert.equal(h1.asked.length, stage.pieces)
})

test('where the rest does not get on, a session that nobody reads from ends', async () => {
  const stage = setStage({ size, prefetch: true })
  const h1 = stage.parent('h1', [7])
  stage.scheduler.registerAnswer = () => stage.answer([7], [h1])
  await readRange(stage, 7 * MiB, 10)
  await until(() => stage.table.size === 0)
  assert.deepEqual([...stage.store.stat(stage.digest)!.have.pieces()], [7])
})

test('a reader of the whole turns a session for ranges into one for all of it', async () => {
  const stage = setStage({ size, prefetch: false, lingerMs: 1000 })
  const h1 = stage.parent('h1', [7])
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  await readRange(stage, 7 * MiB, 10)
  const pulling = stage.pull()
  await until(() => stage.told('want').length > 0)
  assert.deepEqual([stage.told('want')[0]!.urgent, stage.told('want')[0]!.partial], [[], false])
  h1.gain(...stage.all)
  assert.ok((await pulling).equals(stage.blob))
})

test('readers of several places are served in turn, each its next piece first', async () => {
  const stage = setStage({ size, prefetch: false })
  const h1 = stage.parent('h1', [])
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  const reading = [0, 10, 20].map(piece => readRange(stage, piece * MiB, 3 * MiB))
  await until(() => stage.table.describe()[0]?.readers === 3 && h1.connects === 1)
  h1.gain(...stage.all)
  await Promise.all(reading)
  assert.deepEqual(h1.asked.slice(0, 6), [0, 10, 20, 1, 11, 21])
})

test('a reader far into a long range has what it needs next before what others may need', async () => {
  const stage = setStage({ size: 60 * MiB, prefetch: true })
  const h1 = stage.parent('h1', stage.all.slice(0, 60))
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  const open = await stage.open(undefined, [{ offset: 40 * MiB, length: 20 * MiB }])
  await sendAll(open, 40 * MiB, 20 * MiB)
  const order = h1.asked.filter(piece => piece >= 40 && piece < 56)
  assert.deepEqual(order, stage.all.slice(40, 56))
  const strangers = h1.asked.slice(0, h1.asked.indexOf(55)).filter(piece => piece < 40)
  assert.ok(strangers.length <= 20, `${strangers.length} pieces that nobody waits for went before`)
})

test('several ranges of one request are one reader, in the order of the request', async () => {
  const stage = setStage({ size, prefetch: false })
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  const spans = [
    { offset: 30 * MiB, length: 10 },
    { offset: 2 * MiB, length: 10 },
    { offset: 30 * MiB + 500, length: 10 },
  ]
  const open = await stage.open(undefined, spans)
  for (const { offset, length } of spans) {
    const chunks: Buffer[] = []
    const take = async (chunk: Uint8Array) => void chunks.push(Buffer.from(chunk))
    await open.send(offset, length, take, AbortSignal.timeout(5000))
    assert.ok(Buffer.concat(chunks).equals(stage.blob.subarray(offset, offset + length)))
  }
  open.close()
  assert.deepEqual(h1.asked, [30, 2])
})

test('a client of a range that leaves takes its wish with it', async () => {
  const stage = setStage({ size, prefetch: false, lingerMs: 1000 })
  const h1 = stage.parent('h1', [])
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  const gone = new AbortController()
  const opening = stage.open(gone.signal, [{ offset: 9 * MiB, length: 10 }])
  await until(() => h1.connects === 1)
  gone.abort(new Error('client went away'))
  await assert.rejects(opening, /went away/)
  const reading = readRange(stage, 12 * MiB, 10)
  h1.gain(...stage.all)
  await reading
  assert.deepEqual(h1.asked, [12])
  assert.equal(stage.table.describe()[0]?.readers, 0)
})

test('two hundred readers of one blob share a session, and each gets its bytes', async () => {
  const stage = setStage({ size, prefetch: false })
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  const reads = Array.from({ length: 200 }, (_, index) => ({
    offset: (index * 161_803) % (size - 999),
    length: 999,
  }))
  const got = await Promise.all(reads.map(({ offset, length }) => readRange(stage, offset, length)))
  reads.forEach(({ offset, length }, index) => {
    assert.ok(got[index]!.equals(stage.blob.subarray(offset, offset + length)))
  })
  assert.equal(stage.told('register').length, 1)
  assert.equal(new Set(h1.asked).size, h1.asked.length)
  assert.equal(stage.pool.lentBytes, 0)
})

test('sessions that nobody reads from make place for others', async () => {
  const stages = setStage({ size, prefetch: false, lingerMs: 60_000 })
  const h1 = stages.parent('h1', stages.all)
  stages.scheduler.registerAnswer = () => stages.answer(stages.all, [h1])
  await readRange(stages, 0, 10)
  assert.equal(stages.table.size, 1)
  for (let other = 0; other < 10; other++) {
    const digest = `sha256:${String(other).padStart(64, '0')}` as const
    stages.scheduler.pushGrant({
      type: 'grant',
      digest,
      size,
      pieceSize: MiB,
      source: { registry: 'reg.test', repository: 'team/app' },
      runs: [],
    })
  }
  await until(() => stages.table.size === 8)
  assert.ok(!stages.table.describe().some(session => session.digest === stages.digest))
})

test('ranges take the room of their pieces only; a reader of the whole, for whom there is none, gets it passed through', async () => {
  const stage = setStage({ size, prefetch: false, quotaBytes: 8 * MiB, lingerMs: 1000 })
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  await readRange(stage, 4 * MiB, 3 * MiB)
  assert.equal(stage.counted.peer, 3 * MiB)
  assert.ok((await stage.pull()).equals(stage.blob))
  assert.equal(stage.registry.bytesSent, size)
  await readRange(stage, 5 * MiB, MiB)
  assert.equal(stage.counted.peer, 3 * MiB, 'what was held stays')
})

test('a range of a blob of one piece waits for the check of the whole', async () => {
  const stage = setStage({ size: 1000 })
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  assert.ok((await readRange(stage, 10, 20)).equals(stage.blob.subarray(10, 30)))
  assert.equal(stage.store.stat(stage.digest)?.complete, true)
})

test('a range that is all of the blob is a pull like others', async () => {
  const stage = setStage({ size, prefetch: false })
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  assert.ok((await readRange(stage, 0, size)).equals(stage.blob))
  assert.deepEqual(wishes(stage), [undefined])
  assert.equal(stage.store.stat(stage.digest)?.complete, true)
})

test('wishes are made of readers of ranges only', async () => {
  const stage = setStage({ size })
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  await stage.pull()
  assert.deepEqual(wishes(stage), [undefined])
})
