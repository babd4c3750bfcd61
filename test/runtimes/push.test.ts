// docker, containerd, podman, buildah and skopeo push through a dfdaemon, and what they pushed is what the next pull through it gets, at once.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Containerd, removeWithMounts } from '../harness/container-engines.ts'
import type { AccessLine } from '../harness/docker-registry.ts'
import { ImageTool } from '../harness/image-tools.ts'
import type { LabHost } from '../harness/lab-network.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { startDockerd } from './docker-puller.ts'
import { type Credentials, Lab, type LabImage, ownPort, ownPorts, stranger, user } from './lab.ts'

/** Brings an image to the place given, `host:port/repository:tag`, with these credentials for that host. */
type Push = (image: LabImage, place: string, credentials?: Credentials) => Promise<unknown>

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
      return async ({ name }, place, credentials) => {
        const held = `${lab.proxy()}/${name}`
        await dockerd.login(loginsOf(place, credentials))
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
      return async ({ name }, place, credentials) => {
        const held = `${lab.proxy()}/${name}`
        await containerd.pull(held)
        const login = credentials === undefined ? [] : ['--user', textOf(credentials)]
        const options = ['--plain-http', '--platform', 'linux/amd64', ...login]
        await containerd.ctr('images', 'push', ...options, place, held)
      }
    },
  },
  podman: startStoring('podman'),
  buildah: startStoring('buildah'),
  skopeo: {
    commands: ['skopeo'],
    start: async lab => {
      const tool = await startTool(lab, 'skopeo')
      return async ({ name }, place, credentials) => {
        await tool.login(loginsOf(place, credentials))
        const from = `docker://${lab.proxy()}/${name}`
        await tool.run('copy', '--override-arch=amd64', ...plain, from, `docker://${place}`)
      }
    },
  },
}

const plain = ['--src-tls-verify=false', '--dest-tls-verify=false']

function startStoring(command: 'podman' | 'buildah'): Pusher {
  return {
    commands: [command],
    start: async lab => {
      const tool = await startTool(lab, command)
      return async ({ name }, place, credentials) => {
        const held = `${lab.proxy()}/${name}`
        await tool.login(loginsOf(place, credentials))
        await tool.run('pull', '--quiet', '--tls-verify=false', held)
        await tool.run('push', '--tls-verify=false', held, `docker://${place}`)
      }
    },
  }
}

function loginsOf(place: string, credentials: Credentials | undefined): Record<string, string> {
  return credentials === undefined ? {} : { [place.split('/', 1)[0]!]: textOf(credentials) }
}

function textOf({ user: name, password }: Credentials): string {
  return `${name}:${password}`
}

async function startTool(lab: Lab, command: 'podman' | 'buildah' | 'skopeo'): Promise<ImageTool> {
  const directory = await makeTestDirectory(lab.test, command)
  lab.after(() => removeWithMounts(directory))
  return ImageTool.make(command, { directory, registries: [] })
}

test('pushes through a dfdaemon', async t => {
  const commands = [...new Set(Object.values(pushers).flatMap(pusher => pusher.commands))]
  const lab = await Lab.start(t, { commands, dfdaemonSettings: ownPorts })
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
    for (const wanted of ['basic-tls.lab', 'token-tls.lab'] as const)
      await t.test(`${command}, to ${wanted}`, () => tryPrivate(lab, reader, start, command, wanted))
  }
})

/** Pushes to a registry that wants credentials, by its own port: with wrong ones, with none, and with right ones. */
async function tryPrivate(
  lab: Lab,
  reader: ImageTool,
  start: Pusher['start'],
  command: string,
  wanted: LabHost,
): Promise<void> {
  const push = await start(lab)
  const image = await lab.addImage(registry, `team/${command}-for-${wanted}`)
  const repository = `team/pushed-by-${command}-to-${wanted}`
  const place = `${ownPort(0, wanted)}/${repository}:v1`
  await lab.takeLog(wanted)
  // A token server that refuses its credentials docker asks again for 50 s, with and without Pantala.
  const refusals = command === 'docker' && wanted === 'token-tls.lab' ? [undefined] : [stranger, undefined]
  for (const refused of refusals) await assert.rejects(push(image, place, refused))
  assert.deepEqual(
    (await lab.takeLog(wanted)).filter(line => line.status === 201),
    [],
    'something was written',
  )
  await push(image, place, user)
  assertWritten(await lab.takeLog(wanted), image, repository)
  await reader.login(loginsOf(place, user))
  await reader.copy(place, 'copy', '--src-tls-verify=false')
  assert.ok((await reader.digestsOf('copy')).includes(image.platform.config.digest))
  await reader.login({})
}

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
