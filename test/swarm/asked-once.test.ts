// The promise of it all: however many hosts pull at once, the source is asked for each byte once.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findPlatformImage } from '../../cli/demo/oci-layout.ts'
import { SMALL_BLOB_BYTES_MAX } from '../../shared/protocol/messages.ts'
import { assertAskedOnce } from '../harness/asked-once.ts'
import { Swarm } from '../harness/swarm.ts'

const MiB = 1024 * 1024

test('8 hosts that start together ask the source for each byte once, manifests and small blobs included', async t => {
  const swarm = await Swarm.start(t, { hosts: 8 })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const pulls = await swarm.pullAll()
  for (const pulled of pulls) assert.equal(pulled.bytes, image.bytes)
  assertAskedOnce(swarm.source.log, image)
  const large = image.layers.filter(layer => layer.size > SMALL_BLOB_BYTES_MAX)
  const largeBytes = large.reduce((sum, layer) => sum + layer.size, 0)
  for (const host of swarm.hosts) {
    const { fromPeers, fromSource } = await swarm.counts(host)
    assert.equal(fromSource, 0, `${host.name} left the source to the seed`)
    assert.ok(fromPeers >= largeBytes, `${host.name} got its layers from other hosts`)
  }
})

test('hosts feed each other while they pull, where the seed alone is too slow', async t => {
  const swarm = await Swarm.start(t, {
    hosts: 6,
    layerBytes: [12 * MiB],
    seedSettings: { 'upload.slots': '1' },
  })
  await swarm.pullAll()
  const counts = await Promise.all(swarm.hosts.map(host => swarm.counts(host)))
  const uploaded = counts.reduce((sum, count) => sum + count.uploaded, 0)
  assert.ok(uploaded >= 12 * MiB, `hosts sent each other ${uploaded} bytes`)
  assertAskedOnce(swarm.source.log, findPlatformImage(swarm.layout, 'v1', 'amd64')!)
})

test('a warm pull asks the source for nothing', async t => {
  const swarm = await Swarm.start(t, { hosts: 1 })
  await swarm.pull(swarm.hosts[0]!)
  swarm.source.forget()
  await swarm.pull(swarm.hosts[0]!)
  assert.deepEqual(
    swarm.source.log.map(entry => entry.path),
    [],
  )
})

test('a host that comes later is served by the others', async t => {
  const swarm = await Swarm.start(t, { hosts: 1 })
  await swarm.pull(swarm.hosts[0]!)
  swarm.source.forget()
  const late = await swarm.addHost()
  await swarm.waitUntilAdmitted()
  await swarm.pull(late)
  assert.deepEqual(
    swarm.source.log.filter(entry => entry.kind === 'blob').map(entry => entry.path),
    [],
  )
  assert.equal((await swarm.counts(late)).fromSource, 0)
})

test('without a seed the hosts themselves fetch each byte once', async t => {
  const swarm = await Swarm.start(t, { hosts: 3, seed: 'none' })
  await swarm.pullAll()
  assertAskedOnce(swarm.source.log, findPlatformImage(swarm.layout, 'v1', 'amd64')!)
})
