// docker pull through a dfdaemon: as a mirror of Docker Hub and by the proxy's own name, cold and warm, with the same image as a direct pull.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Dockerd } from '../harness/container-engines.ts'
import { requireCommands, requireRoot } from '../harness/packages.ts'
import { assertColdThroughPantala, assertWarm, repository, startRig, takeLog } from './rig.ts'

const needed = ['docker-registry', 'dockerd', 'docker', 'containerd'] as const

async function startDockerd(t: TestContext, options: ConstructorParameters<typeof Dockerd>[0] = {}) {
  const dockerd = new Dockerd(options)
  t.after(() => dockerd.stop())
  await dockerd.start()
  return dockerd
}

test('docker pull with registry-mirrors', async t => {
  if (!requireCommands(t, ...needed) || !requireRoot(t)) return
  const rig = await startRig(t, { hosts: 2 })
  const direct = await startDockerd(t)
  await direct.docker('pull', `${rig.registry.address}/${repository}:v1`)
  const wanted = await direct.imageId(`${rig.registry.address}/${repository}:v1`)
  await takeLog(rig)

  const dockerd = await startDockerd(t, { registryMirrors: [`http://${rig.proxy(0)}`] })
  await dockerd.docker('pull', 'app:v1')
  assert.equal(await dockerd.imageId('app:v1'), wanted)
  assertColdThroughPantala(await takeLog(rig), rig)

  await dockerd.docker('rmi', 'app:v1')
  await dockerd.docker('pull', 'app:v1')
  assert.equal(await dockerd.imageId('app:v1'), wanted)
  assertWarm(await takeLog(rig))

  const other = await startDockerd(t, { registryMirrors: [`http://${rig.proxy(1)}`] })
  await other.docker('pull', 'app:v1')
  assert.equal(await other.imageId('app:v1'), wanted)
  assertWarm(await takeLog(rig))
})

test('docker pull 127.0.0.1:PORT/…', async t => {
  if (!requireCommands(t, ...needed) || !requireRoot(t)) return
  const rig = await startRig(t)
  const dockerd = await startDockerd(t)
  const ref = `${rig.proxy(0)}/${repository}:v1`
  await dockerd.docker('pull', ref)
  assert.equal(await dockerd.imageId(ref), rig.image.config.digest)
  assertColdThroughPantala(await takeLog(rig), rig)

  await dockerd.docker('rmi', ref)
  await dockerd.docker('pull', ref)
  assert.equal(await dockerd.imageId(ref), rig.image.config.digest)
  assertWarm(await takeLog(rig))
})

test('docker pull by digest, and an image that does not exist', async t => {
  if (!requireCommands(t, ...needed) || !requireRoot(t)) return
  const rig = await startRig(t, { unnamed: 'registry' })
  const dockerd = await startDockerd(t)
  const digest = rig.image.index!.descriptor.digest
  await dockerd.docker('pull', `${rig.proxy(0)}/${repository}@${digest}`)
  assertColdThroughPantala(await takeLog(rig), rig)
  await assert.rejects(
    dockerd.docker('pull', `${rig.proxy(0)}/${repository}:absent`),
    /manifest unknown|not found/,
  )
})
