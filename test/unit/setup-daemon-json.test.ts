// daemon.json comes to name Pantala first among registry-mirrors, as others wrote the file in every other respect.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { editDaemonJson, takeBackDaemonJson } from '../../cli/setup/runtimes/daemon-json.ts'
import { planDocker } from '../../cli/setup/runtimes/docker.ts'
import { applyEdits } from '../../cli/setup/text/text-edits.ts'
import { contentOf, plainOptions, dfdaemonUrl as url, viewOf } from '../harness/setup-root.ts'

const path = '/etc/docker/daemon.json'
const edit = (text: string): string => applyEdits(text, editDaemonJson(path, text, { mirror: url }))

test('other keys, their order and the spacing stay', () => {
  for (const [before, after] of [
    ['', `{\n  "registry-mirrors": ["${url}"]\n}\n`],
    ['\n', `{\n  "registry-mirrors": ["${url}"]\n}\n`],
    ['{}', `{\n  "registry-mirrors": ["${url}"]\n}`],
    ['{}\n', `{\n  "registry-mirrors": ["${url}"]\n}\n`],
    [
      '{\n  "log-driver": "json-file",\n  "debug": true\n}\n',
      `{\n  "log-driver": "json-file",\n  "debug": true,\n  "registry-mirrors": ["${url}"]\n}\n`,
    ],
    ['{\r\n\t"debug": true\r\n}', `{\r\n\t"debug": true,\r\n\t"registry-mirrors": ["${url}"]\r\n}`],
    ['\uFEFF{"a":1}', `\uFEFF{"a":1,"registry-mirrors":["${url}"]}`],
    [
      '{ "registry-mirrors": ["https://mirror.corp"], "bip": "10.0.0.1/24" }',
      `{ "registry-mirrors": ["${url}", "https://mirror.corp"], "bip": "10.0.0.1/24" }`,
    ],
    [
      '{\n    "registry-mirrors": [\n        "https://a",\n        "https://b"\n    ]\n}\n',
      `{\n    "registry-mirrors": [\n        "${url}",\n        "https://a",\n        "https://b"\n    ]\n}\n`,
    ],
    ['{"registry-mirrors":[]}', `{"registry-mirrors":["${url}"]}`],
  ] as const) {
    assert.equal(edit(before), after)
    assert.equal(edit(after), after, 'a second time changes nothing')
  }
})

test('the mirror that is there already is known with a slash too', () => {
  const text = `{"registry-mirrors": ["${url}/"]}`
  assert.equal(edit(text), text)
})

test('of a key that is there twice, the one that dockerd takes is edited', () => {
  assert.equal(
    edit('{"registry-mirrors": ["https://a"], "registry-mirrors": ["https://b"]}'),
    `{"registry-mirrors": ["https://a"], "registry-mirrors": ["${url}", "https://b"]}`,
  )
})

test('what dockerd would not start with is refused, by file, line and column', () => {
  for (const [text, message] of [
    ['{\n  "debug": true,\n}\n', /daemon\.json:3:1: nothing follows the comma/],
    ['[]', /daemon\.json:1:1: an object/],
    ['{\n  "registry-mirrors": "https://a"\n}', /daemon\.json:2:23: registry-mirrors must be a list/],
    ['{"registry-mirrors": ["https://a", 1]}', /daemon\.json:1:36: .*list of strings/],
  ] as const) {
    assert.throws(() => edit(text), { code: 'SETUP_CONFIG_INVALID', message })
  }
})

test('Pantala’s part comes out of a file that others went on to write', () => {
  const mine = (before: string | undefined): string =>
    applyEdits(before ?? '', editDaemonJson(path, before ?? '', { mirror: url }))
  for (const [before, changed, left] of [
    // Somebody added a key and had another program print it anew.
    [
      undefined,
      `{\n    "registry-mirrors": [\n        "${url}"\n    ],\n    "debug": true\n}`,
      '{\n    "debug": true\n}',
    ],
    [undefined, `{ "registry-mirrors": ["${url}"] }`, ''],
    [
      '{"registry-mirrors":["https://a"]}',
      `{"registry-mirrors":["https://b","${url}","https://a"]}`,
      '{"registry-mirrors":["https://b","https://a"]}',
    ],
    ['{"registry-mirrors":[]}', `{"registry-mirrors":["${url}"],"x":1}`, '{"registry-mirrors":[],"x":1}'],
  ] as const) {
    assert.equal(takeBackDaemonJson(changed, before, mine(before)), left)
  }
})

test('with the containerd image store, hosts.toml is written too', () => {
  const view = viewOf({ [path]: '{"features": {"containerd-snapshotter": true}}' })
  const hosts = '/etc/docker/certs.d/_default/hosts.toml'
  assert.deepEqual(
    planDocker(view, plainOptions).files.map(file => file.path),
    [path, hosts],
  )
  const off = viewOf({ [path]: '{"features": {"containerd-snapshotter": false}}' })
  assert.deepEqual(
    planDocker(off, plainOptions).files.map(file => file.path),
    [path],
  )
  const told = planDocker(viewOf({}), {
    ...plainOptions,
    containerdStore: true,
    mirrors: false,
    registries: [{ name: 'registry.lab:5000', scheme: 'http' }],
  })
  assert.deepEqual(told.files.map(contentOf), [
    `server = "http://registry.lab:5000"

# The Pantala dfdaemon of this host; put here by \`pantala setup docker\`, taken out by its --undo.
[host."${url}"]
  capabilities = ["pull", "resolve"]
`,
  ])
})

test('a mirror given to dockerd as a flag stands against it, since dockerd does not start with both', () => {
  for (const [file, text] of [
    ['/etc/default/docker', '# x\nDOCKER_OPTS="--registry-mirror=https://a"\n'],
    [
      '/lib/systemd/system/docker.service',
      '\n[Service]\nExecStart=/usr/bin/dockerd \\\n  --registry-mirror https://a\n',
    ],
  ] as const) {
    assert.throws(() => planDocker(viewOf({ [file]: text }), plainOptions), {
      code: 'SETUP_CONFLICT',
      message: new RegExp(`${file}:[23] gives dockerd --registry-mirror`),
    })
  }
  const comment = viewOf({ '/etc/default/docker': '#DOCKER_OPTS="--registry-mirror=https://a"\n' })
  assert.equal(planDocker(comment, plainOptions).files.length, 1)
})

test('a daemon.json at another place is found by dockerd’s own flag', () => {
  const unit = '[Service]\nExecStart=/usr/bin/dockerd --config-file=/opt/docker.json\n'
  const plan = planDocker(viewOf({ '/etc/systemd/system/docker.service': unit }), plainOptions)
  assert.deepEqual(
    plan.files.map(file => file.path),
    ['/opt/docker.json'],
  )
})
