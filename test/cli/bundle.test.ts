// What is shipped runs by itself: built into a directory of its own, outside the checkout, and started there.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { ServiceProcess } from '../../cli/demo/processes.ts'
import { version } from '../../shared/version.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { freePorts } from './running-service.ts'

const run = promisify(execFile)
const build = join(import.meta.dirname, '../../scripts/build.ts')

test('the bundle starts outside the checkout, through a link, on the Node it finds', async t => {
  const directory = await makeTestDirectory(t, 'bundle')
  const installed = join(directory, 'lib', 'pantala')
  await run(process.execPath, [build, '--out', installed])
  const link = join(directory, 'pantala')
  symlinkSync(join(installed, 'pantala'), link)
  const env = { PATH: `${dirname(process.execPath)}:/usr/bin:/bin`, HOME: directory }
  assert.equal((await run(link, ['--version'], { env })).stdout, `${version}\n`)

  let state: Record<string, unknown> | undefined
  const service = new ServiceProcess({
    name: 'dfdaemon of the bundle',
    command: link,
    args: ['dfdaemon', ...freePorts.dfdaemon, '--data-dir', join(directory, 'data')],
    env,
    leash: true,
    onLine: line => {
      if (line.includes('"event":"ready"')) state = JSON.parse(line)
    },
  })
  service.start()
  t.after(() => service.stop())
  await service.waitUntil(async () => state !== undefined, { deadlineMs: 60_000 })
  assert.equal((await fetch(`${state!['proxyUrl']}/v2/`)).status, 200)
  assert.deepEqual(await service.stop(), { code: 0, signal: null })
})

test('logs for people come from the bundle too', async t => {
  const directory = await makeTestDirectory(t, 'bundle')
  await run(process.execPath, [build, '--out', directory])
  const words = ['--data-dir', join(directory, 'data'), '--log.format=pretty']
  const service = new ServiceProcess({
    name: 'supernode of the bundle',
    command: join(directory, 'pantala'),
    args: ['supernode', ...freePorts.supernode, ...words],
    env: { PATH: `${dirname(process.execPath)}:/usr/bin:/bin` },
    leash: true,
  })
  service.start()
  t.after(() => service.stop())
  const isReady = async () => service.tail().some(line => /INFO.*: ready/.test(line))
  await service.waitUntil(isReady, { deadlineMs: 60_000 })
})
