// registries.conf: new registries get a file of Pantala's own; tables that are there get its mirror first, in the file that counts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NamedRegistry } from '../../cli/setup/plan.ts'
import { faultOfRegistry, planRegistriesUsers } from '../../cli/setup/runtimes/registries.ts'
import { contentOf, plainOptions, viewOf } from '../harness/setup-root.ts'

const main = '/etc/containers/registries.conf'
const dropIns = '/etc/containers/registries.conf.d'
const own = `${dropIns}/50-pantala.conf`
const quay: NamedRegistry = { name: 'quay.io' }

const plan = (files: Record<string, string>, registries: readonly NamedRegistry[] = [quay]) =>
  planRegistriesUsers(viewOf(files), [{ runtime: 'podman', options: { ...plainOptions, registries } }])

const edit = (text: string): string => {
  const { files } = plan({ [main]: text })
  const file = files.find(one => one.path === main)
  return file === undefined ? text : contentOf(file)!
}

const mirror = `
# The Pantala dfdaemon of this host.
[[registry.mirror]]
location = "127.0.0.1:65001/quay.io"
insecure = true
`

test('registries not spoken of yet come into a file of their own, Docker Hub if none is named', () => {
  const { files } = plan({}, [])
  assert.deepEqual(
    files.map(file => file.path),
    [own],
  )
  assert.equal(
    contentOf(files[0]),
    `# Registries pulled through the Pantala dfdaemon of this host; written by \`pantala setup\`.

[[registry]]
location = "docker.io"

[[registry.mirror]]
location = "127.0.0.1:65001/docker.io"
insecure = true
`,
  )
})

test('a registry’s own plain HTTP, and an address of its own, are told', () => {
  const { files } = plan({}, [
    { name: 'registry.lab:5000', scheme: 'http', dfdaemon: 'http://127.0.0.1:65010' },
    { name: 'quay.io', dfdaemon: 'https://pantala.lab' },
  ])
  assert.match(
    contentOf(files[0])!,
    /location = "registry\.lab:5000"\ninsecure = true\n\n\[\[registry\.mirror\]\]\nlocation = "127\.0\.0\.1:65010"\ninsecure = true\n/,
  )
  assert.match(
    contentOf(files[0])!,
    /\nlocation = "quay\.io"\n\n\[\[registry\.mirror\]\]\nlocation = "pantala\.lab"\n$/,
  )
})

test('a table that is there gets the mirror first, and keeps the rest', () => {
  for (const [before, after] of [
    ['[[registry]]\nlocation = "quay.io"\n', `[[registry]]\nlocation = "quay.io"\n${mirror}`],
    ['[[registry]]\nlocation = "quay.io"', `[[registry]]\nlocation = "quay.io"\n${mirror}`],
    [
      '# all\nunqualified-search-registries = ["docker.io"]\n\n[[registry]]\nprefix = "quay.io" # p\nlocation = "quay.io"\n\n# corp\n[[registry.mirror]]\nlocation = "mirror.corp"\n\n[[registry]]\nlocation = "b.lab"\n',
      `# all\nunqualified-search-registries = ["docker.io"]\n\n[[registry]]\nprefix = "quay.io" # p\nlocation = "quay.io"\n${mirror}\n# corp\n[[registry.mirror]]\nlocation = "mirror.corp"\n\n[[registry]]\nlocation = "b.lab"\n`,
    ],
    [
      '[[registry]]\nlocation = "a.lab"\n[[registry.mirror]]\nlocation = "x"\n[[registry]]\nlocation = "quay.io"\nmirror-by-digest-only = true\n[aliases]\n"a" = "b"\n',
      `[[registry]]\nlocation = "a.lab"\n[[registry.mirror]]\nlocation = "x"\n[[registry]]\nlocation = "quay.io"\nmirror-by-digest-only = true\n${mirror}[aliases]\n"a" = "b"\n`,
    ],
  ] as const) {
    assert.equal(edit(before), after)
    assert.equal(edit(after), after, 'a second time changes nothing')
  }
})

test('of several files that speak of it, the one that is loaded last is edited, or the new table would hide it', () => {
  const table = '[[registry]]\nlocation = "quay.io"\ninsecure = true\n'
  const files = {
    [main]: table,
    [`${dropIns}/10-a.conf`]: table,
    [`${dropIns}/99-z.conf`]: table,
    [`${dropIns}/zz.txt`]: '[',
  }
  assert.deepEqual(
    plan(files).files.map(file => file.path),
    [`${dropIns}/99-z.conf`],
  )
  const twice = `${table}[[registry]]\nlocation = "quay.io"\n`
  assert.equal(
    edit(twice),
    `${table}${mirror}[[registry]]\nlocation = "quay.io"\n`,
    'in one file the first table counts',
  )
})

test('where a table moves the registry elsewhere, the mirror stands for that place', () => {
  const moved = edit('[[registry]]\nprefix = "quay.io"\nlocation = "registry.corp/quay"\n')
  assert.match(moved, /location = "127\.0\.0\.1:65001\/registry\.corp\/quay"/)
  assert.throws(() => edit('[[registry]]\nprefix = "quay.io"\nlocation = "registry.corp:5000"\n'), {
    code: 'SETUP_CONFLICT',
    message: /registries\.conf:1: quay\.io is fetched from registry\.corp:5000/,
  })
})

test('settings that a new table would hide are told again, or stand against it', () => {
  const wide = plan({ [main]: '[[registry]]\nprefix = "*.lab"\ninsecure = true\n' }, [
    { name: 'registry.lab' },
  ])
  assert.match(contentOf(wide.files[0])!, /location = "registry\.lab"\ninsecure = true\n\n/)
  const old = plan({ [main]: "[registries.insecure]\nregistries = ['quay.io']\n" })
  assert.match(contentOf(old.files[0])!, /location = "quay\.io"\ninsecure = true\n\n/)
  for (const text of [
    '[[registry]]\nlocation = "quay.io"\nblocked = true\n',
    "[registries.block]\nregistries = ['quay.io']\n",
    '[[registry]]\nprefix = "*.io"\n[[registry.mirror]]\nlocation = "m"\n',
  ]) {
    assert.throws(() => plan({ [main]: text }), { code: 'SETUP_CONFLICT' }, text)
  }
})

test('narrower tables are pointed out', () => {
  const { notes } = plan({ [main]: '[[registry]]\nlocation = "quay.io/team"\n' })
  assert.match(notes.join('\n'), /quay\.io\/team has a table of its own/)
})

test('a user’s own file, which is read instead, is pointed out', () => {
  const view = viewOf({ '/home/ann/.config/containers/registries.conf': '' })
  const { notes } = planRegistriesUsers(view, [{ runtime: 'podman', options: plainOptions }], '/home/ann')
  assert.match(notes.join('\n'), /\/home\/ann\/\.config\/containers\/registries\.conf is read instead/)
})

test('tables and mirrors in inline form, and a mirror of ours behind others, are refused', () => {
  for (const text of [
    'registry = [{ location = "quay.io" }]\n',
    '[[registry]]\nlocation = "quay.io"\nmirror = [{ location = "m" }]\n',
    '[[registry]]\nlocation = "quay.io"\n[[registry.mirror]]\nlocation = "m"\n[[registry.mirror]]\nlocation = "127.0.0.1:65001/quay.io"\n',
  ]) {
    assert.throws(() => edit(text), { code: 'SETUP_CONFLICT' }, text)
  }
  assert.throws(() => edit('[[registry]]\nlocation = \n'), {
    code: 'SETUP_CONFIG_INVALID',
    message: /registries\.conf:2:/,
  })
})

test('podman’s and CRI-O’s wishes come together, unless they differ', () => {
  const users = (podman: readonly NamedRegistry[], crio: readonly NamedRegistry[]) =>
    planRegistriesUsers(viewOf({}), [
      { runtime: 'podman', options: { ...plainOptions, registries: podman } },
      { runtime: 'crio', options: { ...plainOptions, registries: crio } },
    ])
  const both = users([quay], [quay, { name: 'docker.io' }])
  assert.equal(contentOf(both.files[0])!.match(/\[\[registry\]\]/g)?.length, 2)
  assert.equal(both.files[0]!.activation, 'reload')
  assert.throws(() => users([quay], [{ name: 'quay.io', dfdaemon: 'http://127.0.0.1:65009' }]), {
    code: 'SETUP_CONFLICT',
  })
})

test('a registry that has no place in a path must have an address of its own', () => {
  assert.match(faultOfRegistry({ name: 'registry.lab:5000' })!, /can't hold a port/)
  assert.match(faultOfRegistry({ name: 'registry' })!, /without a dot/)
  assert.equal(faultOfRegistry({ name: 'registry.lab' }), undefined)
  assert.equal(faultOfRegistry({ name: 'registry:5000', dfdaemon: 'http://127.0.0.1:1' }), undefined)
})
