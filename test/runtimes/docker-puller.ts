// docker pull through a dfdaemon: as a mirror of Docker Hub, by the dfdaemon's own name, by a port of the registry's own, and as a proxy.
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { authorityPaths } from '../../dfdaemon/intercept/authority/authority-files.ts'
import { Dockerd, type DockerdOptions } from '../harness/container-engines.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { type Lab, type LabImage, labRegistries, ownPort, ownPorts } from './lab.ts'
import type { Scheme } from './matrix.ts'
import type { Puller, PullerStart } from './puller.ts'

const commands = ['dockerd', 'docker', 'containerd']

export const startMirror: PullerStart = {
  commands,
  start: async (lab, host) => {
    const env = { SSL_CERT_FILE: lab.files.roots }
    const dockerd = await startDockerd(lab, { registryMirrors: [lab.host(host).proxyUrl], env })
    const nameOf = ({ repository }: LabImage) => `${repository.replace('library/', '')}:v1`
    return makePuller(dockerd, nameOf, () => 'https://index.docker.io/v1/')
  },
}

export const startByName: PullerStart = {
  commands,
  start: async (lab, host) =>
    makePuller(
      await startDockerd(lab),
      ({ name }) => `${lab.proxy(host)}/${name}`,
      () => lab.proxy(host),
    ),
}

export const startOwnPort: PullerStart = {
  commands,
  dfdaemonSettings: ownPorts,
  start: async (lab, host) => {
    const portOf = ({ registry }: LabImage) => ownPort(host, registry)
    const nameOf = (image: LabImage) => `${portOf(image)}/${image.repository}:v1`
    return makePuller(await startDockerd(lab), nameOf, portOf)
  },
}

export const startProxied: PullerStart = {
  commands,
  dfdaemonSettings: () => ({ intercept: { hosts: namesOver('TLS') } }),
  start: async (lab, host) => {
    const { proxyUrl, dataDir } = lab.host(host)
    const roots = join(await makeTestDirectory(lab.test, 'roots'), 'roots.pem')
    const files = [lab.files.roots, authorityPaths(dataDir).certificate]
    const texts = await Promise.all(files.map(file => readFile(file, 'utf8')))
    await writeFile(roots, texts.join('\n'))
    const env = { SSL_CERT_FILE: roots, HTTP_PROXY: proxyUrl, HTTPS_PROXY: proxyUrl }
    const dockerd = await startDockerd(lab, { insecureRegistries: namesOver('HTTP'), env })
    return makePuller(
      dockerd,
      ({ name }) => name,
      ({ registry }) => registry,
    )
  },
}

function namesOver(wanted: Scheme): string[] {
  return labRegistries.filter(({ scheme }) => scheme === wanted).map(({ name }) => name)
}

/** `loginKey`: how docker files the credentials for the image. */
function makePuller(
  dockerd: Dockerd,
  nameOf: (image: LabImage) => string,
  loginKey: (image: LabImage) => string,
): Puller {
  return {
    pull: async (image, credentials) => {
      await dockerd.login(
        credentials === undefined ? {} : { [loginKey(image)]: `${credentials.user}:${credentials.password}` },
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
