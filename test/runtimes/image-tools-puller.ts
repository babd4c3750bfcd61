// podman, buildah and skopeo through a dfdaemon that is a mirror in registries.conf.
import { removeWithMounts } from '../harness/container-engines.ts'
import { ImageTool } from '../harness/image-tools.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { type Credentials, type Lab, type LabImage, labRegistries } from './lab.ts'
import type { Puller, PullerStart } from './puller.ts'

type Command = 'podman' | 'buildah' | 'skopeo'

export function startTool(command: Command): PullerStart {
  return {
    commands: [command],
    start: async (lab, host) => {
      const tool = await makeTool(lab, host, command)
      return command === 'skopeo' ? makeSkopeo(lab, host, tool) : makeStoring(lab, host, tool)
    },
  }
}

function makeStoring(lab: Lab, host: number, tool: ImageTool): Puller {
  return {
    pull: async (image, credentials) => {
      await tool.login(loginsFor(lab.proxy(host), image, credentials))
      await tool.run('pull', '--quiet', image.name)
    },
    held: () => tool.imageIds(),
    expected: ({ platform }) => [platform.config.digest],
    clear: () => tool.run('rmi', '--all', '--force'),
  }
}

function makeSkopeo(lab: Lab, host: number, tool: ImageTool): Puller {
  return {
    pull: async (image, credentials) => {
      await tool.login(loginsFor(lab.proxy(host), image, credentials))
      await tool.copy(image.name, 'copy')
    },
    held: () => tool.digestsOf('copy'),
    expected: ({ platform }) =>
      [platform.manifest.descriptor, platform.config, ...platform.layers].map(({ digest }) => digest).sort(),
    clear: () => tool.removeCopy('copy'),
  }
}

/** A tool that finds every registry of the lab at that host's dfdaemon. */
async function makeTool(
  lab: Lab,
  host: number,
  command: 'podman' | 'buildah' | 'skopeo',
): Promise<ImageTool> {
  const directory = await makeTestDirectory(lab.test, command)
  lab.after(() => removeWithMounts(directory))
  const registries = labRegistries.map(({ name, scheme }) => {
    return { location: name, insecure: scheme === 'HTTP', mirror: `${lab.proxy(host)}/${name}` }
  })
  return ImageTool.make(command, { directory, registries, env: { SSL_CERT_FILE: lab.files.roots } })
}

/** The library looks credentials up by the name of the mirror for the mirror, and of the registry for the registry. */
function loginsFor(mirror: string, image: LabImage, credentials: Credentials | undefined) {
  if (credentials === undefined) return {}
  const text = `${credentials.user}:${credentials.password}`
  return { [mirror]: text, [image.registry]: text }
}
