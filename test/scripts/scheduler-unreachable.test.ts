// Stories of hosts that can dial out and that nobody can dial: served like all others, and nobody is sent to them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UNREACHABLE_MS } from '../../supernode/state/unreachable-reports.ts'
import { ClusterScript, digest, MiB } from './cluster-script.ts'

const whole = { digest, size: 8 * MiB, pieceSize: MiB }

/** A task that only `hidden` holds whole; nobody can dial it. */
function hiddenHolder(others: readonly string[]): ClusterScript {
  const story = new ClusterScript({ pieces: 8 })
  story.join('hidden')
  story.say('hidden', { type: 'announce', holdings: [whole], last: true })
  for (const host of others) story.join(host)
  return story
}

test('the only holder cannot be dialled: the child that says so fetches from the source at once, and serves the next', () => {
  const story = hiddenHolder(['h1', 'h2'])
  story.register('h1')
  assert.deepEqual(story.parentsOf('h1'), ['hidden'])
  story.complain('h1', 'hidden', 'unreachable')
  story.pass(500)
  assert.deepEqual(story.granted['h1'], [0, 1, 2, 3, 4, 5, 6, 7])
  story.cutPieces('h1', 0, 1, 2, 3, 4, 5, 6, 7)
  story.finish('h1', 'done')
  story.register('h2')
  story.complain('h2', 'hidden', 'unreachable')
  story.pass(500)
  assert.deepEqual(story.granted, {}, 'the source is not asked twice')
  assert.ok(story.parentsOf('h2').includes('h1'))
  story.checkInvariants()
})

test('a child that cannot reach who has just fetched it all may fetch it once more, also while the other still wants it', () => {
  const story = new ClusterScript({ pieces: 8 })
  story.join('hidden')
  story.join('h1')
  story.register('hidden')
  story.cutPieces('hidden', 0, 1, 2, 3, 4, 5, 6, 7)
  story.register('h1')
  assert.deepEqual(story.parentsOf('h1'), ['hidden'])
  story.complain('h1', 'hidden', 'unreachable')
  story.finish('hidden', 'done')
  story.pass(500)
  assert.deepEqual(story.granted['h1'], [0, 1, 2, 3, 4, 5, 6, 7])
})

test('after two children said so nobody else is sent there; it is served itself; after a while it is tried again', () => {
  const story = hiddenHolder(['h1', 'h2', 'h3', 'h4'])
  for (const child of ['h1', 'h2']) {
    story.register(child)
    story.complain(child, 'hidden', 'unreachable')
  }
  story.register('h3')
  story.pass(1000)
  assert.ok(!story.parentsOf('h3').includes('hidden'))
  const other = `sha256:${'cd'.repeat(32)}` as const
  story.register('hidden', { of: other })
  assert.equal(
    story.grantsTo('hidden').filter(grant => grant.digest === other).length,
    1,
    'alone it fetches itself',
  )
  story.finish('h3', 'left')
  story.pass(UNREACHABLE_MS)
  story.register('h4')
  assert.ok(story.parentsOf('h4').includes('hidden'))
  story.checkInvariants()
})

test('one child alone keeps nobody else from a host, and is not sent there again itself', () => {
  const story = hiddenHolder(['liar', 'h2'])
  story.register('liar')
  for (let time = 0; time < 5; time++) story.complain('liar', 'hidden', 'unreachable')
  story.finish('liar', 'left')
  story.register('h2')
  assert.deepEqual(story.parentsOf('h2'), ['hidden'])
  story.register('liar')
  assert.deepEqual(story.parentsOf('liar').filter(host => host === 'hidden').length, 1)
})

test('whoever gets a piece from it voids what was said; so does its coming back', () => {
  for (const proof of ['piece', 'return'] as const) {
    const story = hiddenHolder(['h1', 'h2', 'h3', 'h4'])
    story.register('h3')
    for (const child of ['h1', 'h2']) {
      story.register(child)
      story.complain(child, 'hidden', 'unreachable')
    }
    assert.equal(story.state.unreachable.isShut('hidden', story.now), true)
    if (proof === 'piece') story.takePieces('h3', 'hidden', 0)
    else {
      story.die('hidden')
      story.join('hidden')
      story.say('hidden', { type: 'announce', holdings: [whole], last: true })
    }
    story.register('h4')
    assert.ok(story.parentsOf('h4').includes('hidden'), proof)
    story.checkInvariants()
  }
})

test('a seed that nobody can dial fetches nothing for others while somebody else can', () => {
  const story = new ClusterScript({ pieces: 8 })
  story.join('seed', { seed: true })
  story.say('seed', { type: 'announce', holdings: [whole], last: true })
  for (const child of ['h1', 'h2']) {
    story.join(child)
    story.register(child)
    story.complain(child, 'seed', 'unreachable')
  }
  const other = `sha256:${'cd'.repeat(32)}` as const
  story.register('h1', { of: other })
  assert.equal(story.grantsTo('seed').filter(grant => grant.digest === other).length, 0)
  assert.equal(story.grantsTo('h1').filter(grant => grant.digest === other).length, 1)
})
