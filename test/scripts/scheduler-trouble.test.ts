// Stories of pulls where hosts die, lie or fall silent.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GRANT_STALL_MS, LOST_GRACE_MS } from '../../supernode/limits.ts'
import { anySource, ClusterScript, digest, MiB } from './cluster-script.ts'

function coldPull(hosts: readonly string[], pieces = 8): ClusterScript {
  const story = new ClusterScript({ pieces })
  story.join('seed', { seed: true })
  for (const host of hosts) {
    story.join(host)
    story.register(host)
  }
  return story
}

test('the seed dies: what it had not fetched goes to a few hosts at once, in disjoint runs of neighbours', () => {
  const story = coldPull(['h1', 'h2'])
  story.cutPieces('seed', 0, 1)
  story.takePieces('h1', 'seed', 0, 1)
  story.die('seed')
  assert.deepEqual(story.granted, { h1: [2, 3, 4], h2: [5, 6, 7] })
  story.checkInvariants()
})

test('pieces that only the dead seed held are granted after a short grace', () => {
  const story = coldPull(['h1', 'h2'])
  story.cutPieces('seed', 0, 1)
  story.die('seed')
  assert.deepEqual(Object.values(story.granted).flat().sort(), [2, 3, 4, 5, 6, 7])
  story.pass(LOST_GRACE_MS)
  assert.deepEqual(Object.values(story.granted).flat().sort(), [0, 1, 2, 3, 4, 5, 6, 7])
})

test('a seed that is straight back keeps what it held', () => {
  const story = coldPull(['h1'])
  story.cutPieces('seed', 0, 1, 2, 3, 4, 5, 6, 7)
  story.die('seed')
  story.now += 200
  story.join('seed', { seed: true })
  story.say('seed', { type: 'announce', holdings: [{ digest, size: 8 * MiB, pieceSize: MiB }], last: true })
  story.pass(2000)
  assert.deepEqual(story.granted, {})
  assert.equal(story.parentsOf('h1').filter(parent => parent === 'seed').length, 2, 'offered again')
})

test('h2 dies while h3 reads from it: h3 gets another parent', () => {
  const story = coldPull(['h1', 'h2', 'h3'])
  story.cutPieces('seed', 0)
  story.takePieces('h2', 'seed', 0)
  story.scheduler.flush(story.now)
  assert.ok(story.parentsOf('h3').includes('h2'))
  story.takePieces('h1', 'seed', 0)
  story.die('h2')
  story.scheduler.flush(story.now)
  assert.ok(story.parentsOf('h3').includes('h1'))
  story.checkInvariants()
})

test('a silent host expires, its children are told to leave it', () => {
  const story = coldPull(['h1', 'h2'])
  story.cutPieces('seed', 0)
  story.takePieces('h1', 'seed', 0)
  story.pass(1000)
  assert.ok(story.parentsOf('h2').includes('h1'))
  story.pass(15_500, ['h1'])
  assert.deepEqual(story.cuts, ['h1'])
  assert.deepEqual(story.heard('h2', 'parents').at(-1)!.drop, ['h1'])
})

test('a parent that a child complained of is not offered to it again, but to others', () => {
  const story = coldPull(['h1', 'h2'])
  story.cutPieces('seed', 0, 1, 2, 3, 4, 5, 6, 7)
  story.complain('h1', 'seed', 'silent')
  story.pass(2000)
  assert.equal(story.parentsOf('h1').filter(parent => parent === 'seed').length, 1)
  story.join('h9')
  assert.deepEqual(
    story.register('h9')!.parents.map(parent => parent.host),
    ['seed'],
  )
})

test('a child whose parents were silent three times fetches itself, but not of one that gave it something since', () => {
  for (const gives of [false, true]) {
    const story = coldPull(['h1'])
    story.cutPieces('seed', 0, 1, 2, 3, 4, 5, 6, 7)
    for (let times = 0; times < 3; times++) {
      story.complain('h1', 'seed', 'silent')
      if (gives && times === 1) story.takePieces('h1', 'seed', 0)
      story.pass(11_000)
    }
    assert.equal(story.granted['h1'] === undefined, gives)
  }
})

test('a parent that stalled is asked for a sign of life, and stays the child’s parent', () => {
  const story = coldPull(['h1'])
  story.cutPieces('seed', 0, 1)
  story.complain('h1', 'seed', 'stalled')
  assert.equal(story.heard('seed', 'probe').length, 1)
  assert.equal(story.task.peers.get('h1')!.parents.has('seed'), true)
})

test('three distinct hosts that got corrupt pieces put a parent out; one alone cannot', () => {
  const story = coldPull(['bad', 'h1', 'h2', 'h3', 'h4'])
  story.cutPieces('seed', 0, 1)
  story.takePieces('bad', 'seed', 0)
  story.scheduler.flush(story.now)
  for (let times = 0; times < 5; times++) story.complain('h1', 'bad', 'corrupt')
  assert.equal(story.state.corruptReports.isQuarantined('bad', story.now), false)
  story.complain('h2', 'bad', 'corrupt')
  story.complain('h3', 'bad', 'corrupt')
  assert.equal(story.state.corruptReports.isQuarantined('bad', story.now), true)
  assert.equal(story.task.copiesOf(0), 1, 'what it holds no longer counts')
  story.join('late')
  assert.equal(
    story.register('late')!.parents.some(parent => parent.host === 'bad'),
    false,
  )
  story.checkInvariants()
})

test('nobody may accuse a host that it was never given', () => {
  const story = coldPull(['h1', 'h2', 'h3', 'h4'])
  for (const host of ['h1', 'h2', 'h3', 'h4']) story.complain(host, 'stranger', 'corrupt')
  assert.equal(story.state.corruptReports.count('stranger', story.now), 0)
})

test('a child that finds the only holder corrupt fetches those pieces itself', () => {
  const story = coldPull(['h1'])
  story.cutPieces('seed', 0, 1, 2, 3, 4, 5, 6, 7)
  story.complain('h1', 'seed', 'corrupt')
  // The budget bears 12 of 8 pieces; 8 were fetched.
  assert.deepEqual(story.granted['h1'], [0, 1, 2, 3])
  story.checkInvariants()
})

test('a grantee without progress loses its grant', () => {
  const story = coldPull(['h1'])
  story.cutPieces('seed', 0)
  story.pass(GRANT_STALL_MS + 500)
  assert.deepEqual(story.granted, { h1: [1, 2, 3, 4, 5, 6, 7] })
})

test('a grantee that says nothing, not even when asked, is lost and its pieces go to others within two seconds', () => {
  const story = coldPull(['h1', 'h2'])
  story.cutPieces('seed', 0, 1)
  story.takePieces('h1', 'seed', 0)
  story.pass(1000, ['seed'])
  assert.equal(story.heard('seed', 'probe').length, 1)
  assert.equal(story.cuts.length, 0)
  story.pass(1250, ['seed'])
  assert.deepEqual(story.cuts, ['seed'])
  // Also what only it held.
  assert.deepEqual(Object.values(story.granted).flat().sort(), [1, 2, 3, 4, 5, 6, 7])
  story.checkInvariants()
})

test('a slow grantee is asked, answers, and keeps its grant', () => {
  const story = coldPull(['h1'])
  story.cutPieces('seed', 0)
  for (let seconds = 0; seconds < 15; seconds++) {
    story.pass(1000, ['seed'])
    story.now += 1
    story.say('seed', { type: 'heartbeat', slotsBusy: 0, storeBytes: 0 })
  }
  assert.deepEqual(Object.keys(story.granted), ['seed'])
  assert.ok(story.heard('seed', 'probe').length > 5)
  assert.equal(story.cuts.length, 0)
})

test('a parent that a child found silent is asked, too: frozen, it is lost for all', () => {
  const story = coldPull(['h1', 'h2'], 2)
  story.cutPieces('seed', 0, 1)
  story.scheduler.flush(story.now)
  story.now += 1500
  story.complain('h1', 'seed', 'silent')
  story.pass(1750, ['seed'])
  assert.deepEqual(story.cuts, ['seed'])
  assert.deepEqual(Object.values(story.granted).flat().sort(), [0, 1])
})

test('a supernode that was held up itself gives those it asked their time', () => {
  const story = coldPull(['h1'])
  story.cutPieces('seed', 0)
  story.pass(750, ['seed'])
  assert.equal(story.heard('seed', 'probe').length, 1)
  story.now += 5000
  story.scheduler.sweep(story.now)
  assert.equal(story.cuts.length, 0)
  story.pass(1500, ['seed'])
  assert.deepEqual(story.cuts, ['seed'])
})

test('a source that is away: each host tries, then the task fails', () => {
  const story = coldPull(['h1'])
  story.failGrant('seed', 'SOURCE_AWAY')
  assert.deepEqual(Object.keys(story.granted), ['h1'])
  story.failGrant('h1', 'SOURCE_AWAY')
  story.failGrant('seed', 'SOURCE_AWAY')
  story.failGrant('h1', 'SOURCE_AWAY')
  const [failed] = story.heard('h1', 'task-failed')
  assert.equal(failed!.code, 'SOURCE_AWAY')
  assert.equal(failed!.detail, 'told so')
  assert.equal(story.task.wanting.size, 0)
})

test('refused credentials are not used again, those of another host are', () => {
  const story = new ClusterScript()
  story.join('seed', { seed: true })
  story.join('h1')
  story.join('h2')
  story.register('h1', { source: { ...anySource, authorization: 'Bearer bad' } })
  story.register('h2', { source: { ...anySource, authorization: 'Bearer good' } })
  story.failGrant('seed', 'SOURCE_UNAUTHORIZED')
  assert.equal(story.grantsTo('seed').at(-1)!.source.authorization, 'Bearer good')
  story.failGrant('seed', 'SOURCE_UNAUTHORIZED')
  assert.equal(story.heard('h1', 'task-failed')[0]!.code, 'SOURCE_UNAUTHORIZED')
})

test('a full store is not asked twice', () => {
  const story = coldPull(['h1'])
  story.failGrant('seed', 'STORE_FULL')
  story.failGrant('h1', 'SOURCE_AWAY')
  assert.deepEqual(Object.keys(story.granted), ['h1'])
  assert.equal(story.grantsTo('seed').length, 1)
})

test('the budget caps what is fetched, then the task fails', () => {
  const story = coldPull(['h1'])
  story.cutPieces('seed', 0, 1, 2, 3, 4, 5, 6, 7)
  story.die('seed')
  story.pass(1000)
  // 8 pieces were fetched and lost; 1.6 times 8 leaves room for 4.
  assert.deepEqual(story.granted, { h1: [0, 1, 2, 3] })
  story.cutPieces('h1', 0, 1, 2, 3)
  story.pass(1000)
  assert.equal(story.heard('h1', 'task-failed')[0]!.code, 'SOURCE_BUDGET_SPENT')
  // The next who wants it begins a new count.
  story.register('h1', { have: [0, 1, 2, 3] })
  assert.deepEqual(story.granted, { h1: [4, 5, 6, 7] })
})

test('a hash that contradicts the recorded one does not make a holder', () => {
  const story = coldPull(['h1', 'liar'])
  story.cutPieces('seed', 0)
  story.say('liar', {
    type: 'report',
    digest,
    pieces: [0, 1],
    hashes: new Uint8Array(64).fill(99),
    fromSourceBytes: 2 * MiB,
    parents: [],
    slotsBusy: 0,
  })
  assert.equal(story.task.copiesOf(0), 1)
  assert.equal(story.task.hashOf(0)![0], 1)
  assert.equal(story.scheduler.counts.hashConflicts, 1)
})

test('a wrong digest resets the hashes when two say so, and who gave them is not believed again', () => {
  const story = coldPull(['h1', 'h2'], 2)
  story.cutPieces('seed', 0, 1)
  story.say('h1', { type: 'digest-mismatch', digest })
  assert.equal(story.task.hashed.count, 2, 'one alone is not enough')
  story.say('h2', { type: 'digest-mismatch', digest })
  assert.equal(story.task.hashed.count, 0)
  assert.equal(story.heard('h1', 'task-reset').length, 1)
  assert.deepEqual(Object.keys(story.granted), ['h1', 'h2'], 'the seed gave wrong hashes')
  story.checkInvariants()
})

/** Whoever was granted something cuts it, finds the whole to be wrong, and begins anew. */
function cutInVain(story: ClusterScript): void {
  const grants = Object.entries(story.granted)
  for (const [host, pieces] of grants) story.cutPieces(host, ...pieces)
  const [[giver]] = grants as [[string, number[]]]
  story.say(giver, { type: 'digest-mismatch', digest })
  if (giver !== 'seed') story.register(giver)
  story.checkInvariants()
}

test('the fetcher’s own word is enough for a reset, but not without end: then the task fails', () => {
  const story = new ClusterScript({ pieces: 2 })
  const hosts = ['h1', 'h2', 'h3', 'h4', 'h5', 'h6']
  for (const host of hosts) {
    story.join(host)
    story.register(host)
  }
  for (let round = 0; round < 2; round++) cutInVain(story)
  assert.equal(story.heard('h6', 'task-reset').length, 2)
  assert.equal(story.heard('h6', 'task-failed').length, 0)
  for (const [host, pieces] of Object.entries(story.granted)) story.cutPieces(host, ...pieces)
  story.say([...story.task.hashedBy][0]!, { type: 'digest-mismatch', digest })
  for (const host of hosts) assert.equal(story.heard(host, 'task-failed')[0]!.code, 'SOURCE_DIGEST_MISMATCH')
  assert.equal(story.task.hashed.count, 0, 'nothing wrong is remembered')
  // The source is well again: the next who wants it is not held to what was.
  story.register('h6')
  assert.equal(Object.keys(story.granted).length, 1)
  story.checkInvariants()
})

test('a source that is wrong once costs nobody the trust of the task when there is no other', () => {
  const story = coldPull(['h1'], 2)
  cutInVain(story)
  assert.deepEqual(story.granted, { h1: [0, 1] }, 'not the seed, whose bytes were wrong')
  cutInVain(story)
  assert.deepEqual(story.granted, { seed: [0, 1] }, 'both were wrong: any may try')
  story.cutPieces('seed', 0, 1)
  assert.equal(story.task.hashed.count, 2, 'and is believed')
  assert.equal(story.heard('h1', 'task-failed').length, 0)
  story.checkInvariants()
})

test('a mismatch told of what was withdrawn already says nothing of what came since', () => {
  const story = coldPull(['h1', 'h2', 'h3', 'h4'], 2)
  story.cutPieces('seed', 0, 1)
  for (const host of ['h1', 'h2', 'h3', 'h4']) story.takePieces(host, 'seed', 0, 1)
  for (const host of ['h1', 'h2']) story.say(host, { type: 'digest-mismatch', digest })
  const [fetcher] = Object.keys(story.granted) as [string]
  story.cutPieces(fetcher, ...story.granted[fetcher]!)
  const known = story.task.hashed.count
  assert.ok(known > 0)
  for (const host of ['h3', 'h4']) story.say(host, { type: 'digest-mismatch', digest })
  assert.equal(story.task.hashed.count, known)
  assert.equal(story.scheduler.counts.resets, 1)
})

test('who found the whole wrong has nothing any more, and is no parent for it', () => {
  const story = coldPull(['h1', 'h2'], 2)
  story.cutPieces('seed', 0, 1)
  story.takePieces('h1', 'seed', 0, 1)
  story.say('h1', { type: 'digest-mismatch', digest })
  assert.equal(story.task.copiesOf(0), 1)
  story.checkInvariants()
})

test('a finished host that evicts is no holder any more', () => {
  const story = coldPull(['h1', 'h2'], 2)
  story.cutPieces('seed', 0, 1)
  story.takePieces('h1', 'seed', 0, 1)
  story.finish('h1', 'done')
  story.say('h1', { type: 'evicted', digests: [digest] })
  assert.equal(story.task.full.size, 0)
  story.checkInvariants()
})

test('replaying the events makes the same state', async () => {
  const { ClusterState } = await import('../../supernode/state/cluster-state.ts')
  const story = coldPull(['h1', 'h2', 'h3'])
  story.cutPieces('seed', 0, 1, 2)
  story.takePieces('h1', 'seed', 0, 1)
  story.complain('h2', 'seed', 'silent')
  story.pass(1000)
  story.die('seed')
  story.pass(1000)
  const replayed = new ClusterState()
  for (const event of story.events) replayed.apply(event)
  const view = (state: InstanceType<typeof ClusterState>) => ({
    hosts: [...state.hosts.values()].map(host => [host.id, host.children, host.seenAt > 0]),
    tasks: [...state.tasks.values()].map(task => [
      task.digest,
      task.hashed.bytes,
      task.copies,
      task.sourceBytes,
      [...task.grants.values()].map(grant => [grant.host, grant.pieces.bytes]),
      [...task.peers.values()].map(peer => [peer.host.id, peer.wants, [...peer.parents]]),
    ]),
  })
  assert.deepEqual(view(replayed), view(story.state))
})
