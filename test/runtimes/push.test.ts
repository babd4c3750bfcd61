// docker, containerd, podman, buildah and skopeo push through a dfdaemon, and what they pushed is what the next pull through it gets, at once.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Containerd, removeWithMounts } from '../harness/container-engines.ts'
import type { AccessLine } from '../harness/docker-registry.ts'
import { ImageTool } from '../harness/image-tools.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { startDockerd } from './docker-puller.ts'
import { Lab, type LabImage } from './lab.ts'

/** Brings an image to the place given, `host:port/repository:tag`. */
type Push = (image: LabImage, place: string) => Promise<unknown>

interface Pusher {
  readonly commands: readonly string[]
  start(lab: Lab): Promise<Push>
}

const registry = 'anonymous-tls.lab'

const pushers: Readonly<Record<string, Pusher>> = {
  docker: {
    commands: ['dockerd', 'docker', 'containerd'],
    start: async lab => {
      const dockerd = await startDockerd(lab)
      return async ({ name }, place) => {
        const held = `${lab.proxy()}/${name}`
        await dockerd.docker('pull', held)
        await dockerd.docker('tag', held, place)
        await dockerd.docker('push', place)
      }
    },
  },
  ctr: {
    commands: ['containerd', 'ctr'],
    start: async lab => {
      const containerd = new Containerd()
      lab.after(() => containerd.stop())
      await containerd.start()
      return async ({ name }, place) => {
        const held = `${lab.proxy()}/${name}`
        await containerd.pull(held)
        await containerd.ctr('images', 'push', '--plain-http', '--platform', 'linux/amd64', place, held)
      }
    },
  },
  podman: startStoring('podman'),
  buildah: startStoring('buildah'),
  skopeo: {
    commands: ['skopeo'],
    start: async lab => {
      const tool = await startTool(lab, 'skopeo')
      return ({ name }, place) =>
        tool.run(
          'copy',
          '--override-arch=amd64',
          ...plain,
          `docker://${lab.proxy()}/${name}`,
          `docker://${place}`,
        )
    },
  },
}

const plain = ['--src-tls-verify=false', '--dest-tls-verify=false']

function startStoring(command: 'podman' | 'buildah'): Pusher {
  return {
    commands: [command],
    start: async lab => {
      const tool = await startTool(lab, command)
      return async ({ name }, place) => {
        const held = `${lab.proxy()}/${name}`
        await tool.run('pull', '--quiet', '--tls-verify=false', held)
        await tool.run('push', '--tls-verify=false', held, `docker://${place}`)
      }
    },
  }
}

async function startTool(lab: Lab, command: 'podman' | 'buildah' | 'skopeo'): Promise<ImageTool> {
  const directory = await makeTestDirectory(lab.test, command)
  lab.after(() => removeWithMounts(directory))
  return ImageTool.make(command, { directory, registries: [] })
}

test('pushes through a dfdaemon', async t => {
  const commands = [...new Set(Object.values(pushers).flatMap(pusher => pusher.commands))]
  const lab = await Lab.start(t, { commands })
  if (lab === undefined) return
  const reader = await startTool(lab, 'skopeo')
  for (const [command, { start }] of Object.entries(pushers)) {
    await t.test(command, async () => {
      const push = await start(lab)
      const repository = `team/pushed-by-${command}`
      const place = `${lab.proxy()}/${registry}/${repository}:v1`
      const read = async () => {
        await reader.copy(place, 'copy', '--src-tls-verify=false')
        return reader.digestsOf('copy')
      }
      await assert.rejects(read(), /manifest unknown|not found/, 'before the push there is nothing')
      for (const build of ['first', 'second']) {
        const image = await lab.addImage(registry, `team/${command}-${build}`)
        await lab.takeLog(registry)
        await push(image, place)
        assertWritten(await lab.takeLog(registry), image, repository)
        const digests = await read()
        assert.ok(digests.includes(image.platform.config.digest), `${build}: another image was pulled`)
      }
    })
  }
})

/** Fails unless the registry has taken a manifest by tag, and each blob, sent or mounted. */
function assertWritten(log: readonly AccessLine[], image: LabImage, repository: string): void {
  const created = log.filter(line => line.status === 201 && line.path.startsWith(`/v2/${repository}/`))
  const isPut = (line: AccessLine, part: string) => line.method === 'PUT' && line.path.includes(part)
  assert.ok(
    created.some(line => isPut(line, '/manifests/v1')),
    'no manifest was taken',
  )
  const blobs = created.filter(line => isPut(line, '/blobs/uploads/') || line.path.includes('mount='))
  assert.equal(blobs.length, image.platform.layers.length + 1, 'blobs that were taken')
}
