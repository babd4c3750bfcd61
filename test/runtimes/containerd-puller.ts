// ctr images pull through a dfdaemon that hosts.toml names, for the registry or for all of them.
import { Containerd } from '../harness/container-engines.ts'
import { CriClient } from '../harness/cri-client.ts'
import { type Lab, type LabImage, labRegistries } from './lab.ts'
import type { Puller, PullerStart } from './puller.ts'

const commands = ['containerd', 'ctr']

export const startNamed: PullerStart = {
  commands,
  start: async (lab, host) => {
    const containerd = await startContainerd(lab)
    return makePuller(containerd, await writeAllHosts(lab, host, containerd))
  },
}

export const startDefault: PullerStart = {
  commands,
  start: async (lab, host) => {
    const containerd = await startContainerd(lab)
    return makePuller(containerd, await containerd.writeHosts('_default', lab.host(host).proxyUrl))
  },
}

export const startCri: PullerStart = {
  commands,
  start: async (lab, host) => {
    const containerd = await startContainerd(lab, { cri: true })
    await writeAllHosts(lab, host, containerd)
    const kubelet = new CriClient(containerd.socket)
    lab.after(async () => kubelet.close())
    return {
      ...makePuller(containerd, ''),
      pull: ({ name }, credentials) => kubelet.pullImage(name, credentials),
    }
  },
}

/** A hosts.toml for every registry of the lab. */
async function writeAllHosts(lab: Lab, host: number, containerd: Containerd): Promise<string> {
  let directory = ''
  for (const { name, scheme } of labRegistries) {
    const server = `${scheme === 'TLS' ? 'https' : 'http'}://${name}`
    directory = await containerd.writeHosts(name, lab.host(host).proxyUrl, server)
  }
  return directory
}

async function startContainerd(lab: Lab, options = { cri: false }): Promise<Containerd> {
  const containerd = new Containerd({ SSL_CERT_FILE: lab.files.roots }, options)
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
