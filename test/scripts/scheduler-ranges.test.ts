// Stories of readers of ranges: what they wait for goes before the rest, and where they want no rest, nothing else is fetched.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClusterScript, piecesOf } from './cluster-script.ts'

const run = (first: number, count = 1) => ({ first, count })

function grantsOf(story: ClusterScript, host: string): Array<[number[], boolean]> {
  return story.grantsTo(host).map(grant => [piecesOf(grant.runs), grant.urgent === true])
}

test('what a reader waits for is granted before the rest, in a grant of its own', () => {
  const story = new ClusterScript()
  story.join('seed', { seed: true })
  story.join('h1')
  story.register('h1', { urgent: [run(5, 2)] })
  assert.deepEqual(grantsOf(story, 'seed'), [
    [[5, 6], true],
    [[0, 1, 2, 3, 4, 7], false],
  ])
  story.checkInvariants()
})

test('where only a range is wanted, only its pieces are granted; each once, however many hosts want them', () => {
  const story = new ClusterScript()
  story.join('seed', { seed: true })
  for (const host of ['h1', 'h2', 'h3']) {
    story.join(host)
    story.register(host, { urgent: [run(3, 2)], partial: true })
  }
  story.pass(3000)
  assert.deepEqual(grantsOf(story, 'seed'), [[[3, 4], true]])
  story.want('h1', [run(4, 2)], true)
  assert.deepEqual(grantsOf(story, 'seed').slice(1), [[[5], true]])
  story.checkInvariants()
})

test('a piece granted earlier is hastened once when a reader comes for it', () => {
  const story = new ClusterScript()
  story.join('seed', { seed: true })
  story.join('h1')
  story.join('h2')
  story.register('h1')
  story.cutPieces('seed', 0)
  story.register('h2', { urgent: [run(0), run(6)], partial: true })
  story.want('h2', [run(6)], true)
  assert.deepEqual(grantsOf(story, 'seed'), [
    [[0, 1, 2, 3, 4, 5, 6, 7], false],
    [[6], true],
  ])
  assert.deepEqual(story.granted.seed, [1, 2, 3, 4, 5, 6, 7])
})

test('who fetches for the task hears once that ranges are read, also where the piece is there already', () => {
  const story = new ClusterScript()
  story.join('seed', { seed: true })
  story.join('h1')
  story.join('h2')
  story.register('h1')
  story.cutPieces('seed', 0, 1)
  story.register('h2', { urgent: [run(0)], partial: true })
  story.want('h2', [run(1)], true)
  assert.deepEqual(grantsOf(story, 'seed').slice(1), [[[], true]])
  story.checkInvariants()
})

test('a reader of a range that wants the rest after all gets it', () => {
  const story = new ClusterScript()
  story.join('seed', { seed: true })
  story.join('h1')
  story.register('h1', { urgent: [run(2)], partial: true })
  story.want('h1', [], false)
  assert.deepEqual(grantsOf(story, 'seed'), [
    [[2], true],
    [[0, 1, 3, 4, 5, 6, 7], false],
  ])
  story.want('h1', [run(4)], true)
  story.checkInvariants()
  assert.equal(story.task.isWantedWhole, true, 'wanting it whole stands')
})

test('a reader of a range is given a parent that has its pieces, not one that has others', () => {
  const story = new ClusterScript()
  story.join('seed', { seed: true })
  for (const host of ['h1', 'h2', 'h3']) story.join(host)
  story.register('h1', { urgent: [run(0)], partial: true })
  story.cutPieces('seed', 0)
  story.takePieces('h1', 'seed', 0)
  story.register('h2', { urgent: [run(5)], partial: true })
  story.cutPieces('seed', 5)
  story.takePieces('h2', 'seed', 5)
  story.finish('h1', 'left')
  story.finish('h2', 'left')
  const answer = story.register('h3', { urgent: [run(5)], partial: true })!
  assert.deepEqual(answer.parents.map(parent => parent.host).sort(), ['h2', 'seed'])
})

test('a host at the limit of its parents, none of which has the piece, leaves some for one that has', () => {
  const story = new ClusterScript({ pieces: 32 })
  const others = Array.from({ length: 8 }, (_, index) => `h${index}`)
  story.join('seed', { seed: true })
  for (const host of others) {
    story.join(host)
    story.register(host, { urgent: [run(0)], partial: true })
  }
  story.cutPieces('seed', 0)
  for (const host of others) story.takePieces(host, 'seed', 0)
  story.join('late')
  story.register('late')
  story.pass(500)
  story.join('one')
  story.register('one', { urgent: [run(31)], partial: true })
  story.cutPieces('seed', 31)
  story.takePieces('one', 'seed', 31)
  story.finish('one', 'left')
  story.die('seed')
  story.want('late', [run(31)], false)
  assert.ok(story.parentsOf('late').includes('one'))
})

test('when the grantee dies, what readers wait for is granted anew, and first', () => {
  const story = new ClusterScript()
  story.join('seed', { seed: true })
  story.join('h1')
  story.register('h1', { urgent: [run(6)] })
  story.join('seed2', { seed: true })
  story.die('seed')
  story.pass(1000)
  assert.deepEqual(grantsOf(story, 'seed2'), [
    [[6], true],
    [[0, 1, 2, 3, 4, 5, 7], false],
  ])
})

test('what nobody wants any more is forgotten with the last reader', () => {
  const story = new ClusterScript()
  story.join('h1')
  story.register('h1', { urgent: [run(6)], partial: true })
  story.finish('h1', 'left')
  assert.equal(story.task.urgent, undefined)
  story.register('h1', { urgent: [run(1)], partial: true })
  assert.deepEqual(story.granted.h1, [1])
})
