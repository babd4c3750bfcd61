// ctr images pull through a dfdaemon that hosts.toml names, for the registry or for all of them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Containerd } from '../harness/container-engines.ts'
import { requireCommands, requireRoot } from '../harness/packages.ts'
import { type Lab, type LabImage, registryFor } from './lab.ts'
import { auths, schemes } from './matrix.ts'
import { assertColdThroughPantala, assertWarm, repository, startRig, takeLog } from './rig.ts'
import { type Puller, testRows } from './rows.ts'

testRows('ctr-named', ['containerd', 'ctr'], async lab => {
  const containerd = await startContainerd(lab)
  let hosts = ''
  for (const auth of auths)
    for (const scheme of schemes) {
      const registry = registryFor(auth, scheme)
      const server = `${scheme === 'TLS' ? 'https' : 'http'}://${registry}`
      hosts = await containerd.writeHosts(registry, lab.host().proxyUrl, server)
    }
  return makePuller(containerd, hosts)
})

testRows('ctr-default', ['containerd', 'ctr'], async lab => {
  const containerd = await startContainerd(lab)
  return makePuller(containerd, await containerd.writeHosts('_default', lab.host().proxyUrl))
})

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
    identity: async () => (await containerd.content()).filter(Boolean),
    expected: ({ platform }: LabImage) =>
      [
        platform.index!.descriptor.digest,
        platform.manifest.descriptor.digest,
        platform.config.digest,
        ...platform.layers.map(layer => layer.digest),
      ].sort(),
    remove: ({ name }) => containerd.ctr('images', 'rm', '--sync', name),
  }
}

const needed = ['docker-registry', 'containerd', 'ctr'] as const

test('ctr images pull --hosts-dir', async t => {
  if (!requireCommands(t, ...needed) || !requireRoot(t)) return
  const rig = await startRig(t, { hosts: 2 })
  const engines = [new Containerd(), new Containerd(), new Containerd()] as const
  t.after(() => Promise.all(engines.map(engine => engine.stop())))
  await Promise.all(engines.map(engine => engine.start()))
  const [direct, first, second] = engines
  const ref = `${rig.registry.address}/${repository}:v1`
  await direct.pull(ref)
  const wanted = { digest: await direct.imageDigest(ref), content: await direct.content() }
  assert.equal(wanted.digest, rig.image.index!.descriptor.digest)
  await takeLog(rig)

  const hostsOf = (engine: Containerd, host: number) =>
    engine.writeHosts(rig.registry.address, `http://${rig.proxy(host)}`, `http://${rig.registry.address}`)
  const firstHosts = await hostsOf(first, 0)
  await first.pull(ref, firstHosts)
  assert.deepEqual({ digest: await first.imageDigest(ref), content: await first.content() }, wanted)
  assertColdThroughPantala(await takeLog(rig), rig)

  await first.ctr('images', 'rm', '--sync', ref)
  assert.deepEqual(await first.content(), [''], 'nothing is left, so that the next pull asks for everything')
  await first.pull(ref, firstHosts)
  assert.equal(await first.imageDigest(ref), wanted.digest)
  assertWarm(await takeLog(rig))

  await second.pull(ref, await hostsOf(second, 1))
  assert.deepEqual({ digest: await second.imageDigest(ref), content: await second.content() }, wanted)
  assertWarm(await takeLog(rig))
})
