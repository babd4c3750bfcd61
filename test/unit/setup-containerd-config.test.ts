// config_path comes under the table that containerd reads for the file's version, whatever way the file is written in; the rest stays.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planContainerd } from '../../cli/setup/runtimes/containerd.ts'
import { planContainerdConfig } from '../../cli/setup/runtimes/containerd-config.ts'
import { contentOf, plainOptions, viewOf } from '../harness/setup-root.ts'

const path = '/etc/containerd/config.toml'
const cri = 'plugins."io.containerd.grpc.v1.cri"'
const certs = 'config_path = "/etc/containerd/certs.d"'

const edit = (text: string): string => {
  const { file } = planContainerdConfig(viewOf({ [path]: text }), path)
  return file === undefined ? text : contentOf(file)!
}

test('each version has its table', () => {
  for (const [before, added] of [
    ['version = 2\n', `\n[${cri}.registry]\n  ${certs}\n`],
    ['version = 3\n', `\n[plugins."io.containerd.cri.v1.images".registry]\n  ${certs}\n`],
    ['version = 1\nroot = "/x"\n', `\n[plugins.cri.registry]\n  ${certs}\n`],
    ['root = "/x"\n', `\n[plugins.cri.registry]\n  ${certs}\n`],
    ['', `version = 2\n\n[${cri}.registry]\n  ${certs}\n`],
    ['# nothing yet\n', `version = 2\n\n[${cri}.registry]\n  ${certs}\n`],
    ['version = 2', `\n\n[${cri}.registry]\n  ${certs}\n`],
    ['version = 2\r\nroot = "/x"\r\n', `\r\n[${cri}.registry]\r\n  ${certs}\r\n`],
  ] as const) {
    assert.equal(edit(before), before + added)
    assert.equal(edit(before + added), before + added, 'a second time changes nothing')
  }
  const absent = planContainerdConfig(viewOf({}), path)
  assert.equal(contentOf(absent.file), `version = 2\n\n[${cri}.registry]\n  ${certs}\n`)
  assert.equal(absent.file?.activation, 'restart')
})

test('where the table or the key is there, only a line is added or changed', () => {
  for (const [before, after] of [
    [
      `version = 2\n  [${cri}.registry] # here\n    x = 1\n[debug]\n`,
      `version = 2\n  [${cri}.registry] # here\n    ${certs}\n    x = 1\n[debug]\n`,
    ],
    [
      `version = 2\n  [${cri}.registry]\n  [${cri}.registry.mirrors]\n`,
      `version = 2\n  [${cri}.registry]\n    ${certs}\n  [${cri}.registry.mirrors]\n`,
    ],
    [
      `version = 2\n[${cri}.registry]\n      config_path = ""  # default\n      y = 2\n`,
      `version = 2\n[${cri}.registry]\n      ${certs}  # default\n      y = 2\n`,
    ],
    [`version = 2\n[${cri}]\nregistry.config_path = ''\n`, `version = 2\n[${cri}]\nregistry.${certs}\n`],
    [
      `version = 2\n[${cri}]\n  registry.headers.a = ["b"]\n  z = 1\n`,
      `version = 2\n[${cri}]\n  registry.headers.a = ["b"]\n  registry.${certs}\n  z = 1\n`,
    ],
    [
      "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n\tconfig_path = ''\n",
      'version = 3\n[plugins.\'io.containerd.cri.v1.images\'.registry]\n\tconfig_path = "/etc/containerd/certs.d"\n',
    ],
    [`version = 2\n[${cri}.registry]`, `version = 2\n[${cri}.registry]\n  ${certs}\n`],
  ] as const) {
    assert.equal(edit(before), after)
    assert.equal(edit(after), after)
  }
})

test('a directory that was chosen already is where hosts.toml goes', () => {
  const text = `version = 2\n[${cri}.registry]\n  config_path = "/opt/hosts.d"\n`
  const plan = planContainerd(viewOf({ [path]: text }), plainOptions)
  assert.deepEqual(
    plan.files.map(file => file.path),
    ['/opt/hosts.d/_default/hosts.toml'],
  )
})

test('of a list of directories the first is taken, and what that hides or breaks is said', () => {
  const text = `version = 3\n[plugins."io.containerd.cri.v1.images".registry]\n  config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"\n`
  const plan = planContainerd(
    viewOf({
      [path]: text,
      '/etc/docker/certs.d/registry.lab/ca.crt': 'x',
      '/etc/containerd/certs.d/quay.io/hosts.toml': '',
    }),
    plainOptions,
  )
  assert.deepEqual(
    plan.files.map(file => file.path),
    ['/etc/containerd/certs.d/_default/hosts.toml'],
  )
  const notes = plan.notes.join('\n')
  assert.match(notes, /2\.1 to 2\.2\.0 may take such a list for one directory/)
  assert.match(notes, /registry\.lab: what \/etc\/docker\/certs\.d says of it is not read any more/)
  assert.match(notes, /quay\.io: has a directory of its own/)
})

test('mirrors of the old kind are refused by line, since containerd then starts without CRI', () => {
  for (const [text, message] of [
    [
      `version = 2\n[${cri}.registry.mirrors."docker.io"]\n  endpoint = ["https://m"]\n`,
      /config\.toml:2: registry\.mirrors is set, which is deprecated/,
    ],
    [
      `version = 3\n[plugins."io.containerd.cri.v1.images".registry]\n[plugins."io.containerd.cri.v1.images".registry.mirrors."*"]\nendpoint = []\n`,
      /config\.toml:3: registry\.mirrors/,
    ],
    [`[plugins.cri.registry.mirrors.a]\nendpoint = ["https://m"]\n`, /config\.toml:1: registry\.mirrors/],
    [
      `version = 2\n[${cri}.registry.configs."registry.lab".tls]\n  ca_file = "/x"\n`,
      /config\.toml:2: registry\.configs has tls settings/,
    ],
  ] as const) {
    assert.throws(() => edit(text), { code: 'SETUP_CONFLICT', message })
  }
  const empty = `version = 2\n[${cri}.registry]\n  config_path = ""\n  [${cri}.registry.mirrors]\n`
  assert.match(edit(empty), /certs\.d/, 'as containerd’s own default file has it, empty, it does no harm')
})

test('the last file that has CRI’s section is edited: older containerd takes the section from there whole', () => {
  const view = viewOf({
    [path]: `version = 2\nimports = ["conf.d/*.toml"]\n[${cri}.registry]\n  config_path = "/old"\n`,
    '/etc/containerd/conf.d/10-a.toml': `version = 2\n[${cri}.cni]\n  bin_dir = "/x"\n`,
    '/etc/containerd/conf.d/20-b.toml': 'version = 2\n[debug]\n  level = "info"\n',
    '/etc/containerd/conf.d/note.txt': 'not read',
  })
  const { file } = planContainerdConfig(view, path)
  assert.equal(file?.path, '/etc/containerd/conf.d/10-a.toml')
  const mirrors = viewOf({
    [path]: 'version = 2\nimports = ["/opt/x.toml"]\n',
    '/opt/x.toml': `version = 2\n[${cri}.registry.mirrors."a"]\n  endpoint = ["https://m"]\n`,
  })
  assert.throws(() => planContainerdConfig(mirrors, path), { message: /\/opt\/x\.toml:2/ })
})

test('a drop-in that only containerd 2.2 and later reads is heeded: its directory is taken, its mirrors stand against it', () => {
  const dropIn = '/etc/containerd/conf.d/site.toml'
  const main = { [path]: 'version = 3\n' }
  const images = 'plugins."io.containerd.cri.v1.images".registry'
  const { file, hostDirectories } = planContainerdConfig(
    viewOf({ ...main, [dropIn]: `[${images}]\nconfig_path = "/opt/certs"\n` }),
    path,
  )
  assert.deepEqual(hostDirectories, ['/opt/certs'])
  assert.equal(contentOf(file), `version = 3\n\n[${images}]\n  config_path = "/opt/certs"\n`)
  const mirrors = viewOf({ ...main, [dropIn]: `[${images}.mirrors.a]\nendpoint = ["https://m"]\n` })
  assert.throws(() => planContainerdConfig(mirrors, path), {
    code: 'SETUP_CONFLICT',
    message: /site\.toml:1/,
  })
  const other = viewOf({
    [path]: 'version = 3\nimports = []\n',
    [dropIn]: `[${images}.mirrors.a]\nendpoint = []\n`,
  })
  assert.match(
    contentOf(planContainerdConfig(other, path).file)!,
    /certs\.d/,
    'a list of imports stands for all',
  )
})

test('files that import each other end', () => {
  const view = viewOf({
    [path]: 'version = 2\nimports = ["/opt/*.toml"]\n',
    '/opt/a.toml': `version = 2\nimports = ["${path}", "a.toml"]\n`,
  })
  assert.equal(planContainerdConfig(view, path).file?.path, path)
})

test('a table that can’t be added to is refused, not overwritten', () => {
  assert.throws(() => edit(`version = 2\n[${cri}]\n  registry = { headers = {} }\n`), {
    code: 'SETUP_CONFLICT',
    message: /can't be edited safely/,
  })
  assert.throws(() => edit('version = 2\nplugins = 3\n'), { code: 'SETUP_CONFLICT' })
})

test('broken TOML and wrong kinds are refused by place', () => {
  assert.throws(() => edit('version = 2\n[plugins\n'), {
    code: 'SETUP_CONFIG_INVALID',
    message: /config\.toml:2:/,
  })
  assert.throws(() => edit('version = "2"\n'), { code: 'SETUP_CONFIG_INVALID', message: /version/ })
  assert.throws(() => edit(`version = 2\n[${cri}.registry]\nconfig_path = 3\n`), { message: /config_path/ })
})

test('that CRI is off is said', () => {
  const { notes } = planContainerdConfig(viewOf({ [path]: 'disabled_plugins = ["cri"]\n' }), path)
  assert.match(notes.join(), /CRI is off in .*config\.toml/)
})
