// podman, buildah and skopeo through a dfdaemon that is a mirror in registries.conf.
import { removeWithMounts } from '../harness/container-engines.ts'
import { ImageTool } from '../harness/image-tools.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { type Credentials, type Lab, type LabImage, labRegistries, ownPort, ownPorts } from './lab.ts'
import type { Puller, PullerStart } from './puller.ts'

/** `host:port` or `host:port/path` by registry. */
type MirrorOf = (registry: string) => string

type Command = 'podman' | 'buildah' | 'skopeo'

/** `port`: each registry has a port of the dfdaemon's for itself, instead of a place in the mirror's path. */
export function startTool(command: Command, told: 'path' | 'port'): PullerStart {
  return {
    commands: [command],
    ...(told === 'port' ? { dfdaemonSettings: ownPorts } : {}),
    start: async (lab, host) => {
      const mirrorOf = (registry: string) =>
        told === 'port' ? ownPort(host, registry) : `${lab.proxy(host)}/${registry}`
      const tool = await makeTool(lab, command, mirrorOf)
      return command === 'skopeo' ? makeSkopeo(tool, mirrorOf) : makeStoring(tool, mirrorOf)
    },
  }
}

function makeStoring(tool: ImageTool, mirrorOf: MirrorOf): Puller {
  return {
    pull: async (image, credentials) => {
      await tool.login(loginsFor(mirrorOf, image, credentials))
      await tool.run('pull', '--quiet', image.name)
    },
    held: () => tool.imageIds(),
    expected: ({ platform }) => [platform.config.digest],
    clear: () => tool.run('rmi', '--all', '--force'),
  }
}

function makeSkopeo(tool: ImageTool, mirrorOf: MirrorOf): Puller {
  return {
    pull: async (image, credentials) => {
      await tool.login(loginsFor(mirrorOf, image, credentials))
      await tool.copy(image.name, 'copy')
    },
    held: () => tool.digestsOf('copy'),
    expected: ({ platform }) =>
      [platform.manifest.descriptor, platform.config, ...platform.layers].map(({ digest }) => digest).sort(),
    clear: () => tool.removeCopy('copy'),
  }
}

/** A tool that finds every registry of the lab at that host's dfdaemon. */
async function makeTool(lab: Lab, command: Command, mirrorOf: MirrorOf): Promise<ImageTool> {
  const directory = await makeTestDirectory(lab.test, command)
  lab.after(() => removeWithMounts(directory))
  const registries = labRegistries.map(({ name, scheme }) => {
    return { location: name, insecure: scheme === 'HTTP', mirror: mirrorOf(name) }
  })
  return ImageTool.make(command, { directory, registries, env: { SSL_CERT_FILE: lab.files.roots } })
}

/** The library looks credentials up by the name of the mirror for the mirror, and of the registry for the registry. */
function loginsFor(mirrorOf: MirrorOf, image: LabImage, credentials: Credentials | undefined) {
  if (credentials === undefined) return {}
  const text = `${credentials.user}:${credentials.password}`
  return { [mirrorOf(image.registry).split('/', 1)[0]!]: text, [image.registry]: text }
}
