// Clients with a login push through a dfdaemon, to a port of the registry's own and through it as their proxy, under the rights the registry gives them.
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { authorityPaths } from '../../dfdaemon/intercept/authority/authority-files.ts'
import { Containerd, removeWithMounts } from '../harness/container-engines.ts'
import { ImageTool } from '../harness/image-tools.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { startDockerd } from './docker-puller.ts'
import { Lab, ownPort, ownPorts, user } from './lab.ts'

const login = `${user.user}:${user.password}`
const commands = ['dockerd', 'docker', 'containerd', 'ctr', 'skopeo']
const open = 'anonymous-http.lab'

/** Fails unless the registry took the manifest once, from the client itself, as it were. */
async function assertPushed(lab: Lab, registry: string, tag: string, client: RegExp): Promise<void> {
  const log = await lab.takeLog(registry)
  const isPut = (path: string) => path.split('?')[0]!.endsWith(`/manifests/${tag}`)
  const puts = log.filter(line => line.method === 'PUT' && isPut(line.path) && line.status === 201)
  assert.equal(puts.length, 1)
  assert.match(puts[0]!.userAgent, client)
}

test('pushes to a port of the registry’s own', async t => {
  const lab = await Lab.start(t, { commands, dfdaemonSettings: ownPorts })
  if (lab === undefined) return
  const given = await lab.addImage(open, 'library/given')
  const directory = await makeTestDirectory(t, 'skopeo')
  lab.after(() => removeWithMounts(directory))
  const skopeo = await ImageTool.make('skopeo', { directory, registries: [] })
  await skopeo.copy(`${ownPort(0, open)}/${given.repository}:v1`, 'given', '--src-tls-verify=false')

  for (const registry of ['basic-tls.lab', 'token-tls.lab'] as const)
    await t.test(`skopeo to ${registry}: nothing without a login, all with it`, async () => {
      const port = ownPort(0, registry)
      const place = `docker://${port}/team/skopeo:v2`
      const push = () =>
        skopeo.run('copy', '--dest-tls-verify=false', `dir:${join(directory, 'given')}`, place)
      await skopeo.login({})
      await lab.takeLog(registry)
      await assert.rejects(push(), /unauthorized|authentication required|denied/i)
      const refused = await lab.takeLog(registry)
      assert.deepEqual(
        refused.filter(line => line.method !== 'GET' && line.status < 400),
        [],
      )
      await skopeo.login({ [port]: login })
      await push()
      await assertPushed(lab, registry, 'v2', /skopeo/)
      await skopeo.copy(`${port}/team/skopeo:v2`, 'back', '--src-tls-verify=false')
      assert.deepEqual(await skopeo.digestsOf('back'), await skopeo.digestsOf('given'))
    })

  await t.test('docker to token-tls.lab mounts what another repository has', async () => {
    const port = ownPort(0, 'token-tls.lab')
    const image = await lab.addImage('token-tls.lab', 'team/given')
    const dockerd = await startDockerd(lab)
    await dockerd.login({ [port]: login })
    await dockerd.docker('pull', `${port}/team/given:v1`)
    await dockerd.docker('tag', `${port}/team/given:v1`, `${port}/team/docker:v2`)
    await lab.takeLog('token-tls.lab')
    await dockerd.docker('push', `${port}/team/docker:v2`)
    const log = await lab.takeLog('token-tls.lab')
    const mounts = log.filter(line => line.method === 'POST' && line.path.includes('mount='))
    assert.ok(mounts.some(line => line.status === 201))
    await dockerd.removeImages()
    await dockerd.docker('pull', `${port}/team/docker:v2`)
    assert.deepEqual(await dockerd.imageIds(), [image.platform.config.digest])
  })

  // On the shared port it would be lost: containerd names the registry (`ns`) when it pulls, not when it pushes.
  await t.test('ctr to basic-tls.lab by hosts.toml', async () => {
    const registry = 'basic-tls.lab'
    const containerd = new Containerd()
    lab.after(() => containerd.stop())
    await containerd.start()
    const held = `${ownPort(0, open)}/${given.repository}:v1`
    await containerd.pull(held)
    const mirror = `http://${ownPort(0, registry)}`
    const hosts = await containerd.writeHosts(registry, mirror, undefined, ['pull', 'resolve', 'push'])
    const name = `${registry}/team/ctr:v2`
    await containerd.ctr('images', 'tag', held, name)
    await lab.takeLog(registry)
    await containerd.ctr(
      'images',
      'push',
      '--platform',
      'linux/amd64',
      '--hosts-dir',
      hosts,
      '--user',
      login,
      name,
    )
    await assertPushed(lab, registry, 'v2', /containerd\//)
    await containerd.removeImages()
    await containerd.pull(name, hosts, login)
    assert.notEqual(await containerd.imageDigest(name), '')
  })
})

test('docker pushes by the registry’s own name, with the dfdaemon as its proxy', async t => {
  const registry = 'token-tls.lab'
  const lab = await Lab.start(t, {
    commands,
    dfdaemonSettings: () => ({ intercept: { hosts: [registry] } }),
  })
  if (lab === undefined) return
  const image = await lab.addImage(open, 'library/given')
  const { proxyUrl, dataDir } = lab.host(0)
  const roots = join(await makeTestDirectory(t, 'roots'), 'roots.pem')
  const files = [lab.files.roots, authorityPaths(dataDir).certificate]
  await writeFile(roots, (await Promise.all(files.map(file => readFile(file, 'utf8')))).join('\n'))
  const env = { SSL_CERT_FILE: roots, HTTP_PROXY: proxyUrl, HTTPS_PROXY: proxyUrl }
  const dockerd = await startDockerd(lab, { insecureRegistries: [open], env })
  await dockerd.docker('pull', image.name)
  await dockerd.docker('tag', image.name, `${registry}/team/proxied:v2`)
  await dockerd.login({ [registry]: login })
  await dockerd.docker('push', `${registry}/team/proxied:v2`)
  await assertPushed(lab, registry, 'v2', /docker\//)
  await dockerd.removeImages()
  await dockerd.docker('pull', `${registry}/team/proxied:v2`)
  assert.deepEqual(await dockerd.imageIds(), [image.platform.config.digest])
})
