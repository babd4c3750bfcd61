// Wrong bytes, from a parent's disk or from the source: rejected piece by piece, and the runtime gets the right ones.
import assert from 'node:assert/strict'
import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { sumMetric } from '../../cli/demo/metrics-text.ts'
import { findPlatformImage } from '../../cli/demo/oci-layout.ts'
import { eventually, Swarm } from '../harness/swarm.ts'

const MiB = 1024 * 1024

/** Flips a bit in every MiB of every large file under a directory; returns how many. */
async function corruptFiles(directory: string): Promise<number> {
  let flips = 0
  for (const item of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(item.parentPath, item.name)
    if (!item.isFile() || (await stat(path)).size < MiB) continue
    const file = await open(path, 'r+')
    const { size } = await file.stat()
    const byte = Buffer.alloc(1)
    for (let position = 1000; position < size; position += MiB) {
      await file.read(byte, 0, 1, position)
      byte[0]! ^= 0x10
      await file.write(byte, 0, 1, position)
      flips++
    }
    await file.close()
  }
  return flips
}

test('a parent with a corrupt disk is rejected and left; the pull succeeds', async t => {
  const swarm = await Swarm.start(t, { hosts: 1, layerBytes: [6 * MiB] })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  await swarm.pull(swarm.hosts[0]!)
  await swarm.killSeed()
  // The last bytes went out before the blobs took their final place.
  const partial = join(swarm.hosts[0]!.dataDir, 'store/partial')
  await eventually('all is committed', async () => (await readdir(partial)).length === 0)
  assert.ok((await corruptFiles(swarm.hosts[0]!.dataDir)) >= 6)
  const child = await swarm.addHost()
  await swarm.waitUntilAdmitted()
  const pulled = await swarm.pull(child)
  assert.equal(pulled.bytes, image.bytes)
  const counts = await swarm.counts(child)
  assert.ok(counts.rejected >= 1, 'a piece was rejected')
  assert.ok(counts.fromSource > 0, 'the good bytes came from the source')
})

test('a source that flips a bit once: every pull succeeds, without a try by the runtime', async t => {
  const swarm = await Swarm.start(t, { hosts: 2, layerBytes: [3 * MiB] })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const layer = image.layers[0]!
  // In the last piece, of which no reader had all.
  swarm.source.fail({ kind: 'corrupt', offset: layer.size - 5, reference: layer.digest, times: 1 })
  for (const pulled of await swarm.pullAll()) assert.equal(pulled.bytes, image.bytes)
  for (const host of swarm.hosts) {
    const { samples } = await swarm.counts(host)
    assert.equal(sumMetric(samples, 'pantala_dfdaemon_pulls_total', { result: 'failed' }), 0)
  }
})

test('a source that flips a bit twice, with no seed and one host: the pull succeeds', async t => {
  const swarm = await Swarm.start(t, { hosts: 1, seed: 'none', layerBytes: [3 * MiB] })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const layer = image.layers[0]!
  swarm.source.fail({ kind: 'corrupt', offset: layer.size - 5, reference: layer.digest, times: 2 })
  assert.equal((await swarm.pull(swarm.hosts[0]!)).bytes, image.bytes)
  const { samples } = await swarm.counts(swarm.hosts[0]!)
  assert.equal(sumMetric(samples, 'pantala_dfdaemon_blobs_refetched_total'), 2)
})

test('a source that flips an early bit as long as it is ill: cut, and well at the very next try', async t => {
  const swarm = await Swarm.start(t, { hosts: 2, layerBytes: [3 * MiB] })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const layer = image.layers[0]!
  swarm.source.fail({ kind: 'corrupt', offset: 1000, reference: layer.digest })
  const pulls = await Promise.allSettled(swarm.hosts.map(host => swarm.pull(host)))
  for (const pull of pulls) assert.equal(pull.status, 'rejected')
  swarm.source.heal()
  for (const pulled of await swarm.pullAll()) assert.equal(pulled.bytes, image.bytes)
})
