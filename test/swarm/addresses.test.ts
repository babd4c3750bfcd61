// Hosts of both families of IP in one swarm, one that comes back under another address, and one that nobody can dial.
import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'
import { findPlatformImage } from '../../cli/demo/oci-layout.ts'
import { sourceBytes } from '../harness/asked-once.ts'
import type { Settings } from '../harness/start-services.ts'
import { Swarm } from '../harness/swarm.ts'

const layerBytes = [4 * 1024 * 1024]
const hasIpv6 = Object.values(networkInterfaces()).some(ones => ones?.some(one => one.address === '::1'))
const skip = hasIpv6 || process.env['CI'] !== undefined ? false : 'this machine has no IPv6 loopback'
const places = ['[::1]:0', '127.0.0.1:0', '[::]:0']

test('hosts on IPv6, on IPv4 and on both take from each other, and the source is asked once', {
  skip,
}, async t => {
  const swarm = await Swarm.start(t, {
    hosts: 3,
    seed: 'none',
    layerBytes,
    perHost: number => ({ 'peer.address': places[number]! }),
  })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const [six, four, both] = swarm.hosts
  assert.ok(six!.daemon.addresses.every(address => address.startsWith('/ip6/')))
  assert.ok(both!.daemon.addresses.some(address => address.startsWith('/ip6/')))
  assert.ok(both!.daemon.addresses.some(address => address.startsWith('/ip4/')))
  for (const host of [six!, four!, both!]) assert.equal((await swarm.pull(host)).bytes, image.bytes)
  for (const host of [four!, both!]) assert.equal((await swarm.counts(host)).fromSource, 0)
})

test('the only holder comes back under another address: those that knew it and those that did not take from it within seconds', async t => {
  const swarm = await Swarm.start(t, { hosts: 2, seed: 'none', layerBytes })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const [holder, other] = swarm.hosts
  await swarm.pull(holder!)
  const before = holder!.daemon.addresses
  await holder!.daemon.stop()
  await swarm.startHost(holder!, { 'peer.address': '127.0.0.2:0' })
  assert.notDeepEqual(holder!.daemon.addresses, before)
  const startedAt = performance.now()
  assert.equal((await swarm.pull(other!)).bytes, image.bytes)
  const stranger = await swarm.addHost()
  assert.equal((await swarm.pull(stranger)).bytes, image.bytes)
  for (const host of [other!, stranger]) assert.equal((await swarm.counts(host)).fromSource, 0)
  const tookMs = performance.now() - startedAt
  assert.ok(tookMs < 8000, `it took ${tookMs} ms`)
})

test('a host that can only dial out is served by others; where it is the only holder, others fetch once more and lose no time', async t => {
  const perHost = (number: number): Settings =>
    number === 0 ? { 'peer.announce': '/ip4/127.0.0.1/tcp/1' } : {}
  const swarm = await Swarm.start(t, { hosts: 4, seed: 'none', layerBytes, perHost })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const [hidden, ...others] = swarm.hosts
  await swarm.pull(hidden!)
  const startedAt = performance.now()
  for (const host of others) assert.equal((await swarm.pull(host)).bytes, image.bytes)
  const tookMs = performance.now() - startedAt
  assert.ok(tookMs < 6000, `it took ${tookMs} ms`)
  const sent = sourceBytes(swarm.source.log)
  assert.ok(sent <= image.bytes * 2.1, `the source sent ${sent} bytes for ${image.bytes}`)
  assert.equal((await swarm.counts(hidden!)).uploaded, 0)
  await hidden!.daemon.stop()
  await rm(hidden!.dataDir, { recursive: true })
  await swarm.startHost(hidden!)
  assert.equal((await swarm.pull(hidden!)).bytes, image.bytes)
  assert.equal((await swarm.counts(hidden!)).fromSource, 0)
})
