// The embedded source registry: serves a layout truly, logs what it sent, and fails as told.
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { blobPath, type OciLayout } from '../../cli/demo/oci-layout.ts'
import { SourceRegistry } from '../../cli/demo/registry.ts'
import { type Digest, digestOf } from '../../shared/digest.ts'
import { makeSmallImage } from '../harness/small-image.ts'

async function startRegistry(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), 'pantala-registry-'))
  const layout = await makeSmallImage({ directory, layerBytes: [3_000, 900_000] })
  const registry = new SourceRegistry()
  registry.addImage('demo/app', layout)
  await registry.start()
  t.after(async () => {
    await registry.stop()
    await rm(directory, { recursive: true })
  })
  const blobUrl = (digest: Digest) => `${registry.url}/v2/demo/app/blobs/${digest}`
  return { registry, layout, blobUrl, large: largestBlob(layout) }
}

function largestBlob(layout: OciLayout): Digest {
  return [...layout.blobs.values()].sort((a, b) => b.size - a.size)[0]!.digest
}

test('manifests and blobs come with the headers that clients demand, and are counted', async t => {
  const { registry, layout, blobUrl, large } = await startRegistry(t)
  const tag = await fetch(`${registry.url}/v2/demo/app/manifests/v1`)
  const body = Buffer.from(await tag.arrayBuffer())
  assert.equal(tag.headers.get('docker-content-digest'), digestOf(body))
  assert.equal(tag.headers.get('content-type'), 'application/vnd.oci.image.index.v1+json')
  assert.equal(tag.headers.get('content-length'), String(body.byteLength))
  const blob = await fetch(blobUrl(large))
  const bytes = Buffer.from(await blob.arrayBuffer())
  assert.equal(digestOf(bytes), large)
  assert.equal(registry.bytesSent, body.byteLength + bytes.byteLength)
  assert.deepEqual(
    registry.log.map(entry => [entry.kind, entry.method, entry.reference, entry.status, entry.bytes]),
    [
      ['manifest', 'GET', 'v1', 200, body.byteLength],
      ['blob', 'GET', large, 200, layout.blobs.get(large)!.size],
    ],
  )
})

test('ranges, HEAD, tags, referrers and errors', async t => {
  const { registry, layout, blobUrl, large } = await startRegistry(t)
  const { size } = layout.blobs.get(large)!
  const all = await readFile(blobPath(layout.directory, large))
  const part = await fetch(blobUrl(large), { headers: { range: 'bytes=1000-1999' } })
  assert.equal(part.status, 206)
  assert.equal(part.headers.get('content-range'), `bytes 1000-1999/${size}`)
  assert.deepEqual(Buffer.from(await part.arrayBuffer()), all.subarray(1000, 2000))
  const rest = await fetch(blobUrl(large), { headers: { range: `bytes=${size - 5}-` } })
  assert.equal((await rest.arrayBuffer()).byteLength, 5)
  const past = await fetch(blobUrl(large), { headers: { range: `bytes=${size}-` } })
  assert.equal(past.status, 416)
  const head = await fetch(blobUrl(large), { method: 'HEAD' })
  assert.equal(head.headers.get('content-length'), String(size))
  assert.deepEqual(await (await fetch(`${registry.url}/v2/demo/app/tags/list`)).json(), {
    name: 'demo/app',
    tags: ['v1'],
  })
  const referrers = await fetch(`${registry.url}/v2/demo/app/referrers/${large}`)
  assert.deepEqual(((await referrers.json()) as { manifests: unknown[] }).manifests, [])
  assert.equal((await fetch(`${registry.url}/v2/demo/app/manifests/none`)).status, 404)
  assert.equal((await fetch(`${registry.url}/v2/other/manifests/v1`)).status, 404)
  assert.equal((await fetch(`${registry.url}/v2/demo/app/blobs/sha256:0`)).status, 400)
  assert.equal((await fetch(blobUrl(large), { method: 'DELETE' })).status, 405)
})

test('each fault strikes as named, as often as told, and can be lifted', async t => {
  const { registry, layout, blobUrl, large } = await startRegistry(t)
  const { size } = layout.blobs.get(large)!
  const get = (init?: RequestInit) =>
    fetch(blobUrl(large), { ...init, signal: AbortSignal.timeout(10_000) }).then(async answer => ({
      answer,
      body: Buffer.from(await answer.arrayBuffer()),
    }))

  registry.fail({ kind: 'status', status: 503, times: 1 })
  assert.equal((await get()).answer.status, 503)
  assert.equal((await get()).answer.status, 200)

  registry.fail({ kind: 'reset', afterBytes: 100_000, times: 1 })
  await assert.rejects(get())
  assert.equal(registry.log.at(-1)?.bytes, 100_000)

  registry.fail({ kind: 'corrupt', offset: 700_000, times: 1 })
  const corrupt = await get()
  assert.equal(corrupt.body.byteLength, size)
  assert.notEqual(digestOf(corrupt.body), large)

  registry.fail({ kind: 'no-range', times: 1 })
  assert.equal((await get({ headers: { range: 'bytes=5-' } })).answer.status, 200)

  registry.fail({ kind: 'no-length', times: 1 })
  const chunked = await get()
  assert.equal(chunked.answer.headers.get('content-length'), null)
  assert.equal(digestOf(chunked.body), large)

  registry.fail({ kind: 'stall', afterBytes: 50_000, times: 1 })
  await assert.rejects(
    fetch(blobUrl(large), { signal: AbortSignal.timeout(100) }).then(answer => answer.arrayBuffer()),
    { name: 'TimeoutError' },
  )

  const lift = registry.fail({ kind: 'basic', user: 'ann', password: 'pw' })
  assert.equal((await get()).answer.status, 401)
  const authorization = `Basic ${Buffer.from('ann:pw').toString('base64')}`
  assert.equal((await get({ headers: { authorization } })).answer.status, 200)
  lift()

  registry.fail({ kind: 'away' })
  await assert.rejects(get())
  registry.heal()
  assert.equal((await get()).answer.status, 200)
})

test('a pace holds for all bodies together', async t => {
  const { registry, blobUrl, large } = await startRegistry(t)
  registry.fail({ kind: 'slow', bytesPerSecond: 9_000_000 })
  const started = performance.now()
  await Promise.all([1, 2].map(() => fetch(blobUrl(large)).then(answer => answer.arrayBuffer())))
  assert.ok(performance.now() - started > 180, 'two times 900 kB at 9 MB/s take 200 ms')
})
