// A blob that is fetched before anyone reads it: it goes on without readers, gently, takes no place from others, and is nobody's when the store is full.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Digest } from '../../shared/digest.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { sendAll, setStage, until } from './session-harness.ts'

const MiB = 1024 * 1024
/** Sessions that the stage allows. */
const PLACES = 8
const source = { registry: 'reg.test', repository: 'team/app' }
const signal = AbortSignal.timeout(20_000)

const begin = (stage: ReturnType<typeof setStage>, digest = stage.digest, size = stage.blob.byteLength) =>
  stage.table.fetchAhead({ digest, source, size }, signal)

const numbered = (number: number): Digest => `sha256:${String(number).padStart(64, '0')}`

test('all of it comes, also long after readers would have been given up, and is served from the store', async () => {
  const stage = setStage({ lingerMs: 5 })
  const h1 = stage.parent('h1', [])
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  const ahead = await begin(stage)
  await until(() => h1.connects === 1)
  const other = await begin(stage, numbered(1))
  other!.close()
  await until(() => stage.told('finish').length === 1)
  assert.equal(stage.table.size, 1)
  h1.gain(...stage.all)
  await ahead!.whole(signal)
  ahead!.close()
  await until(() => stage.table.size === 0)
  assert.deepEqual(h1.asked.toSorted(), stage.all)
  const open = await stage.open()
  assert.equal(open.from, 'cache')
  assert.deepEqual(await sendAll(open, 0, stage.blob.byteLength), stage.blob)
})

test('two pieces of a parent at a time, until somebody reads it; then as ever, in the same session', async () => {
  const stage = setStage({ size: 16 * MiB })
  const first = stage.all.slice(0, 6)
  const h1 = stage.parent('h1', first)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  const ahead = await begin(stage)
  // A parent this quick would be asked for more at a time.
  await until(() => stage.store.stat(stage.digest)?.have.count === first.length)
  h1.manner = 'silent'
  h1.gain(...stage.all)
  await until(() => h1.asked.length > first.length)
  await new Promise(resolve => setImmediate(resolve))
  assert.equal(h1.asked.length, first.length + 2)
  const open = await stage.open()
  await until(() => h1.asked.length > first.length + 2)
  assert.equal(stage.told('register').length, 1)
  open.close()
  ahead!.close()
  stage.table.stop()
})

test('let go of, it ends as any session without readers; what has landed stays', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', [0, 1])
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  const ahead = await begin(stage)
  await until(() => stage.store.stat(stage.digest)?.have.count === 2)
  ahead!.close()
  await until(() => stage.table.size === 0)
  assert.deepEqual(
    stage.told('finish').map(({ outcome }) => outcome),
    ['left'],
  )
  assert.equal(stage.store.stat(stage.digest)?.have.count, 2)
})

test('nothing is begun where the blob is here or on its way', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', [0])
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  const pulling = stage.pull()
  await until(() => h1.connects === 1)
  assert.equal(await begin(stage), undefined)
  h1.gain(...stage.all)
  await pulling
  assert.equal(await begin(stage), undefined)
  assert.equal(await begin(stage, `${stage.digest}@reg.test` as Digest), undefined)
  assert.equal(stage.told('register').length, 1)
})

test('it takes no place that readers may want: none when all are taken, and its own is given up', async () => {
  const stage = setStage({ size: 2 * MiB, lingerMs: 60_000 })
  const ahead = await begin(stage, numbered(0))
  const ended = assert.rejects(ahead!.whole(signal), error => isPantalaError(error, 'SHUTTING_DOWN'))
  const leave = new AbortController()
  const read = (number: number) =>
    stage.table
      .open({ digest: numbered(number), source, size: 2 * MiB }, undefined, leave.signal)
      .catch(() => {})
  const readers = Array.from({ length: PLACES - 1 }, (_, index) => read(1 + index))
  await until(() => stage.table.size === PLACES)
  assert.equal(await begin(stage, numbered(50)), undefined)
  readers.push(read(20))
  await ended
  await until(() => stage.told('register').some(({ request }) => request.digest === numbered(20)))
  ahead!.close()
  leave.abort(new Error('gone'))
  await Promise.all(readers)
  stage.table.stop()
})

test('what the store can’t take is not fetched: neither supernode nor source hear of it', async () => {
  const stage = setStage({ size: 4 * MiB, quotaBytes: 2 * MiB })
  const ahead = await begin(stage)
  await assert.rejects(ahead!.whole(signal), error => isPantalaError(error, 'STORE_FULL'))
  ahead!.close()
  await until(() => stage.table.size === 0)
  assert.deepEqual([stage.told('register'), stage.registry.ranges], [[], []])
})

test('a reader whose blob finds no room gets that of a blob nobody reads', async () => {
  const stage = setStage({ size: 4 * MiB, quotaBytes: 6 * MiB })
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = ({ digest }) =>
    digest === stage.digest ? stage.answer(stage.all, [h1]) : {}
  const ahead = await begin(stage, numbered(7), 4 * MiB)
  const ended = assert.rejects(ahead!.whole(signal), error => isPantalaError(error, 'SHUTTING_DOWN'))
  await until(() => stage.told('register').length === 1)
  assert.deepEqual(await stage.pull(), stage.blob)
  await ended
  ahead!.close()
  assert.equal(stage.store.stat(stage.digest)?.complete, true)
  assert.deepEqual(stage.registry.ranges, [])
})

test('a stop ends it', async () => {
  const stage = setStage()
  const ahead = await begin(stage)
  const ended = assert.rejects(ahead!.whole(signal), error => isPantalaError(error, 'SHUTTING_DOWN'))
  stage.table.stop()
  await ended
  ahead!.close()
  await assert.rejects(begin(stage), error => isPantalaError(error, 'SHUTTING_DOWN'))
})
