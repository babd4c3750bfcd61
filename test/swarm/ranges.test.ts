// Readers of ranges in a real swarm: answered long before the whole is there, at the price of what they read, each byte asked of the source once.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { blobPath, findPlatformImage } from '../../cli/demo/oci-layout.ts'
import { sentRuns } from '../harness/asked-once.ts'
import { readMultipart } from '../harness/read-multipart.ts'
import { eventually, repository, Swarm, type SwarmHost, type SwarmOptions } from '../harness/swarm.ts'

const MiB = 1024 * 1024

/** A swarm whose image has one layer of 60 pieces, and that layer's bytes. */
async function startStage(t: Parameters<typeof Swarm.start>[0], options: SwarmOptions) {
  const swarm = await Swarm.start(t, { layerBytes: [60 * MiB - 4321], ...options })
  const [layer] = findPlatformImage(swarm.layout, 'v1', 'amd64')!.layers
  const { digest, size } = layer!
  const bytes = await readFile(blobPath(swarm.layout.directory, digest))
  const ask = (host: SwarmHost, range: string, signal = AbortSignal.timeout(30_000)) =>
    fetch(`${host.daemon.proxyUrl}/v2/${repository}/blobs/${digest}`, { headers: { range }, signal })
  const read = async (host: SwarmHost, first: number, last: number): Promise<void> => {
    const answer = await ask(host, `bytes=${first}-${last}`)
    assert.equal(answer.status, 206)
    assert.ok(
      Buffer.from(await answer.arrayBuffer()).equals(bytes.subarray(first, last + 1)),
      `bytes ${first}-${last}`,
    )
  }
  const sent = (): number =>
    sentRuns(swarm.source.log, digest).reduce((sum, run) => sum + run.end - run.first, 0)
  /** Fails if a byte left the source twice. */
  const assertOnce = (): void => {
    let end = 0
    for (const run of sentRuns(swarm.source.log, digest)) {
      assert.ok(run.first >= end, `bytes from ${run.first} were sent twice`)
      end = run.end
    }
  }
  return { swarm, bytes, size, ask, read, sent, assertOnce, digest }
}

test('a range in the middle of a cold blob is there long before the whole, which then follows', async t => {
  const { swarm, read, sent, assertOnce, size, digest } = await startStage(t, { hosts: 2 })
  swarm.source.fail({ kind: 'slow', bytesPerSecond: 60 * MiB })
  await read(swarm.hosts[0]!, 30 * MiB, 30 * MiB + 99_999)
  assert.ok(sent() < 25 * MiB, `${sent()} bytes had left the source`)
  const [first] = swarm.source.log.filter(entry => entry.reference === digest && entry.bytes > 0)
  assert.equal(first!.range, `bytes=${30 * MiB}-${31 * MiB - 1}`)
  await eventually('the rest follows', async () => (await swarm.counts(swarm.hosts[0]!)).fromPeers >= size)
  assert.equal(sent(), size)
  assertOnce()
})

test('without prefetch a range costs its pieces, once for all hosts, and what is held serves others', async t => {
  const { swarm, read, sent, assertOnce, size } = await startStage(t, {
    hosts: 3,
    dfdaemon: { 'proxy.prefetch': 'false' },
  })
  const [a, b, c] = swarm.hosts
  await Promise.all([read(a!, 40 * MiB + 5, 41 * MiB + 5), read(b!, 40 * MiB + 500, 40 * MiB + 600)])
  assert.equal(sent(), 2 * MiB)
  await swarm.killSeed()
  await read(c!, 41 * MiB, 41 * MiB + 9)
  assert.equal(sent(), 2 * MiB, 'another host had it')
  assert.ok((await swarm.counts(c!)).fromPeers > 0)
  await swarm.pull(c!)
  assert.equal(sent(), size)
  assertOnce()
})

test('two hundred ranges at once on two hosts cost the source each piece once', async t => {
  const { swarm, read, sent, assertOnce } = await startStage(t, {
    hosts: 2,
    dfdaemon: { 'proxy.prefetch': 'false' },
  })
  const places = Array.from({ length: 200 }, (_, index) => (index * 1_618_033) % (40 * MiB))
  await Promise.all(places.map((place, index) => read(swarm.hosts[index % 2]!, place, place + 999)))
  const pieces = new Set(places.flatMap(place => [place, place + 999].map(at => Math.floor(at / MiB))))
  assert.equal(sent(), pieces.size * MiB)
  assertOnce()
})

test('the end of a cold blob, and several ranges of it, are had without the rest', async t => {
  const { swarm, ask, sent, bytes, size } = await startStage(t, {
    hosts: 1,
    dfdaemon: { 'proxy.prefetch': 'false' },
  })
  const [host] = swarm.hosts
  const footer = await ask(host!, 'bytes=-51')
  assert.equal(footer.status, 206)
  assert.ok(Buffer.from(await footer.arrayBuffer()).equals(bytes.subarray(-51)))
  const several = await ask(host!, `bytes=${50 * MiB}-${50 * MiB + 9},1-10,-5`)
  const parts = readMultipart(several.headers.get('content-type')!, Buffer.from(await several.arrayBuffer()))
  assert.deepEqual(
    parts.map(part => part.body),
    [bytes.subarray(50 * MiB, 50 * MiB + 10), bytes.subarray(1, 11), bytes.subarray(-5)].map(part =>
      Buffer.from(part),
    ),
  )
  assert.equal(sent(), 2 * MiB + (size % MiB))
})

test('ranges of a small blob, which the supernode hands out whole', async t => {
  const { swarm } = await startStage(t, { hosts: 1, dfdaemon: { 'proxy.prefetch': 'false' } })
  const { config } = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const bytes = await readFile(blobPath(swarm.layout.directory, config.digest))
  const url = `${swarm.hosts[0]!.daemon.proxyUrl}/v2/${repository}/blobs/${config.digest}`
  for (const [range, part] of [
    ['bytes=5-9', bytes.subarray(5, 10)],
    ['bytes=-4', bytes.subarray(-4)],
  ] as const) {
    const answer = await fetch(url, { headers: { range } })
    assert.equal(answer.status, 206)
    assert.deepEqual(Buffer.from(await answer.arrayBuffer()), Buffer.from(part))
  }
  const past = await fetch(url, { headers: { range: `bytes=${config.size}-` } })
  assert.deepEqual([past.status, past.headers.get('content-range')], [416, `bytes */${config.size}`])
})

test('clients that leave in the middle of a range free what they held', async t => {
  const { swarm, ask, read } = await startStage(t, { hosts: 1, dfdaemon: { 'proxy.prefetch': 'false' } })
  const [host] = swarm.hosts
  swarm.source.fail({ kind: 'slow', bytesPerSecond: 4 * MiB })
  const leaving = Array.from({ length: 40 }, async (_, index) => {
    const gone = new AbortController()
    const asking = ask(host!, `bytes=${index * MiB}-${index * MiB + 2000}`, gone.signal)
    asking.catch(() => {})
    await eventually('the session runs', async () => (await sessions(host!)).some(one => one.readers > 0))
    gone.abort()
  })
  await Promise.all(leaving)
  await eventually('no seat is taken', async () => (await sessions(host!)).every(one => one.readers === 0))
  swarm.source.heal()
  await read(host!, 50 * MiB, 50 * MiB + 9)
})

test('whole pulls and ranges of one blob at the same time cost each byte once', async t => {
  const { swarm, read, sent, assertOnce, size } = await startStage(t, { hosts: 4 })
  const [a, b, c, d] = swarm.hosts
  await Promise.all([
    swarm.pull(a!),
    swarm.pull(b!),
    read(c!, 25 * MiB, 26 * MiB),
    ...Array.from({ length: 20 }, (_, index) => read(d!, index * 2 * MiB, index * 2 * MiB + 5000)),
  ])
  await eventually('c has it all', async () => (await swarm.counts(c!)).fromPeers >= size)
  assert.equal(sent(), size)
  assertOnce()
})

test('the seed dies while a reader waits for it: the host fetches the range itself', async t => {
  const { swarm, read, sent } = await startStage(t, {
    hosts: 1,
    seed: 'process',
    dfdaemon: { 'proxy.prefetch': 'false' },
  })
  swarm.source.fail({ kind: 'slow', bytesPerSecond: MiB })
  const reading = read(swarm.hosts[0]!, 30 * MiB, 31 * MiB)
  await eventually('the seed fetches', () => sent() > 0)
  await swarm.killSeed()
  swarm.source.heal()
  await reading
  assert.ok(sent() <= 4 * MiB, `${sent()} bytes were sent for two pieces`)
})

test('the supernode dies while ranges are read: they go on', async t => {
  const { swarm, read, assertOnce, sent } = await startStage(t, {
    hosts: 1,
    dfdaemon: { 'proxy.prefetch': 'false' },
  })
  await read(swarm.hosts[0]!, 3 * MiB, 3 * MiB + 9)
  await swarm.stopSupernode()
  await read(swarm.hosts[0]!, 40 * MiB, 40 * MiB + 9)
  await read(swarm.hosts[0]!, 3 * MiB + 10, 3 * MiB + 19)
  assert.equal(sent(), 2 * MiB)
  assertOnce()
})

test('a source that ignores Range is read through once, and then asked no more', async t => {
  const { swarm, read, digest } = await startStage(t, { hosts: 1, dfdaemon: { 'proxy.prefetch': 'false' } })
  swarm.source.fail({ kind: 'no-range' })
  for (const piece of [40, 10, 59]) await read(swarm.hosts[0]!, piece * MiB - 500, piece * MiB + 99)
  const asked = swarm.source.log.filter(
    entry => entry.kind === 'blob' && entry.method === 'GET' && entry.reference === digest,
  )
  assert.deepEqual(
    asked.map(entry => entry.range === undefined),
    [false, true],
  )
})

async function sessions(host: SwarmHost): Promise<{ readers: number }[]> {
  const state = (await (await fetch(`${host.daemon.adminUrl}/debug/state`)).json()) as {
    sessions: { readers: number }[]
  }
  return state.sessions
}
