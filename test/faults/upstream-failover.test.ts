// Several upstreams for one name: whichever fails or falls silent is left for the next within moments, and asked again when it is well.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'
import { test } from 'node:test'
import { RegistrySource } from '../../dfdaemon/fetch/registry-source.ts'
import { digestOf } from '../../shared/digest.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { RegistryClient } from '../../shared/source/registry-client.ts'
import { type Answer, FakeRegistry, sendBytes, sendRanged } from '../harness/fake-registry.ts'
import { SkippingClock } from '../harness/manifests-rig.ts'
import { recordingLogger } from '../harness/source-client.ts'
import { until } from '../harness/until.ts'

const body = Buffer.from('{"schemaVersion":2,"config":{}}')
const digest = digestOf(body)
const path = '/v2/a/b/manifests/v1'
const silent: Answer = () => {}
const unavailable = sendBytes(Buffer.alloc(0), {}, 503)
const FAILOVER_MS = 200

/** A client for a registry with mirrors, the registry itself being the last of them. */
class Upstreams {
  readonly clock = new SkippingClock()
  readonly signal = AbortSignal.timeout(20_000)
  readonly log = recordingLogger()
  readonly client: RegistryClient
  readonly registry: FakeRegistry

  constructor(registry: FakeRegistry, mirrors: readonly string[]) {
    this.registry = registry
    this.client = new RegistryClient(
      { logger: this.log.logger, clock: this.clock, random: () => 0.5 },
      {
        upstreams: {
          default: 'docker.io',
          registries: { [registry.name]: { insecure: true, mirrors } },
          allow: [],
          failoverMs: FAILOVER_MS,
        },
        stallTimeoutMs: 5_000,
        connectTimeoutMs: 5_000,
        headersTimeoutMs: 5_000,
        retryPauseMs: 5,
      },
    )
  }

  get source() {
    return { registry: this.registry.name, repository: 'a/b' }
  }

  /** Pulls a manifest; how long it took, in ms. */
  async pull(): Promise<number> {
    const begun = performance.now()
    const answer = await this.client.manifest(this.source, 'v1', [], undefined, this.signal)
    assert.equal(answer.digest, digest)
    return performance.now() - begun
  }

  /** Health of the first mirror. */
  get mirrorIsUp(): boolean {
    return this.client.upstreamHealth.values().next().value as boolean
  }
}

async function withUpstreams(
  run: (upstreams: Upstreams, mirror: FakeRegistry) => Promise<void>,
  mirrors?: (mirror: FakeRegistry) => readonly string[],
): Promise<void> {
  const [mirror, registry] = [await FakeRegistry.start(), await FakeRegistry.start()]
  registry.on(path, sendBytes(body)).on('/v2/', sendBytes(Buffer.from('{}')))
  mirror.on('/v2/', sendBytes(Buffer.from('{}')))
  const upstreams = new Upstreams(registry, mirrors?.(mirror) ?? [mirror.url])
  try {
    await run(upstreams, mirror)
  } finally {
    await upstreams.client.close()
    await Promise.all([mirror.stop(), registry.stop()])
  }
}

/** Takes connections and says nothing. */
async function blackHole(): Promise<{ url: string; sockets: Set<Socket>; close: () => void }> {
  const sockets = new Set<Socket>()
  const server: Server = createServer(socket => {
    sockets.add(socket.on('error', () => {}).resume())
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const close = () => {
    for (const socket of sockets) socket.destroy()
    server.close()
  }
  return { url: `http://127.0.0.1:${port}`, sockets, close }
}

test('a dead port costs nothing, and is not asked again for a while', () =>
  withUpstreams(
    async upstreams => {
      assert((await upstreams.pull()) < FAILOVER_MS * 5)
      assert.equal(upstreams.mirrorIsUp, false)
      assert.match(upstreams.log.lines.join(), /upstream fails: the others are asked first/)
    },
    () => ['http://127.0.0.1:1'],
  ))

test('what takes the connection and says nothing is left after failoverMs, and only once', async t => {
  const hole = await blackHole()
  t.after(hole.close)
  await withUpstreams(
    async upstreams => {
      const first = await upstreams.pull()
      assert(first >= FAILOVER_MS - 20 && first < FAILOVER_MS * 5, `${first} ms`)
      // The connection of the one that lost is let go.
      await until(() => hole.sockets.size === 0)
      assert((await upstreams.pull()) < FAILOVER_MS)
      assert.equal(hole.sockets.size, 0)
    },
    () => [hole.url],
  )
})

test('a manifest that stalls half-way is had from the next', () =>
  withUpstreams(async (upstreams, mirror) => {
    mirror.on(path, (_request, response) => {
      response.writeHead(200, { 'content-length': String(body.byteLength) })
      response.write(body.subarray(0, 5))
    })
    assert((await upstreams.pull()) < FAILOVER_MS * 5)
    assert.equal(upstreams.registry.askedFor(path).length, 1)
  }))

test('a mirror that fails is asked last, looked at after a while without credentials, and has its place back when it is well', () =>
  withUpstreams(async (upstreams, mirror) => {
    mirror.on(path, unavailable)
    await upstreams.pull()
    await upstreams.pull()
    assert.equal(mirror.asked.length, 1)
    assert.equal(upstreams.mirrorIsUp, false)
    // Time passes, and it still is not well: left alone for longer.
    mirror.on('/v2/', unavailable)
    upstreams.clock.skip(6_000)
    await upstreams.pull()
    await until(() => mirror.askedFor('/v2/').length === 1)
    await upstreams.pull()
    assert.equal(upstreams.mirrorIsUp, false)
    upstreams.clock.skip(6_000)
    await upstreams.pull()
    assert.equal(mirror.askedFor('/v2/').length, 1)
    mirror.on('/v2/', sendBytes(Buffer.from('{}'))).on(path, sendBytes(body))
    upstreams.clock.skip(60_000)
    const before = upstreams.registry.asked.length
    await upstreams.pull()
    await until(() => upstreams.mirrorIsUp)
    assert.equal(upstreams.registry.asked.length, before + 1)
    await upstreams.pull()
    assert.equal(upstreams.registry.asked.length, before + 1)
    assert.equal(mirror.askedFor(path).length, 2)
    assert(mirror.askedFor('/v2/').every(asked => asked.headers.authorization === undefined))
    assert.match(upstreams.log.lines.join(), /upstream answers again/)
  }))

test('with all others dead, one that is slow but alive is waited for, first or last', async () => {
  const slow: Answer = (request, response) =>
    void setTimeout(() => sendBytes(body)(request, response), FAILOVER_MS * 4)
  await withUpstreams(async (upstreams, mirror) => {
    mirror.on(path, slow)
    upstreams.registry.on(path, unavailable)
    assert((await upstreams.pull()) >= FAILOVER_MS * 4 - 20)
    assert.equal(mirror.askedFor(path).length, 1)
  })
  await withUpstreams(async (upstreams, mirror) => {
    mirror.on(path, unavailable)
    upstreams.registry.on(path, slow)
    assert((await upstreams.pull()) >= FAILOVER_MS * 4 - 20)
    assert.equal(upstreams.registry.askedFor(path).length, 1)
  })
})

test('the registry’s own refusal is final also while a mirror keeps silent', () =>
  withUpstreams(async (upstreams, mirror) => {
    mirror.on(path, silent)
    upstreams.registry.on(path, sendBytes(Buffer.alloc(0), {}, 404))
    await assert.rejects(upstreams.pull(), error => isPantalaError(error, 'SOURCE_MANIFEST_UNKNOWN'))
  }))

test('with none well, all that failed is told', () =>
  withUpstreams(
    async (upstreams, mirror) => {
      mirror.on(path, unavailable)
      upstreams.registry.on(path, sendBytes(Buffer.alloc(0), {}, 500))
      await assert.rejects(upstreams.pull(), error => {
        assert(isPantalaError(error, 'SOURCE_STATUS'))
        assert.match(error.message, /:1\/v2\/a\/b\/manifests\/v1 failed \(ECONNREFUSED\)/)
        assert.match(error.message, /answered 503.*answered 500/)
        return true
      })
    },
    mirror => ['http://127.0.0.1:1', mirror.url],
  ))

test('a client that leaves while two are asked stops both', () =>
  withUpstreams(async (upstreams, mirror) => {
    mirror.on(path, silent)
    upstreams.registry.on(path, silent)
    const leaving = new AbortController()
    const pulling = upstreams.client.manifest(upstreams.source, 'v1', [], undefined, leaving.signal)
    await until(() => upstreams.registry.askedFor(path).length === 1)
    leaving.abort(new Error('gone'))
    await assert.rejects(pulling, /gone/)
  }))

const blob = randomBytes(1_000_000)
const blobDigest = digestOf(blob)
const blobPath = `/v2/a/b/blobs/${blobDigest}`

/** Fetches the blob as a session does; how long it took, in ms. */
async function fetchBlob(upstreams: Upstreams, stallTimeoutMs = 5_000): Promise<number> {
  const { client, clock, log, signal } = upstreams
  const source = new RegistrySource(
    { client, clock, logger: log.logger },
    { stallTimeoutMs, failoverMs: FAILOVER_MS, pauseMs: 1 },
  )
  const chunks: Buffer[] = []
  const range = {
    source: upstreams.source,
    digest: blobDigest,
    size: blob.byteLength,
    offset: 0,
    length: blob.byteLength,
  }
  const begun = performance.now()
  await source.fetch(range, chunk => void chunks.push(Buffer.from(chunk)), signal)
  assert(Buffer.concat(chunks).equals(blob))
  return performance.now() - begun
}

/** Serves so many bytes of the blob and then stops. */
const stallAfter =
  (bytes: number): Answer =>
  (_request, response) => {
    response.writeHead(200, { 'content-length': String(blob.byteLength) })
    response.write(blob.subarray(0, bytes))
  }

test('a blob that stalls is taken up at the next from the last good byte', () =>
  withUpstreams(async (upstreams, mirror) => {
    mirror.on(blobPath, stallAfter(300_000))
    upstreams.registry.on(blobPath, sendRanged(blob))
    assert((await fetchBlob(upstreams)) < FAILOVER_MS * 8)
    assert.deepEqual(
      upstreams.registry.askedFor(blobPath).map(asked => asked.headers.range),
      ['bytes=300000-'],
    )
    assert.equal(mirror.askedFor(blobPath).length, 1)
    assert.equal(upstreams.mirrorIsUp, false)
  }))

test('a blob is not cut at a short stall where no other upstream is well', () =>
  withUpstreams(
    async upstreams => {
      upstreams.registry.on(path, sendBytes(body)).on(blobPath, (_request, response) => {
        response.writeHead(200, { 'content-length': String(blob.byteLength) })
        response.write(blob.subarray(0, 1000))
        setTimeout(() => response.end(blob.subarray(1000)), FAILOVER_MS * 3)
      })
      await upstreams.pull()
      assert((await fetchBlob(upstreams)) >= FAILOVER_MS * 3 - 20)
      assert.equal(upstreams.registry.askedFor(blobPath).length, 1)
    },
    () => ['http://127.0.0.1:1'],
  ))

test('a small blob that stalls or is wrong is had whole from the next', async () => {
  const small = randomBytes(50_000)
  const smallDigest = digestOf(small)
  const smallPath = `/v2/a/b/blobs/${smallDigest}`
  const stalling: Answer = (_request, response) => {
    response.writeHead(200, { 'content-length': String(small.byteLength) })
    response.write(small.subarray(0, 100))
  }
  for (const answer of [stalling, sendBytes(randomBytes(50_000)), sendBytes(small.subarray(1))])
    await withUpstreams(async (upstreams, mirror) => {
      mirror.on(smallPath, answer)
      upstreams.registry.on(smallPath, sendBytes(small))
      const { client, source, signal } = upstreams
      const begun = performance.now()
      assert(small.equals(await client.smallBlob(source, smallDigest, small.byteLength, signal)))
      assert(performance.now() - begun < FAILOVER_MS * 5)
    })
})
