// Stories of a session that no supernode helps: whom it believes, what it hands on, and what it takes from the source.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PantalaError } from '../../shared/errors.ts'
import type { Candidate } from '../../shared/protocol/messages.ts'
import { sendAll, setStage, until } from './session-harness.ts'

/** The source sends nothing until released. */
function holdSource(stage: { registry: { gate: (sent: number) => Promise<void> | undefined } }): () => void {
  const held = Promise.withResolvers<void>()
  stage.registry.gate = () => held.promise
  return () => held.resolve()
}

function setLoneStage(size?: number) {
  const candidates: Candidate[] = []
  const stage = setStage({ found: () => candidates, ...(size === undefined ? {} : { size }) })
  stage.scheduler.connected = false
  return { ...stage, candidates }
}

test('what a parent vouches for is taken from it, and the source is not asked', async () => {
  const stage = setLoneStage()
  const holder = stage.voucher('holder', stage.all)
  stage.candidates.push(holder.candidate)
  assert.deepEqual(await stage.pull(), stage.blob)
  assert.equal(holder.alone, 1)
  assert.equal(stage.registry.bytesSent, 0)
  await until(() => stage.toldAgain.length > 0)
})

test('one parent’s word is enough to fetch, not to hand on: readers wait for the digest', async () => {
  const stage = setLoneStage()
  const most = stage.voucher('most', stage.all.slice(0, -1))
  stage.candidates.push(most.candidate)
  // The last piece is the source's, which is slow to come.
  const release = holdSource(stage)
  const open = await stage.open()
  let handed = 0
  const take = async (chunk: Uint8Array) => {
    handed += chunk.byteLength
  }
  const sending = open.send(0, stage.blob.byteLength, take, AbortSignal.timeout(15_000))
  await until(() => most.asked.length === stage.all.length - 1)
  await until(() => stage.registry.ranges.length > 0)
  assert.equal(handed, 0)
  release()
  await sending
  assert.equal(handed, stage.blob.byteLength)
})

test('what two parents say alike is handed on at once', async () => {
  const stage = setLoneStage()
  const some = stage.all.slice(0, -1)
  stage.candidates.push(stage.voucher('one', some).candidate, stage.voucher('two', some).candidate)
  const release = holdSource(stage)
  const open = await stage.open()
  assert.deepEqual(
    await sendAll(open, 0, some.length * stage.geometry.pieceSize),
    stage.blob.subarray(0, some.length * stage.geometry.pieceSize),
  )
  release()
})

test('a liar whose hashes fit its bytes is found out by the digest, and costs the pull nothing but time', async () => {
  const stage = setLoneStage()
  const liar = stage.voucher('liar', stage.all, true)
  stage.candidates.push(liar.candidate)
  assert.deepEqual(await stage.pull(), stage.blob)
  assert.equal(liar.connects, 1, 'it is left for the whole session')
  assert.ok(stage.counted.rejected.includes('digest'))
})

test('where parents disagree neither is believed, and the source decides', async () => {
  const stage = setLoneStage()
  const honest = stage.voucher('honest', stage.all)
  const liar = stage.voucher('liar', [0, 1], true)
  stage.candidates.push(liar.candidate, honest.candidate)
  assert.deepEqual(await stage.pull(), stage.blob)
  assert.ok(stage.registry.bytesSent <= 2 * stage.geometry.pieceSize)
})

test('the supernode’s word, once it is back, outweighs a parent’s', async () => {
  const stage = setStage({ found: () => [liar.candidate] })
  const liar = stage.voucher('liar', [0, 1], true)
  const honest = stage.parent('honest', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer([], [])
  const pulling = stage.pull()
  await until(() => stage.told('register').length === 1)
  holdSource(stage)
  stage.scheduler.goAway()
  await until(() => liar.asked.length === 2)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [honest])
  stage.scheduler.comeBack()
  assert.deepEqual(await pulling, stage.blob)
  assert.ok(honest.asked.includes(0) && honest.asked.includes(1))
})

test('when nobody holds it and the source fails, the pull fails with the source’s words', async () => {
  const stage = setLoneStage()
  stage.candidates.push(stage.voucher('empty', []).candidate)
  stage.registry.failure = new PantalaError('SOURCE_AWAY')
  await assert.rejects(stage.pull(), { code: 'SOURCE_AWAY' })
})
