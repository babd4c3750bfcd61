// Real runtimes take what `pantala setup` writes, beside what a site has in its files, pull through Pantala by it, and past it after the undo.
import assert from 'node:assert/strict'
import { mkdir, readFile, symlink } from 'node:fs/promises'
import { test } from 'node:test'
import { authorityPaths } from '../../dfdaemon/intercept/authority/authority-files.ts'
import { Containerd, Dockerd, noProxies, runCommand } from '../harness/container-engines.ts'
import { findCommand, requireCommands } from '../harness/packages.ts'
import { makeSetupRoot, type SetupRoot } from '../harness/setup-root.ts'
import { Lab, type LabImage, user } from './lab.ts'
import { assertAllToRuntime, assertOnceToPantala } from './source-log.ts'

const http = { name: 'anonymous-http.lab', scheme: 'http' } as const
const tls = { name: 'anonymous-tls.lab' } as const

const cri = 'plugins."io.containerd.grpc.v1.cri"'
const configs = {
  'version 2, with CRI settings': `version = 2\n\n[${cri}]\n  sandbox_image = "pause:3.9"\n  [${cri}.cni]\n    bin_dir = "/opt/cni"\n`,
  'version 2, with an empty config_path': `version = 2\n[${cri}.registry]\n  config_path = "" # none\n  [${cri}.registry.mirrors]\n`,
  'version 2, credentials of the old kind, CRLF, byte order mark': `\uFEFFversion = 2\r\n[${cri}.registry.configs."a.lab".auth]\r\n  username = "x"\r\n`,
  'version 2, the registry in dotted keys': `version = 2\n[${cri}]\n  registry.headers.x-a = ["b"]\n`,
  'version 1, as Docker ships it': '#   comment\nroot = "/var/lib/containerd"\n',
  'version 2, an import with CRI settings': 'version = 2\nimports = ["/IMPORTED"]\n',
  'no file': undefined,
  'an empty file': '',
}

for (const [name, text] of Object.entries(configs)) {
  test(`containerd reads config_path: ${name}`, async t => {
    if (!requireCommands(t, 'containerd')) return
    const path = '/etc/containerd/config.toml'
    const imported = '/etc/containerd/conf.d/cni.toml'
    const root = await makeSetupRoot(t, { [imported]: `version = 2\n[${cri}.cni]\n  conf_dir = "/x"\n` })
    const place = root.place('/etc/containerd/conf.d/*.toml')
    // Imports are absolute paths for containerd, and lie under the root for the set-up; both must find the file.
    if (text?.includes('/IMPORTED')) {
      root.write({ [path]: text.replace('/IMPORTED', 'conf.d/*.toml') })
      root.setup('containerd')
      root.write({ [path]: root.read(path).replace('conf.d/*.toml', place) })
    } else {
      if (text !== undefined) root.write({ [path]: text })
      root.setup('containerd')
    }
    const { stdout } = await runCommand('containerd', ['--config', root.place(path), 'config', 'dump'])
    assert.match(stdout, /^ *config_path = "\/etc\/containerd\/certs\.d"$/m)
    if (text?.includes('/opt/cni')) assert.match(stdout, /bin_dir = "\/opt\/cni"/)
  })
}

test('ctr pulls by hosts.toml, beside a mirror of the site that is away', async t => {
  const lab = await Lab.start(t, { commands: ['containerd', 'ctr'] })
  if (lab === undefined) return
  const containerd = new Containerd({ SSL_CERT_FILE: lab.files.roots })
  lab.after(() => containerd.stop())
  await containerd.start()
  const root = await makeSetupRoot(t, {
    '/etc/containerd/certs.d/anonymous-tls.lab/hosts.toml':
      'server = "https://anonymous-tls.lab"\n\n# the site’s\n[host."http://127.0.0.1:9"]\n  capabilities = ["pull"]\n',
  })
  const certs = root.place('/etc/containerd/certs.d')
  for (const registry of [http, tls]) {
    const image = await lab.addImage(registry.name, `team/ctr-${registry.name}`)
    root.setup('containerd', { dfdaemon: lab.host().proxyUrl, registries: [registry] })
    await containerd.pull(image.name, certs)
    assertOnceToPantala(await lab.takeLog(image.registry), image)
  }
  root.setup('containerd', { dfdaemon: lab.host().proxyUrl })
  const image = await lab.addImage('anonymous-http.lab', 'team/ctr-default')
  await containerd.pull(image.name, certs)
  assertOnceToPantala(await lab.takeLog(image.registry), image)
  root.undo('containerd')
  const past = await lab.addImage('anonymous-tls.lab', 'team/ctr-undone')
  await containerd.pull(past.name, certs)
  assertAllToRuntime(await lab.takeLog(past.registry), past)
})

test('dockerd takes the mirror on SIGHUP; after the undo, a restart makes it forget it if no other is named', async t => {
  const commands = ['dockerd', 'docker', 'containerd'] as const
  const lab = await Lab.start(t, { commands })
  if (lab === undefined) return
  const path = '/etc/docker/daemon.json'
  const root = await makeSetupRoot(t, {
    [path]: '{\r\n\t"debug": true,\r\n\t"max-concurrent-downloads": 2\r\n}',
  })
  const env = { SSL_CERT_FILE: lab.files.roots }
  const start = async (): Promise<Dockerd> => {
    const started = new Dockerd({ configFile: root.place(path), env })
    lab.after(() => started.stop())
    await started.start()
    return started
  }
  let dockerd = await start()
  const mirrors = async (): Promise<unknown> => {
    const { stdout } = await dockerd.docker('info', '--format', '{{json .RegistryConfig.Mirrors}}')
    return JSON.parse(stdout)
  }
  const pull = async (name: string): Promise<LabImage> => {
    const image = await lab.addImage('docker.io', `library/${name}`)
    await dockerd.docker('pull', `${name}:v1`)
    return image
  }
  assert.equal(root.setup('docker', { dfdaemon: lab.host().proxyUrl }).activation, 'reload')
  await dockerd.reload()
  assert.deepEqual(await mirrors(), [`${lab.host().proxyUrl}/`])
  const image = await pull('set-up')
  assertOnceToPantala(await lab.takeLog(image.registry), image)

  assert.equal(root.undo('docker').activation, 'restart')
  await dockerd.reload()
  assert.deepEqual(await mirrors(), [`${lab.host().proxyUrl}/`], 'a reload is not enough')
  await dockerd.stop()
  dockerd = await start()
  assert.deepEqual(await mirrors(), [])
  const past = await pull('undone')
  assertAllToRuntime(await lab.takeLog(past.registry), past)

  root.write({ [path]: '{"registry-mirrors": ["http://127.0.0.1:9"]}' })
  root.setup('docker', { dfdaemon: lab.host().proxyUrl })
  await dockerd.reload()
  assert.equal(root.undo('docker').activation, 'reload')
  await dockerd.reload()
  assert.deepEqual(await mirrors(), ['http://127.0.0.1:9/'])
})

test('dockerd pulls from any registry through the proxy, trusting Pantala’s authority for those named', async t => {
  const registries = [tls, { name: 'token-tls.lab' }] as const
  const lab = await Lab.start(t, {
    commands: ['dockerd', 'docker', 'containerd'],
    dfdaemonSettings: () => ({ intercept: { hosts: registries.map(({ name }) => name) } }),
  })
  if (lab === undefined) return
  const { proxyUrl, dataDir } = lab.host()
  const root = await makeSetupRoot(t, { '/etc/docker/daemon.json': '{}' })
  const before = root.snapshot()
  const caPem = await readFile(authorityPaths(dataDir).certificate, 'utf8')
  root.setup('docker', { mirrors: false, proxy: proxyUrl, registries, caPem })
  // dockerd looks for certificates there and nowhere else; in the lab, what is mounted is seen by nobody outside.
  await mkdir('/etc/docker', { recursive: true })
  await runCommand('mount', ['--bind', root.place('/etc/docker'), '/etc/docker'])
  t.after(() => runCommand('umount', ['/etc/docker']))
  const start = async (env: Record<string, string>): Promise<Dockerd> => {
    const configFile = root.place('/etc/docker/daemon.json')
    const dockerd = new Dockerd({ configFile, env: { SSL_CERT_FILE: lab.files.roots, ...env } })
    lab.after(() => dockerd.stop())
    await dockerd.start()
    return dockerd
  }
  const dockerd = await start(
    environmentOf(root.read('/etc/systemd/system/docker.service.d/pantala-proxy.conf')),
  )
  await dockerd.login({ 'token-tls.lab': `${user.user}:${user.password}` })
  for (const { name } of registries) {
    const image = await lab.addImage(name, 'team/proxied')
    await dockerd.docker('pull', image.name)
    assertOnceToPantala(await lab.takeLog(name), image)
  }
  await lab.host().process.stop()
  const image = await lab.addImage(tls.name, 'team/down')
  await assert.rejects(dockerd.docker('pull', image.name), 'a proxy has no way round')
  await dockerd.stop()
  root.undo('docker')
  assert.deepEqual(omit(root.snapshot(), '/etc/docker/key.json'), before)
  const direct = await start({})
  await direct.docker('pull', image.name)
  assertAllToRuntime(await lab.takeLog(tls.name), image)
})

/** What systemd would read of a drop-in's Environment lines. */
function environmentOf(dropIn: string): Record<string, string> {
  return Object.fromEntries(
    [...dropIn.matchAll(/^Environment="(\w+)=(.*)"$/gm)].map(([, name, value]) => [name!, value!]),
  )
}

function omit(snapshot: Record<string, string>, path: string): Record<string, string> {
  return Object.fromEntries(Object.entries(snapshot).filter(([one]) => one !== path))
}

for (const command of ['podman', 'skopeo', 'buildah'] as const) {
  test(`${command} takes the mirror from registries.conf.d and from tables of the site`, async t => {
    const lab = await Lab.start(t, { commands: [command] })
    if (lab === undefined) return
    const root = await makeSetupRoot(t, {
      '/etc/containers/registries.conf': `unqualified-search-registries = ["docker.io"]\n\n[[registry]]\nlocation = "${tls.name}"\n\n[[registry.mirror]]\nlocation = "127.0.0.1:9"\ninsecure = true\n`,
      '/etc/containers/policy.json': '{"default": [{"type": "insecureAcceptAnything"}]}',
    })
    const inspect = await makeInspector(root, command, lab)
    const wish = { dfdaemon: lab.host().proxyUrl, registries: [http, tls] }
    for (const registry of [http, tls]) {
      const image = await lab.addImage(registry.name, `team/${command}-${registry.name}`)
      root.setup('podman', wish)
      await inspect(image)
      assertOnceToPantala(await lab.takeLog(image.registry), image)
    }
    root.undo('podman')
    const past = await lab.addImage(tls.name, `team/${command}-undone`)
    await inspect(past)
    assertAllToRuntime(await lab.takeLog(past.registry), past)
  })
}

/** Pulls an image with the tool; it finds the set-up as its user's own configuration, since system files are not at another place for it. */
async function makeInspector(
  root: SetupRoot,
  command: 'podman' | 'skopeo' | 'buildah',
  lab: Lab,
): Promise<(image: LabImage) => Promise<unknown>> {
  await mkdir(root.place('/home/.config'), { recursive: true })
  await symlink(root.place('/etc/containers'), root.place('/home/.config/containers'))
  const env = { ...noProxies, HOME: root.place('/home'), SSL_CERT_FILE: lab.files.roots } as Record<
    string,
    string
  >
  const storage = ['--root', root.place('/s'), '--runroot', root.place('/r'), '--storage-driver', 'vfs']
  const temporary = command === 'podman' ? ['--tmpdir', root.place('/t')] : []
  return ({ name }) =>
    command === 'skopeo'
      ? runCommand(
          'skopeo',
          ['copy', '--override-arch=amd64', `docker://${name}`, `dir:${root.place('/copy')}`],
          { env },
        )
      : runCommand(command, [...storage, ...temporary, 'pull', '--quiet', name], { env })
}

test('dockerd --validate takes daemon.json with proxies', async t => {
  if (!requireCommands(t, 'dockerd')) return
  const { stdout } = await runCommand('dockerd', ['--help'])
  if (!stdout.includes('--validate')) {
    t.diagnostic('this dockerd is older than 23 and knows neither --validate nor proxies')
    return
  }
  const root = await makeSetupRoot(t, {
    '/etc/docker/daemon.json': '{"proxies": {"http-proxy": "http://a"}}',
  })
  root.setup('docker', { proxy: 'http://127.0.0.1:65001' })
  await runCommand(findCommand('dockerd')!, [
    '--validate',
    '--config-file',
    root.place('/etc/docker/daemon.json'),
  ])
})
