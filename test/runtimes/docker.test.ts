// docker pull through a dfdaemon: as a mirror of Docker Hub, by the proxy's own name, and by digest.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startDockerd } from './docker-puller.ts'
import { Lab } from './lab.ts'
import { testRows } from './rows.ts'
import { assertOnceToPantala } from './source-log.ts'

testRows('docker', ['docker-mirror', 'docker-name', 'docker-port', 'docker-proxy'])

test('docker pull by digest, and an image that does not exist', async t => {
  const lab = await Lab.start(t, { commands: ['dockerd', 'docker', 'containerd'] })
  if (lab === undefined) return
  const dockerd = await startDockerd(lab)
  const image = await lab.addImage('anonymous-tls.lab', 'team/by-digest')
  const repository = `${lab.proxy()}/${image.registry}/${image.repository}`
  await dockerd.docker('pull', `${repository}@${image.platform.index!.descriptor.digest}`)
  assertOnceToPantala(await lab.takeLog(image.registry), image)
  await assert.rejects(dockerd.docker('pull', `${repository}:absent`), /manifest unknown|not found/)
})
