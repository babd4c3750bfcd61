// Stories of pulls where nothing goes wrong.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClusterScript, digest, hashesOf, MiB, piecesOf } from './cluster-script.ts'

test('the seed fetches a new task once, however many hosts want it', () => {
  const story = new ClusterScript()
  story.join('seed', { seed: true })
  for (const host of ['h1', 'h2', 'h3']) {
    story.join(host)
    assert.deepEqual(
      story.register(host)!.parents.map(parent => parent.host),
      ['seed'],
    )
  }
  assert.deepEqual(
    story.grantsTo('seed').map(grant => piecesOf(grant.runs)),
    [[0, 1, 2, 3, 4, 5, 6, 7]],
  )
  assert.equal(story.said.filter(({ message }) => message.type === 'grant').length, 1)
  story.checkInvariants()
})

test('hashes go to all who want the task, in one message for each tick', () => {
  const story = new ClusterScript()
  story.join('seed', { seed: true })
  story.join('h1')
  story.join('h2')
  story.register('h1')
  story.register('h2')
  story.cutPieces('seed', 0)
  story.cutPieces('seed', 1, 2)
  story.scheduler.flush(story.now)
  for (const host of ['h1', 'h2']) {
    const [hashes, ...more] = story.heard(host, 'hashes')
    assert.deepEqual(hashes!.pieces, [0, 1, 2])
    assert.deepEqual(hashes!.hashes, new Uint8Array(hashesOf([0, 1, 2])))
    assert.deepEqual(more, [])
  }
})

test('a host that gets its first piece becomes a parent of those with few', () => {
  const story = new ClusterScript()
  story.join('seed', { seed: true })
  story.join('h1')
  story.join('h2')
  story.register('h1')
  story.register('h2')
  story.cutPieces('seed', 0)
  story.takePieces('h1', 'seed', 0)
  story.scheduler.flush(story.now)
  assert.deepEqual(story.parentsOf('h2'), ['seed', 'h1'])
  assert.deepEqual(story.parentsOf('h1'), ['seed'], 'h2 has nothing yet')
})

test('hosts that traded their first pieces become each other’s parents once each has something the other lacks', () => {
  const story = new ClusterScript()
  story.join('seed', { seed: true })
  story.join('h1')
  story.join('h2')
  story.register('h1')
  story.register('h2')
  story.cutPieces('seed', 0, 1)
  story.takePieces('h1', 'seed', 0)
  story.scheduler.flush(story.now)
  story.takePieces('h2', 'h1', 0)
  story.scheduler.flush(story.now)
  assert.deepEqual(story.parentsOf('h1'), ['seed'], 'h2 has only what h1 has')
  story.takePieces('h2', 'seed', 1)
  story.scheduler.flush(story.now)
  story.scheduler.sweep(story.now)
  assert.deepEqual(story.parentsOf('h1'), ['seed', 'h2'])
})

test('children beyond the seed’s slots wait for others to have pieces', () => {
  const story = new ClusterScript()
  story.join('seed', { seed: true, slots: 1 })
  for (const host of ['h1', 'h2', 'h3', 'h4', 'h5', 'h6']) {
    story.join(host, { slots: 2 })
    story.register(host)
  }
  assert.deepEqual(story.parentsOf('h5'), [])
  story.cutPieces('seed', 0, 1)
  story.takePieces('h1', 'seed', 0)
  story.scheduler.flush(story.now)
  assert.deepEqual(story.parentsOf('h5'), ['h1'])
  assert.deepEqual(story.parentsOf('h6'), ['h1'])
})

test('parents of the same zone are given, and no others where there are some', () => {
  const story = new ClusterScript()
  for (const [host, zone] of [
    ['far', 'b'],
    ['near', 'a'],
  ] as const) {
    story.join(host, { zone })
    story.register(host)
    story.cutPieces(host, 0, 1, 2, 3, 4, 5, 6, 7)
    story.finish(host, 'done')
  }
  story.join('child', { zone: 'a' })
  assert.deepEqual(
    story.register('child')!.parents.map(parent => parent.host),
    ['near'],
  )
})

test('without a seed the first to come fetches, and others take from it', () => {
  const story = new ClusterScript()
  story.join('h1')
  story.join('h2')
  story.register('h1')
  assert.deepEqual(story.granted, { h1: [0, 1, 2, 3, 4, 5, 6, 7] })
  assert.deepEqual(
    story.register('h2')!.parents.map(parent => parent.host),
    ['h1'],
  )
  assert.deepEqual(story.grantsTo('h2'), [])
})

test('who finishes stays a parent; a late child gets all hashes with its answer', () => {
  const story = new ClusterScript({ pieces: 3 })
  story.join('h1')
  story.register('h1')
  story.cutPieces('h1', 0, 1, 2)
  story.finish('h1', 'done')
  assert.equal(story.task.full.size, 1)
  assert.equal(story.task.peers.size, 0, 'full holders have no bit field')
  story.join('h2')
  const answer = story.register('h2')!
  assert.deepEqual(answer.hashes, new Uint8Array(hashesOf([0, 1, 2])))
  assert.deepEqual(
    answer.parents.map(parent => parent.host),
    ['h1'],
  )
  assert.equal(story.said.filter(({ message }) => message.type === 'grant').length, 1)
})

test('a child whose parents all have no more than itself is given one that has', () => {
  const story = new ClusterScript({ pieces: 4 })
  story.join('seed', { seed: true, slots: 1 })
  for (const host of ['a', 'b', 'c', 'd', 'e']) {
    story.join(host, { slots: 16 })
    story.register(host)
  }
  story.cutPieces('seed', 0, 1, 2, 3)
  for (const host of ['a', 'b', 'c', 'd']) story.takePieces(host, 'seed', 0)
  story.scheduler.flush(story.now)
  story.takePieces('e', 'a', 0)
  // e has the same piece as all of its parents; only the seed, whose slots are taken, has more.
  assert.equal(story.parentsOf('e').includes('seed'), false)
  story.pass(3000)
  assert.equal(story.parentsOf('e').includes('seed'), true)
})

test('the same digest with another size is refused', () => {
  const story = new ClusterScript()
  story.join('h1')
  story.join('h2')
  story.register('h1')
  assert.equal(story.register('h2', { size: 5 * MiB }), undefined)
  assert.equal(story.heard('h2', 'refused')[0]!.code, 'SUPERNODE_REFUSED')
})

test('an empty blob has nothing to grant', () => {
  const story = new ClusterScript({ pieces: 0 })
  story.join('h1')
  const answer = story.register('h1')!
  assert.equal(answer.hashed.byteLength, 0)
  assert.deepEqual(story.grantsTo('h1'), [])
  assert.equal(story.state.tasks.get(digest)!.pieces, 0)
  story.finish('h1', 'done')
  story.checkInvariants()
})

test('of each zone one host crosses to the others, the rest take from it', () => {
  const story = setZones()
  story.cutPieces('seed', 0, 1)
  story.takePieces('b1', 'seed', 0)
  story.scheduler.flush(story.now)
  assert.deepEqual(story.parentsOf('b1'), ['seed'])
  assert.deepEqual(story.parentsOf('b2'), ['b1'])
  assert.deepEqual(story.parentsOf('b3'), ['b1'])
  // It gets no further, so another goes.
  for (const host of ['b2', 'b3']) story.takePieces(host, 'b1', 0)
  story.pass(6000)
  assert.ok(!story.parentsOf('b2').includes('seed') && !story.parentsOf('b3').includes('seed'))
  story.pass(4000)
  const crossing = ['b2', 'b3'].filter(host => story.parentsOf(host).includes('seed'))
  assert.equal(crossing.length, 1)
  // And it is called back, so that nothing crosses twice.
  assert.deepEqual(story.heard('b1', 'parents').at(-1)!.drop, ['seed'])
  assert.deepEqual(story.task.gateways.get('b')!.host.id, crossing[0])
  story.checkInvariants()
})

test('who has all of its own zone for parents is not sent to others for more, also when nobody crosses any more', () => {
  const story = setZones()
  story.cutPieces('seed', 0, 1, 2, 3, 4, 5, 6, 7)
  story.takePieces('b1', 'seed', 0, 1, 2, 3, 4, 5, 6, 7)
  story.finish('b1', 'done')
  story.pass(3000)
  assert.equal(story.task.gateways.has('b'), false)
  for (const host of ['b2', 'b3']) assert.ok(!story.parentsOf(host).includes('seed'), host)
})

test('one that crosses zones and is frozen is lost within four seconds, and another crosses', () => {
  const story = new ClusterScript()
  story.join('seed', { seed: true, zone: 'a' })
  for (const host of ['b1', 'b2']) {
    story.join(host, { zone: 'b' })
    story.register(host)
  }
  story.cutPieces('seed', 0, 1)
  story.takePieces('b1', 'seed', 0)
  story.scheduler.flush(story.now)
  story.pass(4000, ['b1'])
  assert.deepEqual(story.cuts, ['b1'])
  assert.ok(story.parentsOf('b2').includes('seed'))
})

test('no host that pulls takes all the children: the first holder has twenty at most', () => {
  const story = new ClusterScript()
  story.join('first', { slots: 100 })
  story.register('first')
  story.cutPieces('first', 0)
  for (let number = 0; number < 30; number++) {
    story.join(`h${number}`, { slots: 100 })
    story.register(`h${number}`)
  }
  const task = story.state.tasks.get(digest)!
  assert.equal(task.peers.get('first')!.children, 20)
  // Whoever is left over is not left waiting.
  story.pass(3000)
  for (let number = 0; number < 30; number++) assert.ok(story.parentsOf(`h${number}`).length > 0)
})

/** A seed in zone a, and three hosts of zone b that want the task. */
function setZones(): ClusterScript {
  const story = new ClusterScript()
  story.join('seed', { seed: true, zone: 'a' })
  for (const host of ['b1', 'b2', 'b3']) {
    story.join(host, { zone: 'b' })
    story.register(host)
  }
  return story
}
