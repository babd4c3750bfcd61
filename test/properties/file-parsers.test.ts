// Files that people and other programs write, with anything in them: our YAML, the runtimes' TOML and JSON, files of credentials. Refused by
// name, or read; and what setup would write is read by it again.
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import type { ConfigView, PlannedFile } from '../../cli/setup/plan.ts'
import { planContainerdConfig } from '../../cli/setup/runtimes/containerd-config.ts'
import { editDaemonJson } from '../../cli/setup/runtimes/daemon-json.ts'
import { planHosts } from '../../cli/setup/runtimes/hosts-toml.ts'
import { ownFile, planRegistries } from '../../cli/setup/runtimes/registries-conf.ts'
import { applyEdits, takeBackEdits } from '../../cli/setup/text/text-edits.ts'
import { parseToml } from '../../cli/setup/text/toml-text.ts'
import { dfdaemonOptions } from '../../dfdaemon/config.ts'
import { nestValues, resolveOptions } from '../../shared/config/resolve.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { CredentialsFault, readCredentials } from '../../shared/source/credentials/docker-config.ts'
import { fuzz, nearly } from '../harness/fuzz.ts'

const directory = await mkdtemp(join(tmpdir(), 'pantala-files-'))
after(() => rmSync(directory, { recursive: true }))

const dfdaemon = 'http://127.0.0.1:65001'
const told = (error: unknown) => (error instanceof Error ? (error.stack ?? error.message) : String(error))
const isRefusal = (error: unknown) =>
  isPantalaError(error, 'SETUP_CONFIG_INVALID') || isPantalaError(error, 'SETUP_CONFLICT')

/** Files by path. */
function viewOf(files: Readonly<Record<string, string>>): ConfigView {
  return {
    read: path => files[path],
    list: parent => {
      const below = Object.keys(files).filter(path => path.startsWith(`${parent}/`))
      return [...new Set(below.map(path => path.slice(parent.length + 1).split('/')[0]!))].sort()
    },
  }
}

/** Each change can be taken back to the byte, and what it makes is TOML. */
function checkPlanned(files: readonly PlannedFile[]): void {
  for (const { before, edits, format } of files) {
    const text = applyEdits(before ?? '', edits)
    if (format === 'toml') parseToml(text)
    assert.equal(takeBackEdits(text, edits), before ?? '')
  }
}

function refusesOrPlans(plan: () => readonly PlannedFile[]): void {
  let files: readonly PlannedFile[]
  try {
    files = plan()
  } catch (error) {
    assert.ok(isRefusal(error), told(error))
    return
  }
  checkPlanned(files)
}

const yaml = [
  'name: a\nzone: b\nsupernode:\n  addresses: []\nstore:\n  quotaBytes: 50GiB\n',
  'proxy: {address: "127.0.0.1:1", registries: {"127.0.0.1:2": reg.lab}}\n',
  'upstreams:\n  registries:\n    reg.lab: {mirrors: ["http://m.lab"], insecure: true}\n',
  'store.quotaBytes: 1\nlog:\n  level: debug\n',
]
const yamlTokens = [
  '\n',
  '  ',
  '\t',
  ':',
  ': ',
  '- ',
  '&a ',
  '*a',
  '!!js/function ',
  '!!binary ',
  '{',
  '}',
  '[',
  ']',
  '"',
  "'",
  '|',
  '>',
  '? ',
  '%YAML 1.1\n',
  '---\n',
  '...',
  '<<: ',
  'null',
  '.nan',
  '~',
  '1e999',
  '__proto__: ',
  'constructor: ',
  '\0',
  '\uFEFF',
]

test('a configuration file of ours: values within their bounds, or CONFIG_INVALID with every fault', t => {
  const file = join(directory, 'config.yaml')
  const read = () =>
    nestValues(resolveOptions(dfdaemonOptions, { service: 'dfdaemon', file, environment: {}, flags: {} }))
  fuzz(
    t,
    fc.property(nearly(yaml, yamlTokens), text => {
      writeFileSync(file, text)
      try {
        const config = read() as { store: { quotaBytes: unknown }; log: { level: unknown } }
        assert.ok(Number.isSafeInteger(config.store.quotaBytes))
        assert.equal(typeof config.log.level, 'string')
      } catch (error) {
        assert.ok(isPantalaError(error, 'CONFIG_INVALID'), told(error))
      }
      assert.equal(({} as Record<string, unknown>)['name'], undefined)
    }),
    150,
  )
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefghij'.replace(/./g, (name, at: number) => `${name}: &${name} [${`*${'abcdefghi'[at]},`.repeat(9)}]\n`)}name: *j\n`
  for (const evil of [bomb, '['.repeat(2000), '{a: '.repeat(2000), '- '.repeat(2000)]) {
    writeFileSync(file, evil)
    const startedAt = performance.now()
    assert.throws(read, error => isPantalaError(error, 'CONFIG_INVALID'), evil.slice(0, 20))
    assert.ok(performance.now() - startedAt < 5000, evil.slice(0, 20))
  }
})

const hosts = [
  'server = "https://reg.lab"\n[host."https://m.lab"]\n  capabilities = ["pull"]\n',
  `[host."${dfdaemon}"]\ncapabilities = ["pull", "resolve"]\n`,
  'ca = "a.crt"\n[host]\n[host."http://a"]\n[host."http://a".header]\nx = ["y"]\n',
]
const conf = [
  'unqualified-search-registries = ["docker.io"]\n[[registry]]\nprefix = "reg.lab"\nlocation = "reg.lab"\n[[registry.mirror]]\nlocation = "m.lab"\n',
  '[[registry]]\nlocation = "docker.io"\nblocked = false\n\n[[registry]]\nlocation = "reg.lab/team"\ninsecure = true\n',
]
const containerd = [
  'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = ""\n',
  'version = 3\n[plugins."io.containerd.cri.v1.images".registry]\n  config_path = "/etc/containerd/certs.d"\n',
]
const tomlTokens = [
  '[',
  ']',
  '[[',
  ']]',
  '"',
  "'",
  '"""',
  "'''",
  '=',
  '.',
  ',',
  '#',
  '\n',
  '\r\n',
  '{',
  '}',
  '\\',
  '1979-05-27',
  '[host]',
  '[[registry]]',
  'location = 5\n',
  'host = 1\n',
  'registry = {}\n',
  'plugins = []\n',
  'imports = 3\n',
  'version = 9\n',
  '\uFEFF',
  '\0',
  'mirror = ["x"]\n',
  '__proto__ = 1\n',
  '[plugins]\n',
]

test('hosts.toml, registries.conf and containerd’s config.toml', t => {
  const registry = { name: 'reg.lab' } as never
  fuzz(
    t,
    fc.property(nearly(hosts, tomlTokens), text =>
      refusesOrPlans(() => {
        const view = viewOf({ '/certs.d/reg.lab/hosts.toml': text })
        const planned = planHosts(view, { directory: '/certs.d', registry, dfdaemon, runtime: 'containerd' })
        return planned === undefined ? [] : [planned]
      }),
    ),
    400,
  )
  const mirror = (name: string) => ({
    registry: name,
    location: `127.0.0.1:65001/${name}`,
    insecure: true,
    registryInsecure: undefined,
  })
  fuzz(
    t,
    fc.property(nearly(conf, tomlTokens), nearly(conf, tomlTokens), (main, own) =>
      refusesOrPlans(
        () =>
          planRegistries(
            viewOf({ '/etc/containers/registries.conf': main, [ownFile]: own }),
            [mirror('docker.io'), mirror('reg.lab')],
            'nothing',
          ).files,
      ),
    ),
    400,
  )
  fuzz(
    t,
    fc.property(nearly(containerd, tomlTokens), nearly(containerd, tomlTokens), (main, part) =>
      refusesOrPlans(() => {
        const view = viewOf({ '/etc/containerd/config.toml': main, '/etc/containerd/conf.d/a.toml': part })
        const { file } = planContainerdConfig(view, '/etc/containerd/config.toml')
        return file === undefined ? [] : [file]
      }),
    ),
    400,
  )
  for (const evil of [
    `a = ${'['.repeat(50_000)}`,
    `a = ${'{a='.repeat(20_000)}`,
    `${'a.'.repeat(50_000)}a = 1`,
  ])
    refusesOrPlans(() => {
      const view = viewOf({ '/certs.d/reg.lab/hosts.toml': evil })
      const planned = planHosts(view, { directory: '/certs.d', registry, dfdaemon, runtime: 'containerd' })
      return planned === undefined ? [] : [planned]
    })
})

test('daemon.json', t => {
  const texts = [
    '{"registry-mirrors": ["https://m.lab"], "features": {"x": true}}\n',
    '{\n\t"proxies": {"http-proxy": "a"}\n}',
    '',
  ]
  const tokens = [
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\u0000',
    '\\',
    'null',
    '1e400',
    '//',
    '\n',
    '\uFEFF',
    '"registry-mirrors":',
    '"__proto__":{}',
  ]
  const refusesOrEdits = (text: string) => {
    try {
      const edits = editDaemonJson('/daemon.json', text, { mirror: dfdaemon })
      const edited = applyEdits(text, edits)
      assert.equal(JSON.parse(edited.replace(/^\uFEFF/, ''))['registry-mirrors'][0], dfdaemon)
      assert.equal(takeBackEdits(edited, edits), text)
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error
      assert.ok(isRefusal(error), told(error))
    }
  }
  fuzz(t, fc.property(nearly(texts, tokens), refusesOrEdits), 1000)
  for (const evil of ['['.repeat(100_000), '{"a":'.repeat(50_000)]) refusesOrEdits(evil)
})

test('files of credentials: entries, or a fault that repeats no secret', t => {
  const auth = Buffer.from('user:s3cr3t-w0rd').toString('base64')
  const texts = [
    `{"auths": {"https://index.docker.io/v1/": {"auth": "${auth}"}, "reg.lab:5000/team": {"username": "u", "password": "s3cr3t-w0rd"}}}`,
    `kind: Secret\ndata:\n  .dockerconfigjson: ${Buffer.from(`{"auths":{"*.lab":{"auth":"${auth}"}}}`).toString('base64')}\n`,
  ]
  const tokens = [
    '{',
    '}',
    '"',
    ':',
    ',',
    '*',
    '/',
    '\n',
    '&a ',
    '*a',
    '"auths":',
    'kind: Secret\n',
    '\\u0000',
    '__proto__',
    '  ',
    '\r\n',
    '[]',
    'null',
  ]
  fuzz(
    t,
    fc.property(nearly(texts, tokens), text => {
      try {
        for (const { host, header, path } of readCredentials(text)) {
          assert.equal(typeof host, 'string')
          assert.match(header, /^(Basic|Bearer) [\x21-\x7e]*$/)
          assert.ok(Array.isArray(path))
        }
      } catch (error) {
        assert.ok(error instanceof CredentialsFault, told(error))
        assert.doesNotMatch(error.message, /s3cr3t-w0rd/)
      }
    }),
    1000,
  )
})

test('what a configuration file holds is not told to the world by warnings', async () => {
  const warnings: string[] = []
  const note = (warning: Error) => warnings.push(warning.message)
  process.on('warning', note)
  try {
    const file = join(directory, 'odd.yaml')
    writeFileSync(file, '? {cluster: {secret: hidden}}\n: 1\n')
    assert.throws(
      () => resolveOptions(dfdaemonOptions, { service: 'dfdaemon', file, environment: {}, flags: {} }),
      error => isPantalaError(error, 'CONFIG_INVALID'),
    )
    await new Promise(resolve => setImmediate(resolve))
    assert.deepEqual(warnings, [])
  } finally {
    process.off('warning', note)
  }
})
