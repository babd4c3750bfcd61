// What dies in the middle of a pull: the seed, the supernode, a host, the client. The others finish.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findPlatformImage } from '../../cli/demo/oci-layout.ts'
import { sourceBytes } from '../harness/asked-once.ts'
import { eventually, Swarm } from '../harness/swarm.ts'

const MiB = 1024 * 1024
/** One large layer, so that "half of it" is a moment that a paced source makes certain. */
const layerBytes = [24 * MiB]
const bytesPerSecond = 16 * MiB

test('the only seed is killed after half of a blob: all pulls finish, and the source sent at most 1.6 times the image', async t => {
  const swarm = await Swarm.start(t, { hosts: 4, seed: 'process', layerBytes })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const lift = swarm.source.fail({ kind: 'slow', bytesPerSecond })
  const pulls = swarm.pullAll()
  pulls.catch(() => {})
  await eventually('half of the layer was sent', () => swarm.source.bytesSent > image.bytes / 2)
  await swarm.killSeed()
  lift()
  for (const pulled of await pulls) assert.equal(pulled.bytes, image.bytes)
  const sent = sourceBytes(swarm.source.log)
  assert.ok(sent <= image.bytes * 1.6, `the source sent ${sent} bytes for ${image.bytes}`)
})

test('the only seed hangs after half of a blob: all pulls finish soon, within the same budget', async t => {
  const swarm = await Swarm.start(t, { hosts: 3, seed: 'process', layerBytes })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const lift = swarm.source.fail({ kind: 'slow', bytesPerSecond })
  const pulls = swarm.pullAll()
  pulls.catch(() => {})
  await eventually('half of the layer was sent', () => swarm.source.bytesSent > image.bytes / 2)
  swarm.pauseSeed()
  lift()
  const pausedAt = performance.now()
  for (const pulled of await pulls) assert.equal(pulled.bytes, image.bytes)
  const tookMs = performance.now() - pausedAt
  t.diagnostic(`all had it ${Math.round(tookMs)} ms after the seed froze`)
  // Long before host.expireMs, which is 15 s.
  assert.ok(tookMs < 8000, `it took ${Math.round(tookMs)} ms`)
  assert.ok(sourceBytes(swarm.source.log) <= image.bytes * 1.6)
})

test('the supernode stops in the middle of a pull: all pulls finish', async t => {
  const swarm = await Swarm.start(t, { hosts: 3, layerBytes })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const lift = swarm.source.fail({ kind: 'slow', bytesPerSecond })
  const pulls = swarm.pullAll()
  pulls.catch(() => {})
  await eventually('half of the layer was sent', () => swarm.source.bytesSent > image.bytes / 2)
  await swarm.stopSupernode()
  lift()
  for (const pulled of await pulls) assert.equal(pulled.bytes, image.bytes)
})

test('hosts find each other again when the supernode is back', async t => {
  const swarm = await Swarm.start(t, { hosts: 2 })
  await swarm.pull(swarm.hosts[0]!)
  await swarm.stopSupernode()
  await swarm.startSupernode()
  await swarm.waitUntilAdmitted()
  await eventually('host 1 is served by others again', async () => {
    swarm.source.forget()
    await swarm.pull(swarm.hosts[1]!)
    return swarm.source.log.every(entry => entry.kind !== 'blob')
  })
})

test('a dfdaemon that restarts keeps the pieces of a blob it had begun', async t => {
  const swarm = await Swarm.start(t, { hosts: 1, layerBytes })
  const [host] = swarm.hosts
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const lift = swarm.source.fail({ kind: 'slow', bytesPerSecond })
  const aborted = new AbortController()
  const first = swarm.pull(host!, { signal: aborted.signal })
  first.catch(() => {})
  await eventually('the host holds half', async () => {
    const { fromPeers, fromSource } = await swarm.counts(host!)
    return fromPeers + fromSource > image.bytes / 2
  })
  // What is stored survives once the index was flushed; a clean stop flushes.
  await host!.daemon.stop()
  aborted.abort()
  lift()
  await swarm.startHost(host!)
  await swarm.waitUntilAdmitted()
  const backAt = performance.now()
  const pulled = await swarm.pull(host!)
  assert.equal(pulled.bytes, image.bytes)
  // Without waiting for what the seed keeps back for children that have it.
  assert.ok(performance.now() - backAt < 12_000, `it took ${Math.round(performance.now() - backAt)} ms`)
  const { fromPeers, fromSource } = await swarm.counts(host!)
  assert.ok(
    fromPeers + fromSource < image.bytes * 0.6,
    `fetched ${fromPeers + fromSource} again of ${image.bytes}`,
  )
})

test('a client that goes away does not disturb the others, and one that comes back is served', async t => {
  const swarm = await Swarm.start(t, { hosts: 2, layerBytes })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const lift = swarm.source.fail({ kind: 'slow', bytesPerSecond })
  const leaving = new AbortController()
  const left = swarm.pull(swarm.hosts[0]!, {
    signal: leaving.signal,
    onBytes: () => {
      if (swarm.source.bytesSent > image.bytes / 4) leaving.abort(new Error('the client left'))
    },
  })
  const stayed = swarm.pull(swarm.hosts[1]!)
  await assert.rejects(left)
  lift()
  assert.equal((await stayed).bytes, image.bytes)
  assert.equal((await swarm.pull(swarm.hosts[0]!)).bytes, image.bytes)
  assert.ok(sourceBytes(swarm.source.log) <= image.bytes * 1.01)
})
