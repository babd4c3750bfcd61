// Several supernodes: each owns some tasks, one that goes away or hangs is passed over, and gets its tasks back.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findPlatformImage } from '../../cli/demo/oci-layout.ts'
import { orderByRendezvous } from '../../shared/rendezvous.ts'
import { sourceBytes } from '../harness/asked-once.ts'
import { eventually, Swarm } from '../harness/swarm.ts'

const MiB = 1024 * 1024
const layerBytes = [24 * MiB]

/** Places of the supernodes, the owner of the image's layer first. */
function ownersOf(swarm: Swarm, digest: string): number[] {
  return orderByRendezvous([0, 1], digest, place => swarm.supernodeAt(place).hostId)
}

async function tasksOf(swarm: Swarm, place: number): Promise<string[]> {
  const answer = await fetch(`${swarm.supernodeAt(place).apiUrl}/api/v1/tasks`)
  const { tasks } = (await answer.json()) as { tasks: { digest: string; registry?: string }[] }
  // Those that only came with what a host announced have no registry.
  return tasks.filter(task => task.registry !== undefined).map(task => task.digest)
}

test('each task is one supernode’s, and the source is asked once', async t => {
  const swarm = await Swarm.start(t, { hosts: 3, supernodes: 2, layerBytes })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  for (const pulled of await swarm.pullAll()) assert.equal(pulled.bytes, image.bytes)
  assert.equal(sourceBytes(swarm.source.log), image.bytes)
  const layer = image.layers[0]!.digest
  const [owner, other] = ownersOf(swarm, layer) as [number, number]
  assert.ok((await tasksOf(swarm, owner)).includes(layer))
  assert.ok(!(await tasksOf(swarm, other)).includes(layer))
})

test('the owner stops in the middle of a pull: the other takes over, nothing is fetched twice', async t => {
  const swarm = await Swarm.start(t, { hosts: 3, supernodes: 2, layerBytes })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const layer = image.layers[0]!.digest
  const [owner, other] = ownersOf(swarm, layer) as [number, number]
  const lift = swarm.source.fail({ kind: 'slow', bytesPerSecond: 12 * MiB })
  const pulls = swarm.pullAll()
  pulls.catch(() => {})
  await eventually('half of the layer was sent', () => swarm.source.bytesSent > image.bytes / 2)
  await swarm.stopSupernode(owner)
  await eventually('the other knows the task', async () => (await tasksOf(swarm, other)).includes(layer))
  lift()
  for (const pulled of await pulls) assert.equal(pulled.bytes, image.bytes)
  const sent = sourceBytes(swarm.source.log)
  t.diagnostic(`the source sent ${(sent / image.bytes).toFixed(2)} times the image`)
  assert.ok(sent <= image.bytes * 1.6)
})

test('while the owner is away the other decides; when it is back it is told what hosts hold', async t => {
  const swarm = await Swarm.start(t, { hosts: 3, supernodes: 2, layerBytes })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const layer = image.layers[0]!.digest
  const [owner] = ownersOf(swarm, layer) as [number, number]
  await swarm.stopSupernode(owner)
  await swarm.pull(swarm.hosts[0]!)
  await swarm.startSupernode(owner)
  await eventually('the owner knows both holders', async () => {
    const answer = await fetch(`${swarm.supernodeAt(owner).apiUrl}/api/v1/tasks`)
    const { tasks } = (await answer.json()) as { tasks: { digest: string; full: number }[] }
    // The seed and the host.
    return tasks.some(task => task.digest === layer && task.full === 2)
  })
  swarm.source.forget()
  for (const host of swarm.hosts.slice(1)) await swarm.pull(host)
  // The returned supernode has forgotten small blobs, which do not come from hosts.
  assert.equal(swarm.source.log.filter(entry => entry.reference === layer).length, 0)
})

test('what one supernode’s task left on a host, the other knows as well', async t => {
  const swarm = await Swarm.start(t, { hosts: 1, supernodes: 2, layerBytes, seed: 'none' })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  await swarm.pull(swarm.hosts[0]!)
  const layer = image.layers[0]!.digest
  const [, other] = ownersOf(swarm, layer) as [number, number]
  await eventually('the other was told', async () => {
    const answer = await fetch(`${swarm.supernodeAt(other).apiUrl}/api/v1/tasks`)
    const { tasks } = (await answer.json()) as { tasks: { digest: string; full: number }[] }
    return tasks.some(task => task.digest === layer && task.full === 1)
  })
})
