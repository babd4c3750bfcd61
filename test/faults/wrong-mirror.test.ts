// A mirror that sends wrong bytes of a blob: the second try asks the next endpoint first, and the pull succeeds.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findPlatformImage } from '../../cli/demo/oci-layout.ts'
import { SourceRegistry } from '../../cli/demo/registry.ts'
import { repository, Swarm } from '../harness/swarm.ts'

const MiB = 1024 * 1024

test('a mirror that sends wrong bytes each time is passed over at the second try', async t => {
  const mirror = new SourceRegistry()
  await mirror.start()
  t.after(() => mirror.stop())
  const swarm = await Swarm.start(t, {
    hosts: 1,
    seed: 'none',
    layerBytes: [3 * MiB],
    mirrors: [mirror.url],
  })
  mirror.addImage(repository, swarm.layout)
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const layer = image.layers[0]!
  mirror.fail({ kind: 'corrupt', offset: layer.size - 5, reference: layer.digest })
  assert.equal((await swarm.pull(swarm.hosts[0]!)).bytes, image.bytes)
  const blobsOf = (registry: SourceRegistry) =>
    registry.log.filter(entry => entry.kind === 'blob' && entry.reference === layer.digest && entry.bytes > 0)
  assert.equal(blobsOf(mirror).length, 1)
  assert.equal(blobsOf(swarm.source).length, 1)
})
