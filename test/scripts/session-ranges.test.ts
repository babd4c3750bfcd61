// Sessions and readers of ranges: their pieces first, only they where the rest is not wanted, and nothing left behind when they go.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { digestOf } from '../../shared/digest.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import { sendAll, setStage, until } from './session-harness.ts'

const MiB = 1024 * 1024
const run = (first: number, count = 1) => ({ first, count })
const size = 32 * MiB + 77

/** Opens, reads and closes one range. */
async function readRange(
  stage: ReturnType<typeof setStage>,
  offset: number,
  length: number,
): Promise<Buffer> {
  const open = await stage.open(undefined, [{ offset, length }])
  return sendAll(open, offset, length)
}

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

test('alone, a range costs the source its pieces and no more', async () => {
  const stage = setStage({ size, prefetch: false })
  stage.scheduler.connected = false
  await readRange(stage, 9 * MiB + 1, MiB)
  await readRange(stage, 25 * MiB, 10)
  assert.deepEqual(stage.registry.ranges, [
    { offset: 9 * MiB, length: 2 * MiB },
    { offset: 25 * MiB, length: MiB },
  ])
})

test('alone with prefetch, what a reader waits for comes first and every byte once', async () => {
  const stage = setStage({ size, prefetch: true, lingerMs: 50 })
  stage.scheduler.connected = false
  await readRange(stage, 25 * MiB, 10)
  assert.deepEqual(stage.registry.ranges[0], { offset: 25 * MiB, length: MiB })
  await until(() => stage.store.stat(stage.digest)?.complete === true)
  assert.equal(stage.registry.bytesSent, size)
})

test('an urgent grant goes before the one that runs, and no piece is fetched twice', async () => {
  const stage = setStage({ size: 64 * MiB })
  let release = (): void => {}
  const held = new Promise<void>(resolve => {
    release = resolve
  })
  stage.registry.gate = () => (stage.registry.bytesSent > MiB ? held : undefined)
  stage.grant([run(0, 64)])
  await until(() => stage.registry.bytesSent > MiB)
  const urgent = {
    type: 'grant',
    digest: stage.digest,
    ...stage.geometry,
    runs: [run(60, 2)],
    urgent: true,
  } as const
  stage.scheduler.pushGrant({ ...urgent, source: { registry: 'reg.test', repository: 'team/app' } })
  await until(() => stage.registry.ranges.length === 2)
  assert.deepEqual(stage.registry.ranges[1], { offset: 60 * MiB, length: 2 * MiB })
  release()
  await until(() => stage.store.stat(stage.digest)?.complete === true)
  const reported = stage.told('report').flatMap(report => report.pieces)
  assert.deepEqual(
    reported.toSorted((a, b) => a - b),
    stage.all,
  )
})

test('an urgent grant for what is about to come costs nothing', async () => {
  const stage = setStage({ size: 20 * MiB })
  stage.grant([run(0, 20)])
  await until(() => stage.registry.bytesSent > 0)
  const urgent = {
    type: 'grant',
    digest: stage.digest,
    ...stage.geometry,
    runs: [run(10)],
    urgent: true,
  } as const
  stage.scheduler.pushGrant({ ...urgent, source: { registry: 'reg.test', repository: 'team/app' } })
  await until(() => stage.store.stat(stage.digest)?.complete === true)
  assert.deepEqual(stage.registry.ranges, [{ offset: 0, length: 20 * MiB }])
})

test('granted pieces that go ahead are left out of the rest; the rest waits for them', async () => {
  const stage = setStage({ size })
  const grant = { type: 'grant', digest: stage.digest, ...stage.geometry } as const
  const source = { registry: 'reg.test', repository: 'team/app' }
  stage.scheduler.pushGrant({ ...grant, source, runs: [run(5, 2), run(20)], urgent: true })
  stage.scheduler.pushGrant({ ...grant, source, runs: [run(0, 5), run(7, 13), run(21, 12)] })
  await until(() => stage.store.stat(stage.digest)?.complete === true)
  assert.equal(stage.registry.bytesSent, size)
  assert.deepEqual(
    stage.registry.ranges.slice(0, 2).map(({ offset }) => offset / MiB),
    [5, 20],
  )
})

test('a source that fails what goes ahead is told once, for all of it', async () => {
  const stage = setStage({ size })
  stage.registry.failure = new PantalaError('SOURCE_AWAY', { detail: 'told so' })
  const grant = { type: 'grant', digest: stage.digest, ...stage.geometry } as const
  const source = { registry: 'reg.test', repository: 'team/app' }
  const runs = [run(1), run(3), run(5), run(7), run(9), run(11)]
  stage.scheduler.pushGrant({ ...grant, source, runs, urgent: true })
  await until(() => stage.told('grant-failed').length > 0)
  const [failed, ...more] = stage.told('grant-failed')
  assert.deepEqual(
    failed!.runs.toSorted((a, b) => a.first - b.first),
    runs,
  )
  assert.deepEqual(more, [])
  assert.ok(isPantalaError(failed!.error, 'SOURCE_AWAY'))
})

test('a source that ignores ranges is read once, from the start, and all that passes is kept', async () => {
  const stage = setStage({ size, prefetch: false, lingerMs: 1000 })
  stage.scheduler.connected = false
  stage.registry.ignoresRange = true
  const reads = [30, 20, 12, 25].map(piece => readRange(stage, piece * MiB, 10))
  const got = await Promise.all(reads)
  assert.ok(got[0]!.equals(stage.blob.subarray(30 * MiB, 30 * MiB + 10)))
  await until(() => stage.store.stat(stage.digest)?.complete === true)
  assert.deepEqual(stage.registry.ranges, [{ offset: 0, length: size }])
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

test('a blob that proves wrong after a range of it was read is dropped and told of', async () => {
  const stage = setStage({
    size,
    prefetch: true,
    lingerMs: 50,
    digest: digestOf(Buffer.from('something else')),
  })
  stage.scheduler.connected = false
  await readRange(stage, 9 * MiB, 10)
  await until(() => stage.table.size === 0)
  assert.equal(stage.store.stat(stage.digest), undefined)
  assert.deepEqual(stage.counted.rejected, ['digest'])
})

test('who resumes a pull does not get the last byte of a wrong blob', async () => {
  const stage = setStage({ size, digest: digestOf(Buffer.from('something else')) })
  stage.scheduler.connected = false
  await readRange(stage, 0, 20 * MiB)
  let got = 0
  const open = await stage.open(undefined, [{ offset: 20 * MiB, length: size - 20 * MiB }])
  const take = async (chunk: Uint8Array) => {
    got += chunk.byteLength
  }
  const sending = open.send(20 * MiB, size - 20 * MiB, take, AbortSignal.timeout(10_000))
  await assert.rejects(sending, error => isPantalaError(error, 'SOURCE_DIGEST_MISMATCH'))
  open.close()
  assert.ok(got < size - 20 * MiB)
})

test('a grant for which there is no place is given back', async () => {
  const stage = setStage({ size })
  for (let other = 0; other < 9; other++) {
    stage.registry.gate = () => new Promise(() => {})
    const digest = `sha256:${String(other).padStart(64, '0')}` as const
    const source = { registry: 'reg.test', repository: 'team/app' }
    stage.scheduler.pushGrant({ type: 'grant', digest, size, pieceSize: MiB, source, runs: [run(0)] })
  }
  await until(() => stage.told('grant-failed').length === 1)
  assert.ok(isPantalaError(stage.told('grant-failed')[0]!.error, 'OVERLOADED'))
  stage.table.stop()
})

test('a range of a blob of one piece waits for the check of the whole', async () => {
  const stage = setStage({ size: 1000 })
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  assert.ok((await readRange(stage, 10, 20)).equals(stage.blob.subarray(10, 30)))
  assert.equal(stage.store.stat(stage.digest)?.complete, true)
})

test('wishes are made of readers of ranges only', async () => {
  const stage = setStage({ size })
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  await stage.pull()
  assert.deepEqual(wishes(stage), [undefined])
})
