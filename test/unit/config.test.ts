// Options from file, environment and flags: precedence, units, and every fault at once.
import assert from 'node:assert/strict'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { dfdaemonOptions } from '../../dfdaemon/config.ts'
import { type Option, readValue } from '../../shared/config/option.ts'
import { environmentName, flagName, nestValues, resolveOptions } from '../../shared/config/resolve.ts'
import { isPantalaError, type PantalaError } from '../../shared/errors.ts'
import { supernodeOptions } from '../../supernode/config.ts'

const directory = mkdtempSync(join(tmpdir(), 'pantala-config-'))

function writeFile(text: string): string {
  const file = join(directory, `${Math.random()}.yaml`)
  writeFileSync(file, text)
  return file
}

function resolve(given: {
  strayWords?: string[]
  file?: string
  environment?: Record<string, string>
  flags?: Record<string, string>
}) {
  const file = given.file === undefined ? undefined : writeFile(given.file)
  return resolveOptions(dfdaemonOptions, {
    service: 'dfdaemon',
    file,
    environment: given.environment ?? {},
    flags: given.flags ?? {},
    strayWords: given.strayWords,
  })
}

function faultsOf(given: Parameters<typeof resolve>[0]): string {
  try {
    resolve(given)
  } catch (error) {
    assert.ok(isPantalaError(error, 'CONFIG_INVALID'))
    return (error as PantalaError).detail!
  }
  return ''
}

test('flags beat the environment, the environment beats the file, the file beats the default', () => {
  const value = (given: Parameters<typeof resolve>[0]) => {
    const found = resolve(given).find(one => one.option.key === 'store.quotaBytes')!
    return [found.value, found.origin.split(' ')[0]]
  }
  const file = 'store: { quotaBytes: 1GiB }'
  const environment = { PANTALA_DFDAEMON_STORE_QUOTA_BYTES: '2GiB' }
  const flags = { 'store.quotaBytes': '3GiB' }
  assert.deepEqual(value({}), [50 * 2 ** 30, 'default'])
  assert.deepEqual(value({ file }), [2 ** 30, 'file'])
  assert.deepEqual(value({ file, environment }), [2 * 2 ** 30, 'environment'])
  assert.deepEqual(value({ file, environment, flags }), [3 * 2 ** 30, 'flag'])
})

test('every fault is named at once, with where it is', () => {
  const faults = faultsOf({
    file: 'stor:\n  quotaBytes: 1\nlog: { level: loud }\nproxy: { address: nowhere }\n',
    environment: { PANTALA_DFDAEMON_UPLOAD_SLOTS: 'many', PANTALA_DFDAEMON_NO_SUCH: '1' },
    flags: { 'shutdown.graceMs': 'soon' },
  })
  for (const part of [
    '6 faults',
    'stor.quotaBytes in',
    'did you mean store.quotaBytes?',
    'log.level in',
    'must be one of trace',
    'proxy.address in',
    'must be host:port',
    'PANTALA_DFDAEMON_UPLOAD_SLOTS: must be a whole number, 0 or more, not "many"',
    'PANTALA_DFDAEMON_NO_SUCH: unknown option',
    '--shutdown.grace-ms: must be a duration',
  ]) {
    assert.ok(faults.includes(part), `${part} is not in:\n${faults}`)
  }
})

test('bad YAML and a missing file are faults that name the file', () => {
  assert.match(faultsOf({ file: 'a: [1, 2' }), /\.yaml: /)
  assert.throws(
    () =>
      resolveOptions(dfdaemonOptions, {
        service: 'dfdaemon',
        file: join(directory, 'none.yaml'),
        environment: {},
        flags: {},
      }),
    /none\.yaml: cannot be read \(ENOENT\)/,
  )
})

test('what is unknown is told with the nearest known name, in every source', () => {
  assert.match(faultsOf({ file: 'upload: { slot: 4 }' }), /upload\.slot in .*did you mean upload\.slots\?/)
  assert.match(
    faultsOf({ environment: { PANTALA_DFDAEMON_UPLOAD_SLOT: '4' } }),
    /did you mean PANTALA_DFDAEMON_UPLOAD_SLOTS\?/,
  )
  assert.match(
    faultsOf({ strayWords: ['--upload.slot=4'] }),
    /--upload\.slot: .*did you mean --upload\.slots\?/,
  )
})

test('variables that Kubernetes makes for a Service of that name are not taken for options', () => {
  const environment = {
    PANTALA_DFDAEMON_SERVICE_HOST: '10.96.0.7',
    PANTALA_DFDAEMON_SERVICE_PORT: '65002',
    PANTALA_DFDAEMON_SERVICE_PORT_PEER: '65002',
    PANTALA_DFDAEMON_PORT: 'tcp://10.96.0.7:65002',
    PANTALA_DFDAEMON_PORT_65002_TCP: 'tcp://10.96.0.7:65002',
    PANTALA_DFDAEMON_PORT_65002_TCP_ADDR: '10.96.0.7',
  }
  assert.equal(faultsOf({ environment }), '')
})

test('an empty section or value is as good as none; an empty unknown one is a fault', () => {
  assert.equal(faultsOf({ file: '' }), '')
  assert.equal(faultsOf({ file: 'store:\nname:\nupstreams:\n  registries:\n' }), '')
  assert.match(faultsOf({ file: 'stores:\n' }), /stores in/)
  assert.match(faultsOf({ file: '- a\n' }), /unknown option/)
})

test('a file that multiplies itself by aliases is a fault', () => {
  const bomb = [
    'a: &a [x, x, x, x, x, x, x, x, x]',
    'b: &b [*a, *a, *a, *a, *a, *a]',
    'c: [*b, *b, *b, *b, *b]',
  ]
  assert.match(faultsOf({ file: bomb.join('\n') }), /alias/i)
})

test('a secret’s wrong value is never shown', () => {
  const faults = faultsOf({ file: 'cluster: { secret: [hunter2] }' })
  assert.match(faults, /cluster\.secret/)
  assert.doesNotMatch(faults, /hunter2/)
  const registries = '{ registries: { reg.lab: { mirrors: ["ftp://bob:hunter2@m.lab"] } } }'
  assert.match(faultsOf({ file: `upstreams: ${registries}` }), /ftp:\/\/m\.lab/)
  assert.doesNotMatch(faultsOf({ file: `upstreams: ${registries}` }), /hunter2/)
})

test('registries are checked to the last setting', () => {
  const registries = (text: string) => faultsOf({ file: `upstreams: { registries: { reg.lab: ${text} } }` })
  assert.equal(registries('{ mirrors: ["http://10.0.0.1:5000"], insecure: true, caFile: /etc/ca.pem }'), '')
  assert.equal(
    registries(
      '{ certFile: c.pem, keyFile: k.pem, skipVerify: true, credentialsFile: f, useForClients: true }',
    ),
    '',
  )
  assert.match(registries('{ certFile: c.pem }'), /reg\.lab: certFile and keyFile go together/)
  assert.match(registries('{ useForClients: true }'), /reg\.lab: useForClients needs a credentialsFile/)
  assert.match(registries('{ skipVerify: "yes" }'), /reg\.lab\.skipVerify: must be true or false/)
  assert.match(registries('{ credentialsFile: "" }'), /reg\.lab\.credentialsFile: must be a file name/)
  assert.match(registries('{ mirrors: ["ftp://x"] }'), /reg\.lab\.mirrors/)
  assert.match(registries('{ insecure: maybe }'), /reg\.lab\.insecure: must be true or false/)
  assert.match(registries('{ colour: red }'), /reg\.lab\.colour: unknown/)
})

test('an HTTP proxy towards registries is a URL, and what is wrong with it is not shown', () => {
  for (const proxy of ['http://u:hunter2@p.corp:3128', 'p.corp:3128', 'https://p.corp', 'none'])
    assert.equal(faultsOf({ file: `upstreams: { proxy: "${proxy}" }` }), '', proxy)
  const faults = faultsOf({ file: 'upstreams: { proxy: "socks5://u:hunter2@p.corp" }' })
  assert.match(faults, /upstreams\.proxy in .*: must be an http:\/\/ or https:\/\/ URL, or none/)
  assert.doesNotMatch(faults, /hunter2/)
  assert.match(
    faultsOf({ file: 'upstreams: { failoverMs: 1 }' }),
    /upstreams\.failoverMs in .*: must be 100ms or more/,
  )
})

test('ports of one registry are checked to the last name', () => {
  const read = (value: unknown) =>
    readValue(dfdaemonOptions.find(option => option.key === 'proxy.registries')!, value)
  const good = { '127.0.0.1:65011': 'reg.lab:5000', '[::1]:0': 'docker.io' }
  assert.deepEqual(read(good), { value: good })
  assert.match(JSON.stringify(read({ '65011': 'reg.lab' })), /65011: must be host:port/)
  for (const name of ['https://reg.lab', '', 5000])
    assert.match(JSON.stringify(read({ '127.0.0.1:65011': name })), /must name a registry/)
  const many = Array.from({ length: 65 }, (_, port) => [`127.0.0.1:${port}`, 'reg.lab'])
  assert.match(JSON.stringify(read(Object.fromEntries(many))), /at most 64/)
})

test('supernode addresses must end in a PeerId', () => {
  assert.match(
    faultsOf({ flags: { 'supernode.addresses': '/ip4/10.0.0.5/tcp/8001' } }),
    /supernode\.addresses|--supernode\.addresses/,
  )
})

test('units are read', () => {
  const read = (kind: Option['kind'], raw: unknown) => readValue({ key: 'k', kind, doc: '' }, raw)
  assert.deepEqual(read('bytes', '1.5GiB'), { value: 1.5 * 2 ** 30 })
  assert.deepEqual(read('bytes', '10 MB'), { value: 10_000_000 })
  assert.deepEqual(read('bytes', 512), { value: 512 })
  assert.deepEqual(read('duration', '2m'), { value: 120_000 })
  assert.deepEqual(read('duration', '250'), { value: 250 })
  assert.deepEqual(read('boolean', 'no'), { value: false })
  assert.deepEqual(read('list', 'a, b,'), { value: ['a', 'b'] })
  assert.deepEqual(read('address', '[::1]:80'), { value: '[::1]:80' })
  for (const [kind, raw] of [
    ['bytes', '10 apples'],
    ['bytes', '-1'],
    ['duration', 'soon'],
    ['count', '1.5'],
    ['count', -1],
    ['address', '1.2.3.4'],
    ['address', '1.2.3.4:99999'],
    ['address', '[nonsense]:1'],
    ['list', [1]],
    ['map', '[]'],
    ['boolean', 'maybe'],
  ] as const) {
    assert.ok('fault' in read(kind, raw), `${kind} takes ${raw}`)
  }
})

test('names of the environment and of flags follow from the key', () => {
  assert.equal(environmentName('dfdaemon', 'store.quotaBytes'), 'PANTALA_DFDAEMON_STORE_QUOTA_BYTES')
  assert.equal(flagName('store.minFreeBytes'), '--store.min-free-bytes')
})

test('every option of both services has a doc, a sound default and a name of its own', () => {
  for (const [service, options] of [
    ['dfdaemon', dfdaemonOptions],
    ['supernode', supernodeOptions],
  ] as const) {
    const names = options.map(option => environmentName(service, option.key))
    assert.equal(new Set(names).size, names.length)
    for (const option of options) assert.ok(option.doc.length > 10, option.key)
    const resolved = resolveOptions(options, { service, file: undefined, environment: {}, flags: {} })
    assert.ok(nestValues(resolved)['dataDir'])
  }
})
