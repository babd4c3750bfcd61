// ctr images pull --hosts-dir through a dfdaemon, against a containerd of the test's own, cold and warm.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Containerd } from '../harness/container-engines.ts'
import { requireCommands, requireRoot } from '../harness/packages.ts'
import { assertColdThroughPantala, assertWarm, repository, startRig, takeLog } from './rig.ts'

const needed = ['docker-registry', 'containerd', 'ctr'] as const

test('ctr images pull --hosts-dir', async t => {
  if (!requireCommands(t, ...needed) || !requireRoot(t)) return
  const rig = await startRig(t, { hosts: 2 })
  const engines = [new Containerd(), new Containerd(), new Containerd()] as const
  t.after(() => Promise.all(engines.map(engine => engine.stop())))
  await Promise.all(engines.map(engine => engine.start()))
  const [direct, first, second] = engines
  const ref = `${rig.registry.address}/${repository}:v1`
  await direct.pull(ref)
  const wanted = { digest: await direct.imageDigest(ref), content: await direct.content() }
  assert.equal(wanted.digest, rig.image.index!.descriptor.digest)
  await takeLog(rig)

  const hostsOf = (engine: Containerd, host: number) =>
    engine.writeHosts(rig.registry.address, `http://${rig.proxy(host)}`, `http://${rig.registry.address}`)
  const firstHosts = await hostsOf(first, 0)
  await first.pull(ref, firstHosts)
  assert.deepEqual({ digest: await first.imageDigest(ref), content: await first.content() }, wanted)
  assertColdThroughPantala(await takeLog(rig), rig)

  await first.ctr('images', 'rm', '--sync', ref)
  assert.deepEqual(await first.content(), [''], 'nothing is left, so that the next pull asks for everything')
  await first.pull(ref, firstHosts)
  assert.equal(await first.imageDigest(ref), wanted.digest)
  assertWarm(await takeLog(rig))

  await second.pull(ref, await hostsOf(second, 1))
  assert.deepEqual({ digest: await second.imageDigest(ref), content: await second.content() }, wanted)
  assertWarm(await takeLog(rig))
})
