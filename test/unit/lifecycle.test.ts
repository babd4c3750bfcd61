// Services start in order, stop in reverse, and a start that fails leaves nothing running.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { type Service, ServiceStack } from '../../shared/lifecycle.ts'

function makeStack() {
  const story: string[] = []
  const stack = new ServiceStack({ logger: pino({ level: 'silent' }) })
  const service = (name: string, faults: { start?: boolean; stop?: boolean } = {}): Service => ({
    name,
    start: () => {
      if (faults.start) throw new Error(`${name} fails`)
      story.push(`+${name}`)
    },
    stop: graceMs => {
      story.push(`-${name} ${graceMs}`)
      if (faults.stop) throw new Error(`${name} hangs on`)
    },
  })
  return { story, stack, service }
}

test('stops in reverse, with the grace, even if one fails to', async () => {
  const { story, stack, service } = makeStack()
  await stack.start(service('a'))
  await stack.start(service('b', { stop: true }))
  await stack.start(service('c'))
  await stack.stop(50)
  await stack.stop(50)
  assert.deepEqual(story, ['+a', '+b', '+c', '-c 50', '-b 50', '-a 50'])
})

test('a start that fails undoes those before it and tells its own error', async () => {
  const { story, stack, service } = makeStack()
  await stack.start(service('a'))
  await assert.rejects(stack.start(service('b', { start: true })), /b fails/)
  assert.deepEqual(story, ['+a', '-a 0'])
})

test('who asks twice to stop waits for the one stop there is', async () => {
  const { story, stack, service } = makeStack()
  const slow = Promise.withResolvers<void>()
  await stack.start({ ...service('a'), stop: () => slow.promise })
  let stopped = 0
  const both = [stack.stop(50), stack.stop(50)].map(one => one.then(() => stopped++))
  await Promise.resolve()
  assert.equal(stopped, 0)
  slow.resolve()
  await Promise.all(both)
  assert.deepEqual(story, ['+a'])
})
