// docker pull through a dfdaemon: as a mirror of Docker Hub, and by the proxy's own name.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Dockerd, type DockerdOptions } from '../harness/container-engines.ts'
import { Lab, type LabImage } from './lab.ts'
import { type Puller, testRows } from './rows.ts'
import { assertOnceToPantala } from './source-log.ts'

const commands = ['dockerd', 'docker', 'containerd'] as const

testRows('docker-mirror', commands, async (lab, host) => {
  const env = { SSL_CERT_FILE: lab.files.roots }
  const dockerd = await startDockerd(lab, { registryMirrors: [lab.host(host).proxyUrl], env })
  const nameOf = ({ repository }: LabImage) => `${repository.replace('library/', '')}:v1`
  return makePuller(dockerd, nameOf, 'https://index.docker.io/v1/')
})

testRows('docker-name', commands, async (lab, host) =>
  makePuller(await startDockerd(lab), ({ name }) => `${lab.proxy(host)}/${name}`, lab.proxy(host)),
)

function makePuller(dockerd: Dockerd, nameOf: (image: LabImage) => string, loginKey: string): Puller {
  return {
    pull: async (image, credentials) => {
      await dockerd.login(
        credentials === undefined ? {} : { [loginKey]: `${credentials.user}:${credentials.password}` },
      )
      await dockerd.docker('pull', nameOf(image))
    },
    held: () => dockerd.imageIds(),
    expected: ({ platform }) => [platform.config.digest],
    clear: () => dockerd.removeImages(),
  }
}

async function startDockerd(lab: Lab, options: DockerdOptions = {}): Promise<Dockerd> {
  const dockerd = new Dockerd(options)
  lab.after(() => dockerd.stop())
  await dockerd.start()
  return dockerd
}

test('docker pull by digest, and an image that does not exist', async t => {
  const lab = await Lab.start(t, { commands })
  if (lab === undefined) return
  const dockerd = await startDockerd(lab)
  const image = await lab.addImage('anonymous-tls.lab', 'team/by-digest')
  const repository = `${lab.proxy()}/${image.registry}/${image.repository}`
  await dockerd.docker('pull', `${repository}@${image.platform.index!.descriptor.digest}`)
  assertOnceToPantala(await lab.takeLog(image.registry), image)
  await assert.rejects(dockerd.docker('pull', `${repository}:absent`), /manifest unknown|not found/)
})
