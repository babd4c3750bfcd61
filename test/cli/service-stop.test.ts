// How services end: the supernode takes its seed with it, and a second signal does not wait.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { SourceRegistry } from '../../cli/demo/registry.ts'
import { makeSmallImage } from '../harness/small-image.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { until } from '../harness/until.ts'
import { startService } from './running-service.ts'

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

test('a supernode is ready once its seed is, and takes it along when it stops', async t => {
  const directory = await makeTestDirectory(t, 'service-stop')
  const { process: supernode, lines } = await startService(t, 'supernode', [
    ...['--data-dir', join(directory, 's'), '--shutdown.grace-ms=5s'],
    ...['--seed.enabled=true', '--seed.peer-address=127.0.0.1:0'],
  ])
  const apiUrl = () => lines.map(line => JSON.parse(line)).find(line => line.apiUrl !== undefined)?.apiUrl
  await supernode.waitUntil(async () => (await fetch(`${apiUrl()}/readyz`)).ok, { deadlineMs: 20_000 })
  const seed = lines.map(line => JSON.parse(line)).find(line => line.msg === 'seed process started').pid
  assert.ok(isAlive(seed))
  const startedAt = performance.now()
  supernode.signal('SIGTERM')
  assert.deepEqual(await supernode.ended, { code: 0, signal: null })
  assert.ok(performance.now() - startedAt < 5_000)
  assert.ok(!isAlive(seed))
})

test('a running download is waited for, until a second signal ends the process at once', async t => {
  const directory = await makeTestDirectory(t, 'service-stop')
  const source = new SourceRegistry()
  source.addImage('team/app', await makeSmallImage({ directory: join(directory, 'source') }))
  await source.start()
  t.after(() => source.stop())
  const address = new URL(source.url).host
  const {
    process: dfdaemon,
    ready,
    lines,
  } = await startService(t, 'dfdaemon', [
    ...['--data-dir', join(directory, 'd'), '--shutdown.grace-ms=60s', '--source.stall-timeout-ms=60s'],
    ...['--upstreams.default', address, '--upstreams.registries', `{"${address}":{"insecure":true}}`],
  ])
  source.fail({ kind: 'stall', afterBytes: 0, on: 'manifest' })
  const asked = fetch(`${ready.proxyUrl}/v2/team/app/manifests/v1`).catch(error => error)
  await until(() => source.log.length > 0)
  dfdaemon.signal('SIGTERM')
  await until(() => lines.some(line => line.includes('"stopping"')))
  assert.equal(dfdaemon.endedAs, undefined)
  dfdaemon.signal('SIGTERM')
  assert.deepEqual(await dfdaemon.ended, { code: 143, signal: null })
  assert.ok((await asked) instanceof Error)
})
