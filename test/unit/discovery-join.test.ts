// When the DHT is joined: soon where nobody pulls or a pull is stuck, later where pulls get on with the parents they have.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Discovery } from '../../dfdaemon/discovery/discovery.ts'
import type { KadComponents } from '../../dfdaemon/discovery/kad-guard.ts'
import { TurnedClock } from '../doubles/turned-clock.ts'
import { silentLogger } from '../harness/piece-peers.ts'

const digest = `sha256:${'5a'.repeat(32)}` as const

/** One that knows nobody, so that joining sends nothing; random numbers are the largest, so that delays are. */
async function makeDiscovery(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), 'pantala-discovery-'))
  const clock = new TurnedClock()
  const discovery = await Discovery.load(
    {
      libp2p: {} as KadComponents,
      clock,
      logger: silentLogger,
      random: () => 1,
      admits: async () => true,
      greet: async () => {},
      hot: () => [],
    },
    { self: 'self', file: join(directory, 'welcome') },
  )
  t.after(async () => {
    await discovery.stop().catch(() => {})
    await rm(directory, { recursive: true, force: true })
  })
  const find = (isStuck: boolean) => discovery.find(digest, () => {}, AbortSignal.timeout(1000), isStuck)
  return { discovery, clock, find }
}

test('a host that pulls nothing joins after four seconds at most, since others look for what it holds', async t => {
  const { discovery, clock } = await makeDiscovery(t)
  discovery.onAway()
  clock.advance(3999)
  assert.equal(discovery.isJoined, false)
  clock.advance(1)
  assert.equal(discovery.isJoined, true)
})

test('a host whose pulls get on joins later, whoever hears first that the supernode is away', async t => {
  for (const first of ['session', 'discovery']) {
    const { discovery, clock, find } = await makeDiscovery(t)
    if (first === 'session') find(false)
    discovery.onAway()
    if (first === 'discovery') find(false)
    clock.advance(19_999)
    assert.equal(discovery.isJoined, false, first)
    clock.advance(1)
    assert.equal(discovery.isJoined, true, first)
  }
})

test('one pull that is stuck is reason enough to join soon, counted from when the supernode went', async t => {
  const { discovery, clock, find } = await makeDiscovery(t)
  discovery.onAway()
  find(false)
  clock.advance(1000)
  find(true)
  find(false)
  clock.advance(2999)
  assert.equal(discovery.isJoined, false)
  clock.advance(1)
  assert.equal(discovery.isJoined, true)
})

test('one that is stuck late joins at once', async t => {
  const { discovery, clock, find } = await makeDiscovery(t)
  discovery.onAway()
  find(false)
  clock.advance(10_000)
  find(true)
  clock.advance(0)
  assert.equal(discovery.isJoined, true)
})
