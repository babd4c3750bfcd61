// More blobs asked for than sessions may run: readers wait for a place, in turn, and nobody who left takes one.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Digest } from '../../shared/digest.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { setStage, until } from './session-harness.ts'

const MiB = 1024 * 1024
/** Sessions that the stage allows. */
const PLACES = 8

/** A stage whose blobs never come. */
function setFullStage(lingerMs?: number) {
  const stage = setStage({ size: 2 * MiB, ...(lingerMs === undefined ? {} : { lingerMs }) })
  const leaves: AbortController[] = []
  const outcomes: Promise<unknown>[] = []
  const ask = (number: number, repository = 'team/app') => {
    const leave = new AbortController()
    const digest: Digest = `sha256:${String(number).padStart(64, '0')}`
    const source = { registry: 'reg.test', repository }
    const opened = stage.table.open({ digest, source, size: 2 * MiB }, undefined, leave.signal)
    opened.catch(() => {})
    leaves.push(leave)
    outcomes.push(opened)
    return digest
  }
  const registered = (digest: Digest): boolean =>
    stage.told('register').some(({ request }) => request.digest === digest)
  const full = async (): Promise<void> => {
    for (let number = 0; number < PLACES; number++) ask(number)
    await until(() => stage.told('register').length === PLACES)
  }
  return { stage, leaves, outcomes, ask, registered, full }
}

test('a reader without a place waits, and gets it when another leaves, whose session would go on for a while', async () => {
  const { stage, leaves, ask, registered, full } = setFullStage(60_000)
  await full()
  const next = ask(20)
  await until(() => stage.table.size === PLACES)
  assert.equal(registered(next), false)
  leaves[3]!.abort(new Error('gone'))
  await until(() => registered(next))
  assert.equal(stage.table.size, PLACES)
  stage.table.stop()
})

test('repositories take turns at places', async () => {
  const { stage, leaves, ask, registered, full } = setFullStage()
  await full()
  const [first, second, other] = [ask(20, 'a'), ask(21, 'a'), ask(22, 'b')]
  await new Promise(resolve => setImmediate(resolve))
  leaves[0]!.abort(new Error('gone'))
  await until(() => registered(first))
  leaves[1]!.abort(new Error('gone'))
  await until(() => registered(other))
  assert.equal(registered(second), false)
  stage.table.stop()
})

test('two that wait for the same blob share its session', async () => {
  const { stage, leaves, ask, registered, full } = setFullStage()
  await full()
  const one = ask(20)
  assert.equal(ask(20), one)
  await new Promise(resolve => setImmediate(resolve))
  leaves[0]!.abort(new Error('gone'))
  await until(() => registered(one))
  leaves[1]!.abort(new Error('gone'))
  await until(() => stage.table.size === PLACES - 1)
  const readers = stage.table.describe().find(({ digest }) => digest === one)
  assert.equal(readers?.['readers'], 2)
  stage.table.stop()
})

test('one that leaves while it waits takes no place, and a stop tells those that wait', async () => {
  const { stage, leaves, outcomes, ask, registered, full } = setFullStage()
  await full()
  const left = ask(20)
  ask(21)
  await new Promise(resolve => setImmediate(resolve))
  leaves[PLACES]!.abort(new Error('gone'))
  await assert.rejects(outcomes[PLACES]!, /gone/)
  stage.table.stop()
  await assert.rejects(outcomes[PLACES + 1]!, error => isPantalaError(error, 'SHUTTING_DOWN'))
  assert.equal(registered(left), false)
})
