// Hosts that pull at once from a real docker-registry: its own access log says what it was asked.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findPlatformImage } from '../../cli/demo/oci-layout.ts'
import { DockerRegistry } from '../harness/docker-registry.ts'
import { requireCommands } from '../harness/packages.ts'
import { makeSmallImage } from '../harness/small-image.ts'
import { repository, Swarm } from '../harness/swarm.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'

test('4 hosts at once cost docker-registry one copy of each blob and manifest', async t => {
  if (!requireCommands(t, 'docker-registry')) return
  const directory = await makeTestDirectory(t, 'image')
  const layout = await makeSmallImage({ directory })
  const image = findPlatformImage(layout, 'v1', 'amd64')!
  const registry = new DockerRegistry()
  t.after(() => registry.stop())
  await registry.start()
  await registry.push(layout, repository)
  const swarm = await Swarm.start(t, { hosts: 4, sourceAddress: registry.address })
  for (const pulled of await swarm.pullAll()) assert.equal(pulled.bytes, image.bytes)
  await registry.settle()
  const sent = (path: string) =>
    registry.log
      .filter(line => line.method === 'GET' && line.status < 300 && line.path.includes(path))
      .reduce((sum, line) => sum + line.bytes, 0)
  for (const blob of [image.config, ...image.layers])
    assert.equal(sent(`/blobs/${blob.digest}`), blob.size, `bytes sent of ${blob.digest}`)
  const manifestBytes = image.index!.body.byteLength + image.manifest.body.byteLength
  assert.ok(sent('/manifests/') <= manifestBytes, 'each manifest was sent once')
})
