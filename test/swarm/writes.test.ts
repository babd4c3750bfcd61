// A push through one host of a cluster: seen there at once, everywhere else when what is known of the tag is no longer fresh.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { digestOf } from '../../shared/digest.ts'
import { DistributionClient } from '../contracts/distribution-client.ts'
import { MemoryRegistry } from '../harness/memory-registry.ts'
import { startPullThrough } from '../harness/pull-through.ts'
import { eventually } from '../harness/swarm.ts'

const TAG_FRESH_MS = 1_000

test('a tag pushed or deleted through one host', async t => {
  const registry = new MemoryRegistry()
  await registry.start()
  const cluster = await startPullThrough({
    registry: registry.name,
    supernode: true,
    hosts: 2,
    settings: { 'manifest.tagFreshMs': `${TAG_FRESH_MS}ms` },
  })
  t.after(async () => {
    await cluster.stop()
    await registry.stop()
  })
  const [pusher, other] = cluster.urls.map(url => new DistributionClient({ url, stop: async () => {} }))
  const repository = 'team/app'
  const digestAt = async (client: DistributionClient) =>
    (await client.getManifest(repository, 'v1')).headers.get('docker-content-digest')

  const first = await pusher!.pushImage(repository, 'v1')
  assert.equal(await digestAt(other!), first.digest)
  const second = await pusher!.pushImage(repository, 'v1')
  const pushedAt = performance.now()
  assert.equal(await digestAt(pusher!), second.digest)
  await eventually(
    'the other host sees the push',
    async () => (await digestAt(other!)) === second.digest,
    5_000,
  )
  assert.ok(performance.now() - pushedAt < TAG_FRESH_MS * 3)
  const { body } = await other!.getBlob(repository, digestOf(second.layer))
  assert.deepEqual(body, second.layer)

  assert.equal((await pusher!.send('DELETE', pusher!.path(repository, 'manifests/v1'))).status, 202)
  assert.equal((await pusher!.getManifest(repository, 'v1')).status, 404)
  await eventually(
    'the other host sees the deletion',
    async () => (await other!.getManifest(repository, 'v1')).status === 404,
    5_000,
  )
})

test('two hosts push the same blob at once, and every host pulls it', async t => {
  const registry = new MemoryRegistry()
  await registry.start()
  const cluster = await startPullThrough({ registry: registry.name, supernode: true, hosts: 2 })
  t.after(async () => {
    await cluster.stop()
    await registry.stop()
  })
  const clients = cluster.urls.map(url => new DistributionClient({ url, stop: async () => {} }))
  const bytes = Buffer.alloc(3_000_000, 'pushed twice')
  for (const client of clients) assert.equal((await client.getBlob('team/app', digestOf(bytes))).status, 404)
  await Promise.all(clients.map(client => client.pushBlob('team/app', bytes)))
  for (const client of clients)
    assert.deepEqual((await client.getBlob('team/app', digestOf(bytes))).body, bytes)
})
