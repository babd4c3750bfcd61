// The supernode as a whole: starts with all its faces, knows its tasks after a restart, and says clearly why it cannot start.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { isPantalaError } from '../../shared/errors.ts'
import type { SupernodeConfig } from '../../supernode/config.ts'
import { startSupernode } from '../../supernode/main.ts'
import { SupernodeMetrics } from '../../supernode/metrics.ts'
import { HeardPushes, quietLogger, startTestHost, until } from '../harness/schedule-net.ts'

const MiB = 1024 * 1024
const digest = `sha256:${'ab'.repeat(32)}` as const
const source = { registry: 'reg.lab', repository: 'a/b', authorization: 'Bearer hush' }

async function makeConfig(t: TestContext, changes: Partial<SupernodeConfig> = {}): Promise<SupernodeConfig> {
  const dataDir = await mkdtemp(join(tmpdir(), 'pantala-supernode-'))
  t.after(() => rm(dataDir, { recursive: true, force: true }))
  return {
    dataDir,
    cluster: { secret: undefined, secretFile: undefined },
    api: { address: '127.0.0.1:0' },
    peer: { address: '127.0.0.1:0', announce: [] },
    seed: { enabled: false, peerAddress: '127.0.0.1:0', quotaBytes: 1e9 },
    upstreams: { default: 'docker.io', registries: {}, allow: ['*'] },
    manifest: { tagFreshMs: 5000 },
    access: { freshMs: 60_000 },
    host: { expireMs: 15_000 },
    supernodes: [],
    source: { budgetRatio: 1.6, stallTimeoutMs: 10_000 },
    shutdown: { graceMs: 1000 },
    log: { level: 'info', format: 'json' },
    ...changes,
  }
}
const parts = () => ({ logger: quietLogger, metrics: new SupernodeMetrics({ processMetrics: false }) })
/** The parts of the API's answers that are looked at here. */
interface Answer {
  readonly hosts: { id: string; wanting: number }[]
  readonly tasks: { digest: string; hashed: number; repository: string }[]
  readonly registrations: number
  readonly paths: object
}
const getJson = async (url: string) => (await (await fetch(url)).json()) as Answer

test('hosts, tasks and stats can be seen; metrics and documents are there', async t => {
  const supernode = await startSupernode(await makeConfig(t), parts())
  t.after(() => supernode.stop())
  assert.match(supernode.addresses[0]!, new RegExp(`^/ip4/127.0.0.1/tcp/\\d+/p2p/${supernode.hostId}$`))
  const host = await startTestHost({ supernodes: supernode.addresses })
  t.after(() => host.stop())
  await host.client.firstAttempt
  const request = { digest, size: 3 * MiB, source, have: () => undefined }
  await host.client.register(request, new HeardPushes(), AbortSignal.timeout(10_000))
  const { apiUrl } = supernode
  assert.deepEqual(await getJson(`${apiUrl}/healthz`), { ok: true })
  assert.deepEqual(await getJson(`${apiUrl}/readyz`), { ready: true, reasons: [] })
  const { hosts } = await getJson(`${apiUrl}/api/v1/hosts`)
  assert.deepEqual([hosts[0]?.id, hosts[0]?.wanting], [host.id, 1])
  const text = await (await fetch(`${apiUrl}/api/v1/tasks`)).text()
  const [task] = JSON.parse(text).tasks
  assert.deepEqual([task.digest, task.pieces, task.grants], [digest, 3, [{ host: host.id, pieces: 3 }]])
  assert.equal(text.includes('hush'), false)
  assert.equal((await getJson(`${apiUrl}/api/v1/stats`)).registrations, 1)
  assert.match(await (await fetch(`${apiUrl}/metrics`)).text(), /pantala_supernode_hosts 1\n/)
  assert.ok('/api/v1/tasks' in (await getJson(`${apiUrl}/api/docs`)).paths)
  const wrong = await fetch(`${apiUrl}/api/v1/hosts?limit=0`)
  assert.equal(wrong.status, 400)
  assert.equal(((await wrong.json()) as { code: string }).code, 'MESSAGE_INVALID')
  assert.equal((await fetch(`${apiUrl}/nothing`)).status, 404)
})

test('after a restart it has the same identity and knows its tasks', async t => {
  const config = await makeConfig(t)
  const first = await startSupernode(config, parts())
  const host = await startTestHost({ supernodes: first.addresses })
  t.after(() => host.stop())
  await host.client.firstAttempt
  const request = { digest, size: MiB, source, have: () => undefined }
  await host.client.register(request, new HeardPushes(), AbortSignal.timeout(10_000))
  host.client.report({ digest, pieces: [0], hashes: new Uint8Array(32), fromSourceBytes: MiB, parents: [] })
  await until(async () => (await getJson(`${first.apiUrl}/api/v1/tasks`)).tasks[0]?.hashed === 1, 'report')
  await first.stop()
  const second = await startSupernode(config, parts())
  t.after(() => second.stop())
  assert.equal(second.hostId, first.hostId)
  const { tasks } = await getJson(`${second.apiUrl}/api/v1/tasks`)
  assert.deepEqual([tasks[0]?.digest, tasks[0]?.hashed, tasks[0]?.repository], [digest, 1, 'a/b'])
})

test('it brings a seed, and is ready once that is connected', async t => {
  const config = await makeConfig(t, {
    seed: { enabled: true, peerAddress: '127.0.0.1:0', quotaBytes: 1e9 },
  })
  const script = join(config.dataDir, 'dummy.mjs')
  await writeFile(script, 'setInterval(() => {}, 1000)')
  const launched: string[][] = []
  const supernode = await startSupernode(config, {
    ...parts(),
    launchSeed: args => {
      launched.push([...args])
      return { command: process.execPath, args: [script], env: {} }
    },
  })
  t.after(() => supernode.stop())
  assert.deepEqual(launched, [['dfdaemon', '--config', join(config.dataDir, 'seed.yaml')]])
  assert.equal((await fetch(`${supernode.apiUrl}/readyz`)).status, 503)
  const seed = await startTestHost({ supernodes: supernode.addresses, seed: true })
  t.after(() => seed.stop())
  await seed.client.firstAttempt
  assert.equal((await fetch(`${supernode.apiUrl}/readyz`)).status, 200)
})

test('a taken address or an unusable directory is one clear error, and nothing stays behind', async t => {
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => taken.once('listening', resolve))
  t.after(() => taken.close())
  const { port } = taken.address() as { port: number }
  const address = `127.0.0.1:${port}`
  const config = await makeConfig(t)
  await assert.rejects(startSupernode({ ...config, api: { address } }, parts()), error =>
    isPantalaError(error, 'ADDRESS_IN_USE'),
  )
  await assert.rejects(startSupernode({ ...config, peer: { address, announce: [] } }, parts()), error =>
    isPantalaError(error, 'ADDRESS_IN_USE'),
  )
  const file = join(config.dataDir, 'file')
  await writeFile(file, '')
  await assert.rejects(startSupernode({ ...config, dataDir: join(file, 'x') }, parts()), error =>
    isPantalaError(error, 'DATA_DIR_UNUSABLE'),
  )
  const supernode = await startSupernode(config, parts())
  await supernode.stop()
  await supernode.stop()
})
