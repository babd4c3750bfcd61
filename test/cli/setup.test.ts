// `pantala setup` as a user runs it: what it prints, its exit codes, a dry run that writes nothing, and wrong use.
import assert from 'node:assert/strict'
import { tmpdir } from 'node:os'
import { test } from 'node:test'
import { applyPatch, parsePatch } from 'diff'
import { makeAuthority } from '../../dfdaemon/intercept/authority/authority-certificate.ts'
import { makeSetupRoot } from '../harness/setup-root.ts'
import { testCertificate as certificate, testKey as key } from '../harness/tls-certificate.ts'
import { runPantala } from './run-pantala.ts'

test('a dry run shows a diff that leads to what is then written, and writes nothing', async t => {
  const root = await makeSetupRoot(t, { '/etc/containerd/config.toml': 'version = 2\nroot = "/x"' })
  const before = root.snapshot()
  const dry = await runPantala(['setup', 'containerd', '--dry-run', '--root', root.path])
  assert.equal(dry.code, 0, dry.err)
  assert.match(dry.out, /^--- \/dev\/null\n\+\+\+ \/etc\/containerd\/certs\.d\/_default\/hosts\.toml$/m)
  assert.match(dry.out, /^\+ {2}config_path = "\/etc\/containerd\/certs\.d"$/m)
  assert.match(dry.out, /^Nothing was written/m)
  assert.deepEqual(root.snapshot(), before)

  const patches = parsePatch(dry.out.slice(0, dry.out.indexOf('Then:')))
  const shown = patches.map(patch => [
    patch.newFileName,
    applyPatch(patch.oldFileName === '/dev/null' ? '' : root.read(patch.oldFileName!), patch),
  ])
  await runPantala(['setup', 'containerd', '--root', root.path])
  const paths = ['/etc/containerd/certs.d/_default/hosts.toml', '/etc/containerd/config.toml']
  assert.deepEqual(
    shown,
    paths.map(path => [path, root.read(path)]),
  )
})

test('it says what changed and what to do, then that nothing is left to do, and undo likewise', async t => {
  const root = await makeSetupRoot(t, { '/etc/docker/daemon.json': '{}\n' })
  const before = root.snapshot()
  const run = (...words: string[]) => runPantala(['setup', 'docker', '--root', root.path, ...words])
  const first = await run()
  assert.equal(first.code, 0, first.err)
  assert.match(first.out, /^changed {2}\/etc\/docker\/daemon\.json\nThen: systemctl reload docker\n/)
  assert.match(first.out, /With the dfdaemon down, dockerd pulls Docker Hub’s images from Docker Hub\./)
  const second = await run()
  assert.deepEqual([second.code, second.out.split('\n')[0]], [0, 'docker: nothing to do, it is set up'])
  assert.match((await run('--undo', '--dry-run')).out, /^-.*registry-mirrors/m)
  assert.match(
    (await run('--undo')).out,
    /^changed {2}.*daemon\.json\nThen: systemctl restart docker\n {2}Until then/,
  )
  assert.deepEqual(root.snapshot(), before)
  assert.deepEqual(await run('--undo'), { code: 0, out: 'docker: nothing to undo\n', err: '' })
})

test('a password in a proxy’s URL is kept in the file, and shown nowhere', async t => {
  const text = '{\n  "proxies": {\n    "https-proxy": "http://ann:hunter2@proxy.lab:3128"\n  }\n}\n'
  const root = await makeSetupRoot(t, { '/etc/docker/daemon.json': text })
  const words = ['setup', 'docker', '--proxy', '--root', root.path]
  const shown = [[...words, '--dry-run'], [...words, '--dry-run', '--json'], words]
  for (const one of shown) {
    const { code, out, err } = await runPantala(one)
    assert.deepEqual([code, `${out}${err}`.includes('hunter2')], [0, false])
  }
  await runPantala(['setup', 'docker', '--undo', '--root', root.path])
  assert.equal(root.read('/etc/docker/daemon.json'), text)
})

test('--json is one object', async t => {
  const root = await makeSetupRoot(t)
  const words = ['setup', 'crio', '--registry', 'quay.io', '--root', root.path, '--json']
  const { out } = await runPantala(words)
  const { files, notes, ...rest } = JSON.parse(out)
  assert.deepEqual(rest, {
    runtime: 'crio',
    action: 'setup',
    dryRun: false,
    changed: true,
    activation: 'reload',
    command: 'systemctl reload crio',
  })
  assert.deepEqual(files, [{ path: '/etc/containers/registries.conf.d/50-pantala.conf', change: 'created' }])
  assert.ok(notes.length > 0)
  assert.equal(JSON.parse((await runPantala(words)).out).changed, false)
})

test('what stands against it is exit code 1, named, and nothing is written', async t => {
  const root = await makeSetupRoot(t, { '/etc/docker/daemon.json': '{\n  "debug": tru\n}' })
  const before = root.snapshot()
  const { code, err } = await runPantala(['setup', 'docker', '--root', root.path])
  assert.equal(code, 1)
  assert.match(err, /^pantala: .*: \/etc\/docker\/daemon\.json:2:12: a value is expected\n {2}hint: /)
  assert.deepEqual(root.snapshot(), before)
})

test('the proxy’s trust wants the authority’s certificate, from its place or as told, and no key', async t => {
  const root = await makeSetupRoot(t)
  const words = ['setup', 'docker', '--proxy', '--registry', 'registry.lab:5000', '--root', root.path]
  const none = await runPantala(words)
  assert.deepEqual([none.code, root.has('/etc')], [1, false])
  assert.match(none.err, /intercept-ca\/ca\.crt is not there; .* pantala ca init/)
  const place = '/var/lib/pantala/dfdaemon/intercept-ca/ca.crt'
  root.write({ [place]: certificate + key })
  assert.match((await runPantala(words)).err, /holds a private key/)
  root.write({ [place]: certificate })
  assert.equal((await runPantala(words)).code, 0)
  assert.equal(root.read('/etc/docker/certs.d/registry.lab:5000/pantala.crt'), certificate)
  root.write({ '/opt/other.crt': certificate })
  assert.equal((await runPantala([...words, '--ca', root.place('/opt/other.crt')])).code, 0)
  const narrow = await makeAuthority(['other.lab'], 'test', Date.now())
  root.write({ '/opt/narrow.crt': narrow.certificate })
  const refused = await runPantala([...words, '--ca', root.place('/opt/narrow.crt')])
  assert.match(
    refused.err,
    /can't vouch for registry\.lab; add to intercept\.hosts, then pantala ca init --force/,
  )
  await runPantala(['setup', 'docker', '--undo', '--root', root.path])
  assert.deepEqual([root.has('/etc'), root.has(place)], [false, true])
})

test('wrong use is exit code 2', async () => {
  for (const [words, message] of [
    [['rkt'], /unknown command 'rkt'/],
    [['docker', '--dfdaemon', 'nowhere'], /must be an http/],
    [['docker', '--dfdaemon', 'http://127.0.0.1:65001/x'], /host and a port only/],
    [['docker', '--dfdaemon', 'http://me:pw@127.0.0.1:65001'], /host and a port only/],
    [['containerd', '--registry', 'a b'], /must be a registry/],
    [['containerd', '--registry', 'docker.io', '--registry', 'index.docker.io'], /named twice/],
    [['containerd', '--registry', 'a.lab:70000'], /must be a registry/],
    [['podman', '--registry', 'registry.lab:5000'], /can't hold a port/],
    [['podman', '--proxy'], /unknown option/],
    [['docker', '--no-mirrors'], /nothing to do/],
    [['docker', '--ca', 'x'], /for --proxy/],
    [['containerd', '--root', '/nonexistent'], /no directory/],
    [['containerd', '--undo', '--registry', 'a.lab'], /takes everything back/],
  ] as const) {
    const { code, err } = await runPantala([
      'setup',
      ...words,
      '--dry-run',
      ...(words.includes('--root' as never) ? [] : ['--root', tmpdir()]),
    ])
    assert.equal(code, 2, `${words.join(' ')}: ${err}`)
    assert.match(err, message)
  }
})
