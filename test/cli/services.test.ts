// The services as processes: ready, stopped by a signal, and every wrong start one clear message with nothing left behind.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { runPantala } from './run-pantala.ts'
import { freePorts, startService } from './running-service.ts'

/** Names that dashboards and alerts rely on. */
const promisedMetrics = [
  'pantala_dfdaemon_blob_bytes_total',
  'pantala_dfdaemon_upload_bytes_total',
  'pantala_dfdaemon_pulls_total',
  'pantala_dfdaemon_piece_rejected_total',
  'pantala_dfdaemon_store_bytes',
  'pantala_supernode_hosts',
  'pantala_supernode_tasks',
  'pantala_supernode_schedule_seconds',
  'pantala_supernode_source_bytes_total',
]

/** Standard error without its log lines. */
function messageOf(err: string): string {
  return err
    .split('\n')
    .filter(line => !line.startsWith('{'))
    .join('\n')
}

test('supernode and dfdaemon say when they are ready, answer on their faces, and stop cleanly', async t => {
  const directory = await makeTestDirectory(t, 'services')
  const secret = `secret-${Math.random()}`
  writeFileSync(join(directory, 'secret'), secret)
  const words = ['--cluster.secret-file', join(directory, 'secret'), '--data-dir']
  const supernode = await startService(t, 'supernode', [...words, join(directory, 's')])
  const address = supernode.ready.addresses.find(one => one.startsWith('/ip4/127.0.0.1/'))!
  assert.ok(address.endsWith(`/p2p/${supernode.ready.hostId}`))
  const dfdaemon = await startService(t, 'dfdaemon', [
    ...[...words, join(directory, 'd')],
    ...['--supernode.addresses', address, '--name', 'h1'],
  ])
  const { adminUrl, proxyUrl } = dfdaemon.ready
  for (const url of [
    `${adminUrl}/healthz`,
    `${adminUrl}/readyz`,
    `${proxyUrl}/v2/`,
    `${supernode.ready.apiUrl}/healthz`,
    `${supernode.ready.apiUrl}/readyz`,
  ]) {
    assert.equal((await fetch(url)).status, 200, url)
  }
  const metrics = await (await fetch(`${adminUrl}/metrics`)).text()
  assert.match(metrics, /^pantala_dfdaemon_supernode_connected 1$/m)
  const all = metrics + (await (await fetch(`${supernode.ready.apiUrl}/metrics`)).text())
  for (const name of promisedMetrics) assert.ok(all.includes(`\n# TYPE ${name} `), name)

  const status = await runPantala(['status', '--supernode', supernode.ready.apiUrl, '--dfdaemon', adminUrl])
  assert.equal(status.code, 0, status.err)
  assert.match(status.out, /1 hosts, 0 tasks/)
  assert.match(status.out, /h1.*supernode connected/)
  const json = await runPantala(['status', '--json', '--dfdaemon', adminUrl])
  assert.equal(json.code, 0, json.err)
  assert.equal(JSON.parse(json.out).dfdaemon.hostId, dfdaemon.ready.hostId)

  dfdaemon.process.signal('SIGTERM')
  assert.deepEqual(await dfdaemon.process.ended, { code: 0, signal: null })
  supernode.process.signal('SIGINT')
  assert.deepEqual(await supernode.process.ended, { code: 0, signal: null })
  for (const line of [...dfdaemon.lines, ...supernode.lines]) assert.ok(!line.includes(secret), line)
})

test('an address in use is exit code 1 and names the option or address', async t => {
  const directory = await makeTestDirectory(t, 'services')
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  t.after(() => server.close())
  const taken = `127.0.0.1:${(server.address() as AddressInfo).port}`
  for (const [service, option] of [
    ['dfdaemon', 'proxy.address'],
    ['dfdaemon', 'peer.address'],
    ['dfdaemon', 'admin.address'],
    ['supernode', 'api.address'],
    ['supernode', 'peer.address'],
  ] as const) {
    const words = [...freePorts[service], '--log.level=silent', '--data-dir', join(directory, service)]
    const { code, err } = await runPantala([service, ...words, `--${option}=${taken}`])
    assert.equal(code, 1, err)
    assert.match(err, /^pantala: the address is in use: .+\n {2}hint: .+\n$/)
    assert.ok(err.includes(`${option} `) && err.includes(taken.slice(taken.indexOf(':') + 1)), err)
  }
})

test('a data directory that cannot be used is exit code 1, in either service', async t => {
  const directory = await makeTestDirectory(t, 'services')
  const file = join(directory, 'file')
  writeFileSync(file, '')
  for (const service of ['dfdaemon', 'supernode'] as const) {
    const { code, err } = await runPantala([service, ...freePorts[service], '--data-dir', join(file, 'x')])
    assert.equal(code, 1, err)
    assert.match(messageOf(err), /^pantala: the data directory cannot be used: .*file/)
  }
})

test('a supernode with another PeerId or another secret stops the start; a data directory has one owner', async t => {
  const directory = await makeTestDirectory(t, 'services')
  const data = (name: string) => ['--data-dir', join(directory, name)]
  const { ready } = await startService(t, 'supernode', [...data('s'), '--cluster.secret=right'])
  const address = ready.addresses.find(one => one.startsWith('/ip4/127.0.0.1/'))!
  const other = await startService(t, 'dfdaemon', data('d1'))
  const start = (...words: string[]) => runPantala(['dfdaemon', ...freePorts.dfdaemon, ...words])

  const wrongId = address.replace(/\/p2p\/.*/, `/p2p/${other.ready.hostId}`)
  const identity = await start(...data('d2'), '--supernode.addresses', wrongId)
  assert.equal(identity.code, 1)
  assert.match(messageOf(identity.err), /^pantala: the supernode is not the one configured/)

  const refused = await start(...data('d2'), '--supernode.addresses', address, '--cluster.secret=wrong')
  assert.equal(refused.code, 1)
  assert.match(messageOf(refused.err), /^pantala: this host is not admitted/)
  assert.doesNotMatch(refused.err, /=wrong|"wrong"/)

  const twice = await start(...data('d1'))
  assert.equal(twice.code, 1)
  assert.match(messageOf(twice.err), /in use by another process/)
})

test('a supernode that is away keeps no dfdaemon from starting: one warning, and ready', async t => {
  const directory = await makeTestDirectory(t, 'services')
  const nobody = '/ip4/127.0.0.1/tcp/9/p2p/12D3KooWG8aoMiedCy89VgHYYACgNVeeFTaLRL8ivefPBQcqHTrb'
  const words = ['--data-dir', join(directory, 'd'), '--supernode.addresses', nobody]
  const { lines, ready } = await startService(t, 'dfdaemon', words)
  const warnings = lines.map(line => JSON.parse(line)).filter(line => line.level >= 40)
  assert.deepEqual(
    warnings.map(line => [line.err.code, line.msg]),
    [['SUPERNODE_AWAY', 'supernode not reached; going on without it, and trying again']],
  )
  assert.equal((await fetch(`${ready.adminUrl}/readyz`)).status, 200)
})
