// Stories of setting runtimes up on hosts with a life before and after: repeated, changed by others, cut off, undone in any order.
import assert from 'node:assert/strict'
import { chmodSync, statSync, symlinkSync, unlinkSync } from 'node:fs'
import { test } from 'node:test'
import { makeSetupRoot, dfdaemonUrl as url } from '../harness/setup-root.ts'

const daemonJson = '/etc/docker/daemon.json'
const configToml = '/etc/containerd/config.toml'
const defaultHosts = '/etc/containerd/certs.d/_default/hosts.toml'
const ownConf = '/etc/containers/registries.conf.d/50-pantala.conf'

const site = {
  [daemonJson]: '{\r\n\t"log-driver": "journald",\r\n\t"registry-mirrors": ["https://mirror.corp"]\r\n}',
  [configToml]:
    '\uFEFF# ours\nversion = 2\n[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "pause:3.9"\n',
  '/etc/containerd/certs.d/registry.lab:5000/hosts.toml': 'server = "https://registry.lab:5000"\n',
  '/etc/containers/registries.conf':
    '[[registry]]\nlocation = "quay.io"\n\n  [[registry.mirror]]\n  location = "m"',
}

test('all four runtimes, twice each, undone in another order: every byte and every right is as before', async t => {
  const root = await makeSetupRoot(t, site)
  chmodSync(root.place(daemonJson), 0o600)
  const before = root.snapshot()
  const registries = [{ name: 'registry.lab:5000' }]
  const quay = [{ name: 'quay.io' }, { name: 'docker.io' }]
  const run = () => [
    root.setup('docker', { proxy: url, registries, caPem: 'PEM\n' }),
    root.setup('containerd', { registries }),
    root.setup('podman', { registries: quay }),
    root.setup('crio', { registries: quay }),
  ]
  assert.deepEqual(
    run().map(result => result.changes.length),
    [3, 2, 2, 0],
  )
  assert.equal(statSync(root.place(daemonJson)).mode & 0o777, 0o600)
  const set = root.snapshot()
  assert.deepEqual(
    run().map(result => result.changes.length),
    [0, 0, 0, 0],
  )
  assert.deepEqual(root.snapshot(), set, 'the second time nothing is written, not even the records')
  for (const runtime of ['podman', 'docker', 'crio', 'containerd'] as const) root.undo(runtime)
  assert.deepEqual(root.snapshot(), before)
  for (const runtime of ['podman', 'docker', 'crio', 'containerd'] as const)
    assert.deepEqual(root.undo(runtime).changes, [])
})

test('an empty host comes back empty', async t => {
  const root = await makeSetupRoot(t)
  const before = root.snapshot()
  for (const runtime of ['docker', 'containerd', 'podman', 'crio'] as const) root.setup(runtime)
  for (const runtime of ['docker', 'containerd', 'podman', 'crio'] as const) root.undo(runtime)
  assert.deepEqual(root.snapshot(), before)
})

test('another wish replaces the one before; undo goes back to the time before both', async t => {
  const root = await makeSetupRoot(t, site)
  const before = root.snapshot()
  root.setup('containerd')
  assert.ok(root.has(defaultHosts))
  root.setup('containerd', { dfdaemon: 'http://127.0.0.1:7000', registries: [{ name: 'registry.lab:5000' }] })
  assert.ok(!root.has('/etc/containerd/certs.d/_default'))
  const hosts = root.read('/etc/containerd/certs.d/registry.lab:5000/hosts.toml')
  assert.match(hosts, /^server = .*\n\n# .*\n\[host\."http:\/\/127\.0\.0\.1:7000"\]/)
  root.undo('containerd')
  assert.deepEqual(root.snapshot(), before)
})

test('podman leaves, CRI-O stays: what only podman wanted goes', async t => {
  const root = await makeSetupRoot(t, site)
  root.setup('podman', { registries: [{ name: 'quay.io' }] })
  root.setup('crio', { registries: [{ name: 'docker.io' }] })
  assert.match(root.read('/etc/containers/registries.conf'), /127\.0\.0\.1:65001\/quay\.io/)
  const result = root.undo('podman')
  assert.deepEqual(result.standing, ['crio'])
  assert.equal(root.read('/etc/containers/registries.conf'), site['/etc/containers/registries.conf'])
  assert.match(root.read(ownConf), /127\.0\.0\.1:65001\/docker\.io/)
})

test('CRI-O must reload even where podman wrote the same before', async t => {
  const root = await makeSetupRoot(t)
  assert.equal(root.setup('podman').activation, 'nothing')
  const result = root.setup('crio')
  assert.deepEqual([result.changes.length, result.activation], [0, 'reload'])
  assert.equal(root.setup('crio').activation, 'nothing')
})

test('others go on writing: undo takes out Pantala’s part and leaves theirs', async t => {
  const root = await makeSetupRoot(t, site)
  root.setup('docker')
  root.setup('containerd')
  root.setup('podman', { registries: [{ name: 'docker.io' }, { name: 'quay.io' }] })
  root.write({
    [daemonJson]: JSON.stringify({ ...JSON.parse(root.read(daemonJson)), debug: true }, undefined, 4),
    [configToml]: `${root.read(configToml)}\n[debug]\n  level = "info"\n`,
    [defaultHosts]: `${root.read(defaultHosts)}\n[host."https://other"]\n`,
    [ownConf]: `# of mine\n${root.read(ownConf)}`,
  })
  for (const runtime of ['docker', 'containerd', 'podman'] as const) root.undo(runtime)
  assert.equal(
    root.read(daemonJson),
    JSON.stringify(
      { 'log-driver': 'journald', 'registry-mirrors': ['https://mirror.corp'], debug: true },
      undefined,
      4,
    ),
  )
  assert.equal(root.read(configToml), `${site[configToml]}\n[debug]\n  level = "info"\n`)
  assert.equal(root.read(defaultHosts), '\n[host."https://other"]\n')
  assert.equal(root.read(ownConf), '# of mine\n')
  assert.ok(!root.has('/var'))
})

test('others changed Pantala’s own lines: undo says which file, changes nothing, and goes through by force', async t => {
  const root = await makeSetupRoot(t, site)
  root.setup('containerd')
  root.write({ [defaultHosts]: `${root.read(defaultHosts)}  skip_verify = true\n` })
  const changed = root.snapshot()
  assert.throws(() => root.undo('containerd'), {
    code: 'SETUP_CHANGED_SINCE',
    message: /_default\/hosts\.toml/,
  })
  assert.deepEqual(root.snapshot(), changed)
  assert.deepEqual(root.setup('containerd').changes, [], 'it is set up all the same')
  root.undo('containerd', true)
  assert.equal(root.read(configToml), site[configToml])
  assert.ok(!root.has(defaultHosts))
})

test('force gives up only what can’t be told apart', async t => {
  const root = await makeSetupRoot(t, site)
  root.setup('containerd')
  root.write({
    [defaultHosts]: `${root.read(defaultHosts)}  skip_verify = true\n`,
    [configToml]: `${root.read(configToml)}\n[debug]\n  level = "info"\n`,
  })
  root.undo('containerd', true)
  assert.ok(!root.has(defaultHosts))
  assert.equal(root.read(configToml), `${site[configToml]}\n[debug]\n  level = "info"\n`)
})

test('after others changed a file, setting up again keeps what they wrote, now and after the undo', async t => {
  const root = await makeSetupRoot(t, site)
  root.setup('docker')
  const theirs = JSON.stringify({ ...JSON.parse(root.read(daemonJson)), debug: true })
  root.write({ [daemonJson]: theirs })
  root.setup('docker', { dfdaemon: 'http://127.0.0.1:7000' })
  assert.deepEqual(JSON.parse(root.read(daemonJson)), {
    'log-driver': 'journald',
    'registry-mirrors': ['http://127.0.0.1:7000', 'https://mirror.corp'],
    debug: true,
  })
  root.undo('docker')
  assert.deepEqual(JSON.parse(root.read(daemonJson)), {
    'log-driver': 'journald',
    'registry-mirrors': ['https://mirror.corp'],
    debug: true,
  })
})

test('files that somebody removed or put back meanwhile are left so', async t => {
  const root = await makeSetupRoot(t, site)
  root.setup('containerd')
  unlinkSync(root.place(defaultHosts))
  root.write({ [configToml]: site[configToml] })
  assert.deepEqual(root.undo('containerd').changes, [])
  assert.ok(!root.has('/var'))
  assert.equal(root.read(configToml), site[configToml])
})

test('rights that somebody gave a file since stay', async t => {
  const root = await makeSetupRoot(t, site)
  root.setup('docker')
  chmodSync(root.place(daemonJson), 0o640)
  assert.deepEqual(root.setup('docker').changes, [])
  root.undo('docker')
  assert.equal(statSync(root.place(daemonJson)).mode & 0o777, 0o640)
  assert.equal(root.read(daemonJson), site[daemonJson])
})

test('a set-up cut off between its record and its files is undone or finished', async t => {
  for (const last of ['undo', 'setup'] as const) {
    const root = await makeSetupRoot(t, site)
    const before = root.snapshot()
    root.setup('containerd')
    const done = root.snapshot()
    // As if the machine had stopped after the first file.
    root.write({ [configToml]: site[configToml] })
    if (last === 'undo') root.undo('containerd')
    else root.setup('containerd')
    assert.deepEqual(root.snapshot(), last === 'undo' ? before : done)
  }
})

test('a second set-up cut off midway leaves files of the first; they are known for Pantala’s', async t => {
  const root = await makeSetupRoot(t, site)
  const before = root.snapshot()
  root.setup('containerd')
  const first = root.read(defaultHosts)
  root.setup('containerd', { dfdaemon: 'http://127.0.0.1:7000' })
  root.write({ [defaultHosts]: first })
  root.undo('containerd')
  assert.deepEqual(root.snapshot(), before)
})

test('what cannot be read or stands against it stops everything, and nothing is written', async t => {
  const root = await makeSetupRoot(t, {
    [configToml]:
      'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."a"]\n  endpoint = ["https://m"]\n',
    [daemonJson]: '{\n  "debug": true,\n}\n',
    '/etc/containers/registries.conf': '[[registry]\n',
  })
  const before = root.snapshot()
  assert.throws(() => root.setup('containerd'), { code: 'SETUP_CONFLICT' })
  assert.throws(() => root.setup('docker'), { code: 'SETUP_CONFIG_INVALID', message: /daemon\.json:3:1/ })
  assert.throws(() => root.setup('crio'), { code: 'SETUP_CONFIG_INVALID', message: /registries\.conf:1/ })
  root.write({ [daemonJson]: Buffer.from([0x7b, 0xff, 0x7d]) })
  assert.throws(() => root.setup('docker'), { code: 'SETUP_CONFIG_INVALID', message: /not UTF-8/ })
  root.write({ [daemonJson]: '{\n  "debug": true,\n}\n' })
  assert.deepEqual(root.snapshot(), before)
})

test('if a file can’t be written, the record goes too', async t => {
  const root = await makeSetupRoot(t, { ...site, '/etc/containerd/certs.d/_default': 'no directory' })
  const before = root.snapshot()
  assert.throws(() => root.setup('containerd'), { code: /SETUP_/ })
  assert.deepEqual(root.snapshot(), before)
})

test('a linked configuration stays a link, and its target comes back', async t => {
  const root = await makeSetupRoot(t, { '/opt/site/daemon.json': '{}\n', '/etc/docker/x': '' })
  symlinkSync('../../opt/site/daemon.json', root.place(daemonJson))
  const before = root.snapshot()
  root.setup('docker')
  assert.match(root.read('/opt/site/daemon.json'), /registry-mirrors/)
  root.undo('docker')
  assert.deepEqual(root.snapshot(), before)
})

test('a damaged record is not acted upon', async t => {
  const root = await makeSetupRoot(t, site)
  root.setup('docker')
  const manifest = '/var/lib/pantala/setup/docker/manifest.json'
  const record = root.read(manifest)
  for (const damaged of [
    '',
    '{"version":2}',
    record.replace('"/etc/docker', '"../docker'),
    record.slice(9),
  ]) {
    root.write({ [manifest]: damaged })
    assert.throws(() => root.undo('docker'), { code: 'SETUP_CONFIG_INVALID', message: /manifest\.json/ })
  }
  root.write({ [manifest]: record })
  root.undo('docker')
  assert.equal(root.read(daemonJson), site[daemonJson])
})
