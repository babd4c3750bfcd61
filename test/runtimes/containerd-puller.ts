// ctr images pull through a dfdaemon that hosts.toml names, for the registry or for all of them.
import { Containerd } from '../harness/container-engines.ts'
import { type Lab, type LabImage, labRegistries } from './lab.ts'
import type { Puller, PullerStart } from './puller.ts'

const commands = ['containerd', 'ctr']

export const startNamed: PullerStart = {
  commands,
  start: async (lab, host) => {
    const containerd = await startContainerd(lab)
    let hosts = ''
    for (const { name, scheme } of labRegistries) {
      const server = `${scheme === 'TLS' ? 'https' : 'http'}://${name}`
      hosts = await containerd.writeHosts(name, lab.host(host).proxyUrl, server)
    }
    return makePuller(containerd, hosts)
  },
}

export const startDefault: PullerStart = {
  commands,
  start: async (lab, host) => {
    const containerd = await startContainerd(lab)
    return makePuller(containerd, await containerd.writeHosts('_default', lab.host(host).proxyUrl))
  },
}

async function startContainerd(lab: Lab): Promise<Containerd> {
  const containerd = new Containerd({ SSL_CERT_FILE: lab.files.roots })
  lab.after(() => containerd.stop())
  await containerd.start()
  return containerd
}

function makePuller(containerd: Containerd, hosts: string): Puller {
  return {
    pull: ({ name }, credentials) =>
      containerd.pull(name, hosts, credentials && `${credentials.user}:${credentials.password}`),
    held: async () => (await containerd.content()).filter(Boolean),
    expected: ({ platform }: LabImage) =>
      [
        platform.index!.descriptor.digest,
        platform.manifest.descriptor.digest,
        platform.config.digest,
        ...platform.layers.map(layer => layer.digest),
      ].sort(),
    clear: () => containerd.removeImages(),
  }
}
