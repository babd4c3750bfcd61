// podman pull through a dfdaemon that is a mirror in registries.conf, cold and warm, with storage of the test's own.
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { removeWithMounts, runCommand } from '../harness/container-engines.ts'
import { requireCommands, requireRoot } from '../harness/packages.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { assertColdThroughPantala, assertWarm, repository, startRig, takeLog } from './rig.ts'

/** Runs podman with a root of its own and the mirror given. */
async function makePodman(t: TestContext, registry: string, mirror: string) {
  const directory = await makeTestDirectory(t, 'podman')
  t.after(() => removeWithMounts(directory))
  const registries = join(directory, 'registries.conf')
  await writeFile(
    registries,
    `[[registry]]\nlocation = "${registry}"\ninsecure = true\n[[registry.mirror]]\nlocation = "${mirror}"\ninsecure = true\n`,
  )
  const at = (name: string) => join(directory, name)
  const own = ['--root', at('root'), '--runroot', at('run'), '--tmpdir', at('tmp'), '--storage-driver', 'vfs']
  return async (...args: string[]) => {
    const env = { CONTAINERS_REGISTRIES_CONF: registries }
    return (await runCommand('podman', [...own, ...args], { env })).stdout.trim()
  }
}

test('podman pull through a mirror', async t => {
  if (!requireCommands(t, 'docker-registry', 'podman') || !requireRoot(t)) return
  const rig = await startRig(t, { hosts: 2 })
  const ref = `${rig.registry.address}/${repository}:v1`
  const imageId = rig.image.config.digest.slice('sha256:'.length)
  const podman = await makePodman(t, rig.registry.address, rig.proxy(0))
  await podman('pull', '--quiet', ref)
  assert.equal(await podman('image', 'inspect', '--format', '{{.Id}}', ref), imageId)
  assertColdThroughPantala(await takeLog(rig), rig)

  await podman('rmi', ref)
  await podman('pull', '--quiet', ref)
  assertWarm(await takeLog(rig))

  const other = await makePodman(t, rig.registry.address, rig.proxy(1))
  await other('pull', '--quiet', ref)
  assert.equal(await other('image', 'inspect', '--format', '{{.Id}}', ref), imageId)
  assertWarm(await takeLog(rig))
})
