// The seed's process: started again when it dies, ended with the supernode, killed when it does not listen.
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { systemClock } from '../../shared/clock.ts'
import type { SupernodeConfig } from '../../supernode/config.ts'
import { writeSeedConfig } from '../../supernode/seed/seed-config.ts'
import { nodeLaunch, SeedProcess } from '../../supernode/seed/seed-process.ts'
import { quietLogger, until } from '../harness/schedule-net.ts'

async function makeSeed(t: TestContext, script: string, env: Record<string, string> = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'pantala-seed-'))
  const file = join(directory, 'dummy.mjs')
  await writeFile(file, script)
  const launch = nodeLaunch(file, ['dfdaemon'], env)
  const seed = new SeedProcess({ clock: systemClock, logger: quietLogger }, { launch })
  t.after(async () => {
    await seed.stop(0)
    await rm(directory, { recursive: true, force: true })
  })
  return { seed, directory }
}
const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('a seed that dies is started again', async t => {
  const { seed } = await makeSeed(t, 'setInterval(() => {}, 1000)')
  seed.start()
  const first = seed.pid!
  process.kill(first, 'SIGKILL')
  await until(() => seed.restarts === 1 && seed.pid !== undefined && seed.pid !== first, 'restart')
})

test('stop ends it, and it is not started again', async t => {
  const { seed, directory } = await makeSeed(
    t,
    `import { writeFileSync } from 'node:fs'
     const file = process.env.DUMMY_FILE
     process.on('SIGTERM', () => { writeFileSync(file, 'stopped cleanly'); process.exit(0) })
     writeFileSync(file, process.argv.slice(2).join())
     setInterval(() => {}, 1000)`,
    { DUMMY_FILE: join(tmpdir(), `pantala-seed-${process.pid}`) },
  )
  const file = join(tmpdir(), `pantala-seed-${process.pid}`)
  t.after(() => rm(file, { force: true }))
  seed.start()
  const pid = seed.pid!
  let text = ''
  await until(() => {
    void readFile(file, 'utf8').then(
      read => {
        text = read
      },
      () => {},
    )
    return text === 'dfdaemon'
  }, `the dummy of ${directory}`)
  await seed.stop(5000)
  assert.equal(isAlive(pid), false)
  assert.equal(await readFile(file, 'utf8'), 'stopped cleanly')
  assert.equal(seed.restarts, 0)
})

test('one that does not listen is killed after its grace', async t => {
  const { seed } = await makeSeed(t, `process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)`)
  seed.start()
  const pid = seed.pid!
  await seed.stop(100)
  assert.equal(isAlive(pid), false)
})

test('the secret goes by environment; the file is the owner’s alone', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'pantala-seed-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const config = {
    dataDir: directory,
    peer: { address: '0.0.0.0:8001', announce: ['/ip4/192.0.2.1/tcp/8001'] },
    seed: { enabled: true, peerAddress: '0.0.0.0:8003', quotaBytes: 1000 },
    source: { budgetRatio: 1.6, stallTimeoutMs: 10_000 },
    supernodes: ['/ip4/127.0.0.2/tcp/8001/p2p/Y'],
    upstreams: { default: 'docker.io', registries: {}, allow: ['*'], proxy: 'http://u:hush@p.corp' },
  } as unknown as SupernodeConfig
  const setting = { supernodeAddress: '/ip4/127.0.0.1/tcp/8001/p2p/X', secret: 'hush' }
  const { args, env } = await writeSeedConfig(config, setting)
  assert.deepEqual(env, {
    PANTALA_DFDAEMON_CLUSTER_SECRET: 'hush',
    PANTALA_DFDAEMON_UPSTREAMS_PROXY: 'http://u:hush@p.corp',
  })
  const file = args.at(-1)!
  assert.equal((await stat(file)).mode & 0o777, 0o600)
  const text = await readFile(file, 'utf8')
  assert.equal(text.includes('hush'), false)
  assert.deepEqual(JSON.parse(text).peer.announce, ['/ip4/192.0.2.1/tcp/8003'])
  assert.deepEqual(JSON.parse(text).supernode.addresses, [
    '/ip4/127.0.0.1/tcp/8001/p2p/X',
    '/ip4/127.0.0.2/tcp/8001/p2p/Y',
  ])
})
