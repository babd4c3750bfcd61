// A crowd at one host: a thousand requests for a thousand blobs at once wait their turn, cost the source one answer each, and leave nothing behind.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { Pool } from 'undici'
import { parseMetrics, sumMetric } from '../../cli/demo/metrics-text.ts'
import { type Digest, digestOf } from '../../shared/digest.ts'
import { MemoryRegistry } from '../harness/memory-registry.ts'
import { eventually, Swarm, type SwarmHost } from '../harness/swarm.ts'

const MiB = 1024 * 1024
const READERS = 1000

interface Answer {
  readonly status: number
  readonly digest: Digest
}

async function startCrowd(t: TestContext, seed: 'inside' | 'none' = 'none') {
  const registry = new MemoryRegistry({ blobDelayMs: 60 })
  t.after(() => registry.stop())
  await registry.start()
  const swarm = await Swarm.start(t, { hosts: 1, seed, sourceAddress: registry.name })
  return { registry, swarm, host: swarm.hosts[0]! }
}

/** Asks for all of them at the same time, each over a connection of its own. */
async function readAtOnce(host: SwarmHost, digests: readonly Digest[]): Promise<Answer[]> {
  const pool = new Pool(host.daemon.proxyUrl, { connections: digests.length, headersTimeout: 60_000 })
  try {
    return await Promise.all(
      digests.map(async digest => {
        const path = `/v2/crowd/app/blobs/${digest}`
        const { statusCode, body } = await pool.request({ method: 'GET', path })
        return { status: statusCode, digest: digestOf(Buffer.from(await body.arrayBuffer())) }
      }),
    )
  } finally {
    await pool.destroy()
  }
}

function assertServed(answers: readonly Answer[], digests: readonly Digest[]): void {
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]))
  assert.deepEqual(
    answers.map(({ digest }) => digest),
    digests,
  )
}

test('1,000 readers of 1,000 small blobs that nobody has are all served, and the source is asked once for each', async t => {
  const { registry, host } = await startCrowd(t)
  const digests = Array.from({ length: READERS }, () => registry.putBlob('crowd/app', randomBytes(1024)))
  const before = process.memoryUsage()
  let peak = before.rss
  const watch = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss())
  }, 20)
  const answers = await readAtOnce(host, digests)
  clearInterval(watch)
  assertServed(answers, digests)
  const bodies = registry.log.filter(({ method, path }) => method === 'GET' && path.includes('/blobs/'))
  assert.equal(bodies.length, READERS)
  // Client, host, supernode and source together: far from a share of it for each that waits.
  assert.ok(peak - before.rss < 300 * MiB, `${Math.round((peak - before.rss) / MiB)} MiB more`)
  const metrics = async () => parseMetrics(await (await fetch(`${host.daemon.adminUrl}/metrics`)).text())
  await eventually('no session is left', async () => {
    return sumMetric(await metrics(), 'pantala_dfdaemon_sessions') === 0
  })
})

test('more blobs at once than sessions may run wait for a place', async t => {
  const { registry, host } = await startCrowd(t, 'inside')
  const digests = Array.from({ length: 320 }, () => registry.putBlob('crowd/app', randomBytes(150 * 1024)))
  assertServed(await readAtOnce(host, digests), digests)
})

test('readers that leave make room: a crowd that goes away is no burden to the next', async t => {
  const { registry, host } = await startCrowd(t)
  const gone = Array.from({ length: READERS }, () => registry.putBlob('crowd/app', randomBytes(1024)))
  const pool = new Pool(host.daemon.proxyUrl, { connections: READERS })
  const asked = Promise.allSettled(
    gone.map(digest => pool.request({ method: 'GET', path: `/v2/crowd/app/blobs/${digest}` })),
  )
  await eventually('the source is asked', () => registry.log.length > 10)
  await pool.destroy(new Error('the crowd leaves'))
  await asked
  const wanted = [registry.putBlob('crowd/other', randomBytes(1024))]
  const startedAt = performance.now()
  const answer = await fetch(`${host.daemon.proxyUrl}/v2/crowd/other/blobs/${wanted[0]}`)
  assert.equal(answer.status, 200)
  assert.ok(performance.now() - startedAt < 5_000)
})
