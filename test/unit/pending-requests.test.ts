// Questions to a supernode: no more at a time than it takes from one host, the rest in turn, and none is lost.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PendingRequests, REGISTER_WAIT, sourceWait } from '../../dfdaemon/scheduler/pending-requests.ts'
import { systemClock } from '../../shared/clock.ts'
import { PantalaError } from '../../shared/errors.ts'
import { QUESTIONS_PER_HOST_MAX } from '../../shared/protocol/limits.ts'
import type { Relayed } from '../../shared/protocol/messages.ts'

const forEver = new AbortController().signal
const wait = (repository: string) => sourceWait({ registry: 'reg.lab', repository })

function answerTo(id: number): Relayed {
  return { type: 'relayed', id, mediaType: '', digest: undefined, stale: false } as unknown as Relayed
}

/** Asks so many as it takes, and more; `sent` names those that went out, by id. */
function crowd(more: readonly string[]) {
  const pending = new PendingRequests({ clock: systemClock })
  const sent: { readonly id: number; readonly name: string }[] = []
  const ask = (name: string, signal = forEver) =>
    pending.ask(
      id => {
        sent.push({ id, name })
        return true
      },
      wait(name[0]!),
      signal,
    )
  const first = Array.from({ length: QUESTIONS_PER_HOST_MAX }, (_, index) => ask(`z${index}`))
  return { pending, sent, ask, first, waiting: more.map(name => ask(name)) }
}

test('what is beyond the supernode’s bound waits, repositories in turn, and goes out as answers come', async () => {
  const { pending, sent, first, waiting } = crowd(['a1', 'a2', 'b1'])
  assert.equal(sent.length, QUESTIONS_PER_HOST_MAX)
  for (let index = 0; index < sent.length; index++) pending.resolve(answerTo(sent[index]!.id))
  assert.deepEqual(
    sent.slice(QUESTIONS_PER_HOST_MAX).map(({ name }) => name),
    ['a1', 'b1', 'a2'],
  )
  await Promise.all([...first, ...waiting])
})

test('a register that is answered at once waits for no one', async () => {
  const { pending, sent } = crowd(['a1'])
  let asked = 0
  const answer = pending.ask(
    id => {
      asked = id
      return true
    },
    REGISTER_WAIT,
    forEver,
  )
  assert.ok(asked > 0)
  pending.resolve(answerTo(asked))
  await answer
  assert.equal(sent.length, QUESTIONS_PER_HOST_MAX)
})

test('a caller that leaves keeps its question’s place until it is answered: the supernode counts it', async () => {
  const pending = new PendingRequests({ clock: systemClock })
  const leaving = new AbortController()
  let out = 0
  const send = (): boolean => {
    out++
    return true
  }
  const asked = Array.from({ length: QUESTIONS_PER_HOST_MAX }, () =>
    pending.ask(send, wait('a'), leaving.signal),
  )
  const next = pending.ask(send, wait('a'), forEver)
  leaving.abort(new Error('gone'))
  for (const each of asked) await assert.rejects(each, /gone/)
  assert.equal(out, QUESTIONS_PER_HOST_MAX)
  pending.reject(5, new PantalaError('SOURCE_BLOB_UNKNOWN'))
  assert.equal(out, QUESTIONS_PER_HOST_MAX + 1)
  pending.resolve(answerTo(QUESTIONS_PER_HOST_MAX + 1))
  assert.equal((await next).type, 'relayed')
})

test('those that wait hear at once that the supernode is lost', async () => {
  const { pending, sent, first, waiting, ask } = crowd(['a1', 'b1'])
  pending.rejectAll(new PantalaError('SUPERNODE_AWAY'))
  const outcomes = await Promise.allSettled([...first, ...waiting])
  assert.ok(outcomes.every(({ status }) => status === 'rejected'))
  // And a new stream begins with all places free.
  const again = Array.from({ length: QUESTIONS_PER_HOST_MAX }, () => ask('a'))
  assert.equal(sent.length, 2 * QUESTIONS_PER_HOST_MAX)
  pending.rejectAll(new PantalaError('SUPERNODE_AWAY'))
  await Promise.allSettled(again)
})
