// Hosts whose clocks are a day apart pull from each other and from the seed as any others.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findPlatformImage } from '../../cli/demo/oci-layout.ts'
import { Swarm } from '../harness/swarm.ts'

/** Makes Node believe that it is `hours` later. */
function skewClock(hours: number): string {
  const code = `
    const real = Date.now, skew = ${hours} * 3_600_000;
    globalThis.Date = class extends Date {
      constructor(...parts) { parts.length === 0 ? super(real() + skew) : super(...parts) }
      static now() { return real() + skew }
    }`
  return `--import=data:text/javascript,${encodeURIComponent(code)}`
}

test('one host is 30 hours ahead, one 30 hours behind: both are admitted and take all from others, and others from them', async t => {
  const swarm = await Swarm.start(t, { hosts: 1, seed: 'none', layerBytes: [8 * 1024 * 1024] })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const [early, late] = await Promise.all([
    swarm.spawnHost('behind', { nodeOptions: [skewClock(-30)] }),
    swarm.spawnHost('ahead', { nodeOptions: [skewClock(30)] }),
  ])
  const layer = 8 * 1024 * 1024
  assert.equal((await swarm.pull(late)).bytes, image.bytes)
  assert.equal((await swarm.pull(early)).bytes, image.bytes)
  assert.equal((await swarm.counts(early)).fromSource, 0)
  assert.ok((await swarm.counts(early)).fromPeers >= layer, 'the early one takes from the late one')
  const [third] = swarm.hosts
  assert.equal((await swarm.pull(third!)).bytes, image.bytes)
  assert.equal((await swarm.counts(third!)).fromSource, 0)
  // Not one after the other through a third: each of them serves.
  await late.process.stop(5000)
  const fourth = await swarm.addHost()
  assert.equal((await swarm.pull(fourth)).bytes, image.bytes)
  assert.equal((await swarm.counts(fourth)).fromSource, 0)
})
