// skopeo copy through a dfdaemon, by the proxy's own name, cold and warm.
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { digestOf } from '../../shared/digest.ts'
import { runCommand } from '../harness/container-engines.ts'
import { requireCommands } from '../harness/packages.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { assertColdThroughPantala, assertWarm, repository, startRig, takeLog } from './rig.ts'

/** Digests of what a `dir:` copy holds. */
async function digestsIn(directory: string): Promise<string[]> {
  const names = (await readdir(directory)).filter(name => name !== 'version')
  return (await Promise.all(names.map(async name => digestOf(await readFile(join(directory, name)))))).sort()
}

test('skopeo copy docker://127.0.0.1:PORT/…', async t => {
  if (!requireCommands(t, 'docker-registry', 'skopeo')) return
  const rig = await startRig(t, { hosts: 2 })
  const directory = await makeTestDirectory(t, 'skopeo')
  const copy = async (address: string, name: string) => {
    const target = join(directory, name)
    const from = `docker://${address}/${repository}:v1`
    await runCommand('skopeo', [
      'copy',
      '--src-tls-verify=false',
      '--override-arch=amd64',
      from,
      `dir:${target}`,
    ])
    return digestsIn(target)
  }
  const wanted = await copy(rig.registry.address, 'direct')
  assert.ok(wanted.includes(rig.image.config.digest))
  await takeLog(rig)

  assert.deepEqual(await copy(rig.proxy(0), 'cold'), wanted)
  assertColdThroughPantala(await takeLog(rig), rig)
  assert.deepEqual(await copy(rig.proxy(0), 'warm'), wanted)
  assertWarm(await takeLog(rig))
  assert.deepEqual(await copy(rig.proxy(1), 'second'), wanted)
  assertWarm(await takeLog(rig))
})
