// Where other hosts are: several addresses of which some answer, hosts that move without a word, both families of IP.
import assert from 'node:assert/strict'
import { networkInterfaces } from 'node:os'
import { type TestContext, test } from 'node:test'
import { multiaddr } from '@multiformats/multiaddr'
import { createNode } from '../../shared/transport/node.ts'
import { NotingListener } from '../contracts/piece-fetcher-suite.ts'
import { openBlackHole } from '../harness/black-hole.ts'
import { type ServingParent, startChild, startParent } from '../harness/piece-peers.ts'
import { makeSoundBlob, storePieces } from '../harness/sample-blob.ts'
import { startScheduleEdge, startTestHost } from '../harness/schedule-net.ts'
import { TcpRelay } from '../harness/tcp-relay.ts'
import { until } from '../harness/until.ts'

const MiB = 1024 * 1024
const blob = makeSoundBlob('addresses', 4 * MiB)
const soon = () => AbortSignal.timeout(10_000)
const hasIpv6 = Object.values(networkInterfaces()).some(ones => ones?.some(one => one.address === '::1'))
const skip = hasIpv6 || process.env['CI'] !== undefined ? false : 'this machine has no IPv6 loopback'

function portOf(parent: ServingParent): number {
  return Number(/\/tcp\/(\d+)/.exec(parent.candidate.addresses[0]!)![1])
}

const at = (parent: ServingParent, ...addresses: readonly string[]) => ({ ...parent.candidate, addresses })

async function startHolder(t: TestContext, listen?: readonly string[]): Promise<ServingParent> {
  const makeNode =
    listen === undefined ? createNode : (init: object) => createNode({ ...init, listen } as never)
  const parent = await startParent(t, { makeNode })
  await storePieces(parent.store, blob)
  return parent
}

async function fetchFirst(
  t: TestContext,
  parent: ServingParent['candidate'],
  fetcher?: Awaited<ReturnType<typeof startChild>>['fetcher'],
): Promise<number> {
  const from = fetcher ?? (await startChild(t)).fetcher
  const startedAt = performance.now()
  const link = await from.connect(parent, blob.digest, blob.geometry, new NotingListener(), soon())
  const into = Buffer.alloc(blob.geometry.pieceSize)
  await link.fetch(0, into, soon())
  assert.deepEqual(into, blob.bytes.subarray(0, into.byteLength))
  link.close()
  return performance.now() - startedAt
}

test('a host whose first address answers nobody is reached at its second, in less than a second', async t => {
  const parent = await startHolder(t)
  const hole = await openBlackHole(t)
  const tookMs = await fetchFirst(t, at(parent, `/ip4/127.0.0.1/tcp/${hole}`, parent.candidate.addresses[0]!))
  assert.ok(tookMs < 1000, `it took ${tookMs} ms`)
})

test('a host whose first address takes connections and never shakes hands is reached at its second, within a second', async t => {
  const parent = await startHolder(t)
  const relay = await TcpRelay.start(t, portOf(parent))
  relay.freeze()
  const [own] = parent.candidate.addresses
  const tookMs = await fetchFirst(t, at(parent, relay.inFrontOf(own!), own!))
  assert.ok(tookMs < 1000, `it took ${tookMs} ms`)
})

test('the same beside an address that answers nobody, and where the mute one is all that answers for a while', async t => {
  const parent = await startHolder(t)
  const relay = await TcpRelay.start(t, portOf(parent))
  relay.freeze()
  const hole = `/ip4/127.0.0.1/tcp/${await openBlackHole(t)}`
  const [own] = parent.candidate.addresses
  const tookMs = await fetchFirst(t, at(parent, hole, relay.inFrontOf(own!), own!))
  assert.ok(tookMs < 1500, `it took ${tookMs} ms`)
  const thawing = fetchFirst(t, at(parent, hole, relay.inFrontOf(own!)))
  setTimeout(() => relay.thaw(), 900)
  await thawing
})

test('at the first address another host answers, as on bridges that all machines have: the right one is found', async t => {
  const [parent, other] = [await startHolder(t), await startHolder(t)]
  const [right, wrong] = [parent, other].map(each => `/ip4/127.0.0.1/tcp/${portOf(each)}`)
  await fetchFirst(t, at(parent, wrong!, right!))
})

test('a name is dialled at whichever of its addresses answers', async t => {
  const parent = await startHolder(t)
  await fetchFirst(t, at(parent, `/dns/localhost/tcp/${portOf(parent)}`))
})

test('a host on IPv6 alone, and one on both', { skip }, async t => {
  const six = await startHolder(t, ['/ip6/::1/tcp/0'])
  await fetchFirst(t, six.candidate)
  const both = await startHolder(t, ['/ip6/::1/tcp/0', '/ip4/127.0.0.1/tcp/0'])
  assert.equal(both.candidate.addresses.length, 2)
  for (const address of both.candidate.addresses) await fetchFirst(t, at(both, address))
})

test('a host that moved without a word is reached at its new address, though the old connection looks open', async t => {
  const parent = await startHolder(t)
  const relay = await TcpRelay.start(t, portOf(parent))
  const { node, fetcher } = await startChild(t)
  await node.dial(multiaddr(relay.inFrontOf(parent.candidate.addresses[0]!)))
  relay.freeze()
  const tookMs = await fetchFirst(t, parent.candidate, fetcher)
  assert.ok(tookMs < 2000, `it took ${tookMs} ms`)
})

test('a host that was not reached is tried at once where it is now', async t => {
  const parent = await startHolder(t)
  const { fetcher } = await startChild(t, { retryMs: 60_000 })
  const gone = at(parent, '/ip4/127.0.0.1/tcp/1')
  await assert.rejects(fetchFirst(t, gone, fetcher))
  await assert.rejects(fetchFirst(t, gone, fetcher), /not tried/)
  await fetchFirst(t, parent.candidate, fetcher)
})

test('a supernode that moved without a word is found at its other address', async t => {
  const edge = await startScheduleEdge({ expireMs: 600 })
  const relay = await TcpRelay.start(t, Number(/\/tcp\/(\d+)/.exec(edge.address)![1]))
  const host = await startTestHost({ supernodes: [relay.inFrontOf(edge.address), edge.address] })
  t.after(async () => {
    await host.stop()
    await edge.stop()
  })
  await host.client.firstAttempt
  relay.freeze()
  await until(() => edge.state.hosts.size === 0)
  await until(() => edge.state.hosts.size === 1 && host.client.connected)
})

test('a supernode whose first address takes connections and never shakes hands is reached at its second, within a second', async t => {
  const edge = await startScheduleEdge()
  const relay = await TcpRelay.start(t, Number(/\/tcp\/(\d+)/.exec(edge.address)![1]))
  relay.freeze()
  const startedAt = performance.now()
  const host = await startTestHost({ supernodes: [relay.inFrontOf(edge.address), edge.address] })
  t.after(async () => {
    await host.stop()
    await edge.stop()
  })
  await host.client.firstAttempt
  const tookMs = performance.now() - startedAt
  assert.ok(host.client.connected)
  assert.ok(tookMs < 1200, `it took ${tookMs} ms, the start of a node with it`)
})

test('a host that gets another address tells the supernode within seconds', async t => {
  const edge = await startScheduleEdge()
  let addresses = ['/ip4/192.0.2.1/tcp/65002', '/ip4/198.51.100.1/tcp/65002']
  const host = await startTestHost({ supernodes: [edge.address], addresses: () => addresses })
  t.after(async () => {
    await host.stop()
    await edge.stop()
  })
  const told = () => edge.state.hosts.get(host.id)?.candidate.addresses
  await until(() => told() !== undefined)
  assert.deepEqual(told(), addresses)
  const joinedAt = edge.state.hosts.get(host.id)!.joinedAt
  addresses = ['/ip4/192.0.2.7/tcp/65002', ...addresses.slice(1)]
  await until(() => told()?.includes('/ip4/192.0.2.7/tcp/65002') === true)
  assert.ok(edge.state.hosts.get(host.id)!.joinedAt > joinedAt)
})
