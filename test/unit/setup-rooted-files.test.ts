// Files under a root: links lead where they would inside it, writes are whole and keep rights, several changes are done together or not at all.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, statSync, symlinkSync } from 'node:fs'
import { test } from 'node:test'
import { changeFiles } from '../../cli/setup/change-files.ts'
import { RootedFiles } from '../../cli/setup/rooted-files.ts'
import { makeSetupRoot } from '../harness/setup-root.ts'

const owner = { uid: process.geteuid!(), gid: process.getegid!() }
const file = (text: string) => ({ bytes: Buffer.from(text), mode: 0o644, owner })

test('a link leads where it would inside the root, and never out of it', async t => {
  const root = await makeSetupRoot(t, { '/opt/real/daemon.json': '{}', '/etc/passwd': 'inside' })
  symlinkSync('/opt/real', root.place('/etc/docker'))
  symlinkSync('../../../../../../../../etc/passwd', root.place('/opt/up'))
  const files = new RootedFiles(root.path)
  assert.equal(files.locate('/etc/docker/daemon.json'), root.place('/opt/real/daemon.json'))
  assert.equal(files.read('/opt/up')?.bytes.toString(), 'inside')
  files.write('/etc/docker/daemon.json', file('{"a":1}'))
  assert.equal(root.read('/opt/real/daemon.json'), '{"a":1}')
  assert.equal(root.snapshot()['/etc/docker'], 'link /opt/real', 'the link stays a link')
  assert.equal(files.locate('/etc/docker/certs.d/new'), root.place('/opt/real/certs.d/new'))
})

test('links to nothing and in a circle are refused by name', async t => {
  const root = await makeSetupRoot(t, { '/etc/x': '' })
  symlinkSync('/gone/daemon.json', root.place('/etc/dangling'))
  symlinkSync('/etc/circle', root.place('/etc/circle'))
  const files = new RootedFiles(root.path)
  assert.throws(() => files.read('/etc/dangling'), { code: 'SETUP_CONFIG_INVALID', message: /is not there/ })
  assert.throws(() => files.read('/etc/circle'), { code: 'SETUP_CONFIG_INVALID', message: /circle/ })
})

test('what is no plain file, or far too large, is refused and not waited for', async t => {
  const root = await makeSetupRoot(t, { '/etc/large': Buffer.alloc(5 * 1024 * 1024) })
  mkdirSync(root.place('/etc/directory'))
  execFileSync('mkfifo', [root.place('/etc/pipe')])
  const files = new RootedFiles(root.path)
  for (const path of ['/etc/large', '/etc/directory', '/etc/pipe']) {
    assert.throws(() => files.read(path), { code: 'SETUP_CONFIG_INVALID' }, path)
  }
})

test('a write leaves no draft behind and gives the rights that were asked for', async t => {
  const root = await makeSetupRoot(t, { '/etc/a': 'old' })
  new RootedFiles(root.path).write('/etc/a', { bytes: Buffer.from('new'), mode: 0o640, owner })
  assert.equal(root.read('/etc/a'), 'new')
  assert.equal(statSync(root.place('/etc/a')).mode & 0o777, 0o640)
  assert.deepEqual(readdirSync(root.place('/etc')), ['a'])
})

test('if a later file fails, the earlier ones are as they were, and what was made is gone', async t => {
  const root = await makeSetupRoot(t, { '/etc/a': 'old', '/etc/gone': 'kept', '/etc/file': 'no directory' })
  const files = new RootedFiles(root.path)
  const before = root.snapshot()
  assert.throws(
    () =>
      changeFiles(files, [
        { path: '/etc/a', from: files.read('/etc/a'), to: file('new') },
        { path: '/etc/gone', from: files.read('/etc/gone'), to: undefined },
        { path: '/etc/made/here/b', from: undefined, to: file('b') },
        { path: '/etc/file/c', from: undefined, to: file('c') },
      ]),
    { code: 'SETUP_UNWRITABLE', message: /\/etc\/file\/c: .*no directory/ },
  )
  assert.deepEqual(root.snapshot(), before)
})

test('a file that somebody changed meanwhile is not overwritten', async t => {
  const root = await makeSetupRoot(t, { '/etc/a': 'old' })
  const files = new RootedFiles(root.path)
  const from = files.read('/etc/a')
  root.write({ '/etc/a': 'theirs' })
  assert.throws(() => changeFiles(files, [{ path: '/etc/a', from, to: file('ours') }]), {
    code: 'SETUP_UNWRITABLE',
  })
  assert.equal(root.read('/etc/a'), 'theirs')
})

test('without permission nothing is written', async t => {
  const root = await makeSetupRoot(t, { '/etc/docker/daemon.json': '{}' })
  const setRights = (mode: number) => {
    for (const path of ['/', '/etc', '/etc/docker']) chmodSync(root.place(path), mode)
  }
  setRights(0o555)
  try {
    const before = root.snapshot()
    const setUp = () => asNobody(() => root.setup('docker'))
    assert.throws(setUp, { code: 'SETUP_UNWRITABLE', message: /no permission \(EACCES\)/ })
    assert.deepEqual(root.snapshot(), before)
  } finally {
    setRights(0o755)
  }
})

/** The superuser has every permission, so it steps down for a moment. */
function asNobody<T>(act: () => T): T {
  if (process.geteuid!() !== 0) return act()
  process.seteuid!(65_534)
  try {
    return act()
  } finally {
    process.seteuid!(0)
  }
}
