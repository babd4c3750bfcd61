// A host killed with no warning: in the middle of a download it goes on from what it has, in the middle of an upload its children move on.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findPlatformImage } from '../../cli/demo/oci-layout.ts'
import { sourceBytes } from '../harness/asked-once.ts'
import { eventually, Swarm } from '../harness/swarm.ts'

const MiB = 1024 * 1024
const layerBytes = [24 * MiB]

test('killed in the middle of a download, a host fetches only what it had not', async t => {
  const swarm = await Swarm.start(t, { hosts: 0, layerBytes })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const lift = swarm.source.fail({ kind: 'slow', bytesPerSecond: 16 * MiB })
  const first = await swarm.spawnHost('restarted')
  const cut = swarm.pull(first)
  cut.catch(() => {})
  await eventually('the host holds more than half', async () => {
    const { fromPeers, fromSource } = await swarm.counts(first)
    return fromPeers + fromSource > image.bytes * 0.6
  })
  first.process.signal('SIGKILL')
  await first.process.ended
  await assert.rejects(cut)
  lift()
  const second = await swarm.spawnHost('restarted')
  assert.equal((await swarm.pull(second)).bytes, image.bytes)
  const { fromPeers, fromSource } = await swarm.counts(second)
  const fetched = fromPeers + fromSource
  assert.ok(fetched < image.bytes * 0.6, `${fetched} bytes were fetched again of ${image.bytes}`)
})

test('the parent that all children read from is killed: they go on from what they have, the source sends the rest once', async t => {
  const swarm = await Swarm.start(t, { hosts: 3, seed: 'none', layerBytes })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const parent = await swarm.spawnHost('parent')
  await swarm.pull(parent)
  const [, ...others] = await Promise.all(
    swarm.hosts.map(async (host, number) => {
      let killed = false
      const pulled = await swarm.pull(host, {
        onBytes: bytes => {
          if (number !== 0 || killed || bytes === 0) return
          killed = true
          parent.process.signal('SIGKILL')
        },
      })
      assert.equal(pulled.bytes, image.bytes)
      return pulled
    }),
  )
  assert.equal(others.length, 2)
  const sent = sourceBytes(swarm.source.log)
  assert.ok(sent < image.bytes * 2.1, `the source sent ${sent} bytes for ${image.bytes}`)
})
