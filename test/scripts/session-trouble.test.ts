// Stories of a session in trouble: liars, the silent, the vanished, a dead supernode, wrong bytes from the source, a full disk.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { digestOf } from '../../shared/digest.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import { readRange, sendAll, setStage, until } from './session-harness.ts'

test('a corrupt piece is rejected, its parent dropped and reported, and the pull succeeds', async () => {
  const stage = setStage()
  const liar = stage.parent('liar', stage.all, 'corrupt')
  const honest = stage.parent('honest', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [liar])
  const pulling = stage.pull()
  await until(() => stage.told('parent-fault').length > 0)
  stage.scheduler.pushParents(stage.digest, [honest.candidate, liar.candidate])
  assert.deepEqual(await pulling, stage.blob)
  assert.deepEqual(
    stage.told('parent-fault').map(fault => [fault.host, fault.fault]),
    [['liar', 'corrupt']],
  )
  assert.ok(stage.counted.rejected.includes('corrupt'))
  assert.equal(liar.connects, 1, 'a liar is left for the whole session')
})

test('while nothing lands the supernode is asked for a sign of life', async () => {
  const stage = setStage()
  const pulling = stage.pull()
  pulling.catch(() => {})
  await until(() => stage.told('expect-sign').length > 0)
  const honest = stage.parent('honest', stage.all)
  stage.tellHashes(stage.all)
  stage.scheduler.pushParents(stage.digest, [honest.candidate])
  assert.deepEqual(await pulling, stage.blob)
})

test('a silent parent’s pieces are asked of another', async () => {
  const stage = setStage()
  const silent = stage.parent('silent', stage.all, 'silent')
  const late = stage.parent('late', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [silent])
  const pulling = stage.pull()
  await until(() => silent.asked.length > 0)
  stage.scheduler.pushParents(stage.digest, [late.candidate])
  assert.deepEqual(await pulling, stage.blob)
})

test('a parent whose stream stands still: its pieces are asked of another in under a second', async () => {
  const stage = setStage()
  const still = stage.parent('still', stage.all, 'silent')
  const other = stage.parent('other', [0])
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [still, other])
  const pulling = stage.pull()
  await until(() => still.asked.length > 0)
  const stoodAt = performance.now()
  still.silentForMs = 5000
  other.gain(...stage.all)
  assert.deepEqual(await pulling, stage.blob)
  assert.ok(performance.now() - stoodAt < 1400, 'sooner than a slow one')
})

test('a parent that refuses is left alone, others are asked', async () => {
  const stage = setStage()
  const busy = stage.parent('busy', stage.all, 'refusing')
  const free = stage.parent('free', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [busy, free])
  assert.deepEqual(await stage.pull(), stage.blob)
  assert.ok(stage.told('parent-fault').every(fault => fault.host === 'busy' && fault.fault === 'refused'))
})

test('when the only parent vanishes the supernode hears of it and its new parents finish the blob', async () => {
  const stage = setStage()
  const first = stage.parent('first', [0, 1])
  const second = stage.parent('second', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [first])
  const pulling = stage.pull()
  await until(() => stage.told('report').length === 2)
  first.vanish()
  await until(() => stage.told('parent-fault').some(fault => fault.fault === 'gone'))
  stage.scheduler.pushParents(stage.digest, [second.candidate])
  assert.deepEqual(await pulling, stage.blob)
})

test('without a supernode the source is asked, and the blob still checked', async () => {
  const stage = setStage()
  stage.scheduler.connected = false
  assert.deepEqual(await stage.pull(), stage.blob)
  assert.equal(stage.registry.bytesSent, stage.blob.byteLength)
})

test('a supernode that goes away in the middle: parents known finish what they hold, the source the rest', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', [0, 1])
  stage.scheduler.registerAnswer = () => stage.answer([0, 1], [h1])
  const pulling = stage.pull()
  await until(() => stage.told('report').length === 2)
  stage.scheduler.goAway()
  assert.deepEqual(await pulling, stage.blob)
  assert.equal(stage.registry.bytesSent, stage.blob.byteLength - 2 * 1024 * 1024)
})

test('a supernode that comes back is asked again and its parents are used', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', [0])
  const h2 = stage.parent('h2', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer([0], [h1])
  const pulling = stage.pull()
  await until(() => stage.told('report').length === 1)
  stage.scheduler.goAway()
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h2])
  stage.scheduler.comeBack()
  assert.deepEqual(await pulling, stage.blob)
  assert.equal(stage.told('register').length, 2)
})

test('wrong bytes from the source never make a complete blob: after three tries the reader is cut before the last byte', async () => {
  const stage = setStage({ digest: digestOf(Buffer.from('something else')) })
  const pulling = (async () => {
    const open = await stage.open()
    let got = 0
    const take = async (chunk: Uint8Array) => {
      got += chunk.byteLength
    }
    await assert.rejects(open.send(0, stage.blob.byteLength, take, AbortSignal.timeout(10_000)), error =>
      isPantalaError(error, 'SOURCE_DIGEST_MISMATCH'),
    )
    open.close()
    return got
  })()
  for (const tries of [1, 2, 3]) {
    await until(() => stage.told('register').length === tries)
    stage.grant([{ first: 0, count: stage.pieces }])
    await until(() => stage.told('digest-mismatch').length === tries)
  }
  assert.ok((await pulling) < stage.blob.byteLength)
  await until(() => stage.store.stat(stage.digest) === undefined && stage.table.size === 0)
  assert.equal(stage.registry.bytesSent, 3 * stage.blob.byteLength)
  assert.deepEqual(
    stage.told('finish').map(message => message.outcome),
    ['failed'],
  )
  assert.equal(stage.pool.lentBytes, 0)
})

/** What the source sends once, with one byte of it wrong. */
async function sendWrongOnce(stage: ReturnType<typeof setStage>, offset: number): Promise<void> {
  const wrong = Buffer.from(stage.blob)
  wrong[offset]! ^= 1
  stage.registry.blob = wrong
  await until(() => stage.told('register').length === 1)
  stage.grant([{ first: 0, count: stage.pieces }])
  await until(() => stage.told('digest-mismatch').length === 1)
  stage.registry.blob = stage.blob
  await until(() => stage.told('register').length === 2)
  stage.grant([{ first: 0, count: stage.pieces }])
}

test('a blob of one piece that comes wrong once is fetched again, and its reader notices nothing', async () => {
  const stage = setStage({ size: 900_000 })
  const pulling = stage.pull()
  await sendWrongOnce(stage, 17)
  assert.deepEqual(await pulling, stage.blob)
  assert.equal(stage.counted.refetched, 1)
  assert.deepEqual(
    stage.told('finish').map(message => message.outcome),
    ['done'],
  )
})

test('a reader whose bytes were right goes on where the blob comes right at the second try', async () => {
  const stage = setStage()
  const pulling = stage.pull()
  await sendWrongOnce(stage, stage.blob.byteLength - 1)
  assert.deepEqual(await pulling, stage.blob)
  assert.equal(stage.registry.bytesSent, 2 * stage.blob.byteLength)
})

test('a reader that got a wrong byte is cut, and its next try finds the session that fetches the blob anew', async () => {
  const stage = setStage()
  const pulling = stage.pull()
  pulling.catch(() => {})
  await sendWrongOnce(stage, 3)
  await assert.rejects(pulling, error => isPantalaError(error, 'SOURCE_DIGEST_MISMATCH'))
  assert.deepEqual(await stage.pull(), stage.blob)
  assert.equal(stage.told('register').length, 2)
  assert.equal(stage.registry.bytesSent, 2 * stage.blob.byteLength)
})

test('hashes that the supernode withdraws: what was sent and is the same again stays, and the reader goes on', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', [0, 1])
  const h2 = stage.parent('h2', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer([0, 1], [h1])
  const pulling = stage.pull()
  await until(() => stage.told('report').length === 2)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h2])
  stage.scheduler.pushReset(stage.digest)
  assert.deepEqual(await pulling, stage.blob)
  assert.equal(stage.told('register').length, 2)
  assert.equal(stage.told('finish').length, 1)
})

test('a withdrawal from before the second try does not disturb it', async () => {
  const stage = setStage({ size: 900_000 })
  const pulling = stage.pull()
  await until(() => stage.told('register').length === 1)
  stage.scheduler.pushReset(stage.digest)
  stage.grant([{ first: 0, count: stage.pieces }])
  assert.deepEqual(await pulling, stage.blob)
  assert.equal(stage.told('register').length, 1)
})

test('a reader that comes while a session of ranges ends gets a session of its own', async () => {
  const stage = setStage({ prefetch: false })
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  await readRange(stage, 0, 10)
  const create = stage.store.create.bind(stage.store)
  // The room for the whole takes longer than the session lasts.
  stage.store.create = async (digest, geometry, signal, room) => {
    if (room === undefined) await until(() => stage.table.size === 0)
    return create(digest, geometry, signal, room)
  }
  assert.deepEqual(await stage.pull(), stage.blob)
})

test('a task the source refuses fails with the source’s own words before any header', async () => {
  const stage = setStage()
  stage.scheduler.registerAnswer = () =>
    new PantalaError('SOURCE_UNAUTHORIZED', { challenge: 'Basic realm="r"' })
  await assert.rejects(
    stage.open(),
    error => isPantalaError(error, 'SOURCE_UNAUTHORIZED') && error.challenge === 'Basic realm="r"',
  )
})

test('a task that fails later ends waiting readers', async () => {
  const stage = setStage()
  const opening = stage.open()
  await until(() => stage.told('register').length === 1)
  stage.scheduler.pushFailed(stage.digest, new PantalaError('SOURCE_BLOB_UNKNOWN'))
  await assert.rejects(opening, error => isPantalaError(error, 'SOURCE_BLOB_UNKNOWN'))
  assert.equal(stage.table.size, 0)
})

test('a granted run that the source cuts short is given back, what landed is kept', async () => {
  const stage = setStage()
  stage.registry.failure = new PantalaError('SOURCE_STALLED')
  stage.registry.failAfterBytes = 2_500_000
  const h1 = stage.parent('h1', stage.all)
  const pulling = stage.pull()
  await until(() => stage.told('register').length === 1)
  stage.grant([{ first: 0, count: stage.pieces }])
  await until(() => stage.told('grant-failed').length === 1)
  assert.deepEqual(stage.told('grant-failed')[0]!.runs, [{ first: 2, count: 3 }])
  stage.tellHashes([2, 3, 4])
  stage.scheduler.pushParents(stage.digest, [h1.candidate])
  assert.deepEqual(await pulling, stage.blob)
})

test('a client that leaves frees its seat; the session ends after a while and keeps its pieces', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', [0])
  stage.scheduler.registerAnswer = () => stage.answer([0], [h1])
  const gone = new AbortController()
  const open = await stage.open()
  const sending = open.send(0, stage.blob.byteLength, async () => {}, gone.signal)
  gone.abort(new Error('client went away'))
  await assert.rejects(sending, /went away/)
  open.close()
  await until(() => stage.table.size === 0)
  assert.deepEqual(
    stage.told('finish').map(message => message.outcome),
    ['left'],
  )
  assert.equal(stage.store.stat(stage.digest)?.have.count, 1)
  assert.equal(stage.pool.lentBytes, 0)
})

test('an aborted client does not poison the download of another', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  const stop = new AbortController()
  const first = stage.open(stop.signal)
  const second = stage.pull()
  stop.abort(new Error('client went away'))
  await assert.rejects(first, /went away/)
  assert.deepEqual(await second, stage.blob)
})

test('a store that can’t take the blob lets it pass through, checked', async () => {
  const stage = setStage()
  stage.store.create = async () => {
    throw new PantalaError('STORE_FULL')
  }
  assert.deepEqual(await stage.pull(), stage.blob)
  stage.registry.blob = Buffer.alloc(stage.blob.byteLength)
  const open = await stage.open()
  await assert.rejects(sendAll(open, 0, stage.blob.byteLength), error =>
    isPantalaError(error, 'SOURCE_DIGEST_MISMATCH'),
  )
})

test('stopping the table cuts its readers', async () => {
  const stage = setStage()
  const opening = stage.open()
  await until(() => stage.told('register').length === 1)
  stage.table.stop()
  await assert.rejects(opening, error => isPantalaError(error, 'SHUTTING_DOWN'))
})

test('a supernode that comes back empty is told the hashes of what was landed', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', [0, 1])
  stage.scheduler.registerAnswer = () => stage.answer([0, 1], [h1])
  const pulling = stage.pull()
  await until(() => stage.told('report').length === 2)
  stage.scheduler.goAway()
  stage.scheduler.registerAnswer = () => stage.answer([], [])
  stage.scheduler.comeBack()
  await until(() => stage.told('report').filter(report => report.hashes !== undefined).length === 2)
  stage.grant([{ first: 2, count: 3 }])
  assert.deepEqual(await pulling, stage.blob)
})
