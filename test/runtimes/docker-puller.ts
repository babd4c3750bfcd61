// docker pull through a dfdaemon: as a mirror of Docker Hub, and by the proxy's own name.
import { Dockerd, type DockerdOptions } from '../harness/container-engines.ts'
import type { Lab, LabImage } from './lab.ts'
import type { Puller, PullerStart } from './puller.ts'

const commands = ['dockerd', 'docker', 'containerd']

export const startMirror: PullerStart = {
  commands,
  start: async (lab, host) => {
    const env = { SSL_CERT_FILE: lab.files.roots }
    const dockerd = await startDockerd(lab, { registryMirrors: [lab.host(host).proxyUrl], env })
    const nameOf = ({ repository }: LabImage) => `${repository.replace('library/', '')}:v1`
    return makePuller(dockerd, nameOf, 'https://index.docker.io/v1/')
  },
}

export const startByName: PullerStart = {
  commands,
  start: async (lab, host) =>
    makePuller(await startDockerd(lab), ({ name }) => `${lab.proxy(host)}/${name}`, lab.proxy(host)),
}

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

export async function startDockerd(lab: Lab, options: DockerdOptions = {}): Promise<Dockerd> {
  const dockerd = new Dockerd(options)
  lab.after(() => dockerd.stop())
  await dockerd.start()
  return dockerd
}
