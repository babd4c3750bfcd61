// Blobs and other paths through the registry client: lengths, ranges, and answers of registries that know better.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { digestOf } from '../../shared/digest.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { FakeRegistry, sendBytes, sendRanged } from '../harness/fake-registry.ts'
import { makeClient, readAll } from '../harness/source-client.ts'

const blob = Buffer.from('0123456789')
const digest = digestOf(blob)
const path = `/v2/a/b/blobs/${digest}`
const signal = AbortSignal.timeout(20_000)

async function withClient(
  run: (parts: {
    registry: FakeRegistry
    client: ReturnType<typeof makeClient>
    source: { registry: string; repository: string }
  }) => Promise<void>,
): Promise<void> {
  const registry = await FakeRegistry.start()
  const client = makeClient({ [registry.name]: { insecure: true } })
  await run({ registry, client, source: { registry: registry.name, repository: 'a/b' } })
  await client.close()
  await registry.stop()
}

test('opens a blob whole and in parts', () =>
  withClient(async ({ registry, client, source }) => {
    registry.on(path, sendRanged(blob))
    const read = async (offset: number, length?: number) => {
      const answer = await client.openBlob(source, digest, offset, length, signal)
      return [answer.offset, answer.size, (await readAll(answer.body)).toString()]
    }
    assert.deepEqual(await read(0), [0, 10, '0123456789'])
    assert.deepEqual(await read(4), [4, 10, '456789'])
    assert.deepEqual(await read(4, 3), [4, 10, '456'])
    assert.equal(registry.asked[0]!.headers.range, undefined)
    await assert.rejects(client.openBlob(source, digest, 10, undefined, signal), error =>
      isPantalaError(error, 'SOURCE_LENGTH_WRONG'),
    )
  }))

test('tells a source that ignores ranges, and one that sends another range', () =>
  withClient(async ({ registry, client, source }) => {
    registry.on(path, sendBytes(blob))
    const whole = await client.openBlob(source, digest, 4, undefined, signal)
    assert.deepEqual([whole.offset, whole.size], [0, 10])
    whole.body.destroy()
    for (const range of [
      'bytes 5-9/10',
      'bytes 9-5/10',
      'lines 1-2/3',
      'bytes 4-99999999999999999999/10',
      '',
    ]) {
      registry.on(path, sendBytes(blob, { 'content-range': range }, 206))
      await assert.rejects(
        client.openBlob(source, digest, 4, undefined, signal),
        error => isPantalaError(error, 'SOURCE_STATUS'),
        range,
      )
    }
  }))

test('learns a length by HEAD, or by GET where HEAD tells none or is refused', () =>
  withClient(async ({ registry, client, source }) => {
    registry.on(path, sendRanged(blob))
    assert.equal(await client.blobLength(source, digest, signal), 10)
    assert.deepEqual(
      registry.asked.map(asked => asked.method),
      ['HEAD'],
    )
    for (const status of [200, 403, 405]) {
      registry.on(path, (request, response) => {
        if (request.method === 'HEAD')
          return void response.writeHead(status, { 'transfer-encoding': 'chunked' }).end()
        sendRanged(blob)(request, response)
      })
      assert.equal(await client.blobLength(source, digest, signal), 10)
    }
    registry.on(path, sendBytes(Buffer.alloc(0), {}, 404))
    await assert.rejects(client.blobLength(source, digest, signal), error =>
      isPantalaError(error, 'SOURCE_BLOB_UNKNOWN'),
    )
  }))

test('refuses a body that is encoded unasked', () =>
  withClient(async ({ registry, client, source }) => {
    registry.on(path, sendBytes(blob, { 'content-encoding': 'gzip' }))
    await assert.rejects(client.openBlob(source, digest, 0, undefined, signal), error =>
      isPantalaError(error, 'SOURCE_STATUS'),
    )
  }))

test('passes other paths on with status, headers and body as they are', () =>
  withClient(async ({ registry, client, source }) => {
    registry
      .on(
        '/v2/',
        sendBytes(Buffer.from('{}'), { 'www-authenticate': 'Bearer realm="https://auth.lab/token"' }, 401),
      )
      .on(
        '/v2/a/b/tags/list',
        sendBytes(Buffer.from('{"tags":["v1"]}'), { link: '</v2/a/b/tags/list?n=1&last=v1>; rel="next"' }),
      )
    const base = await client.forward(
      { ...source, repository: '' },
      'GET',
      '/v2/',
      { cookie: 'c', accept: 'x/y' },
      signal,
    )
    assert.equal(base.status, 401)
    assert.match(base.headers['www-authenticate'] ?? '', /auth\.lab/)
    assert.equal((await readAll(base.body)).toString(), '{}')
    assert.deepEqual(
      [registry.asked[0]!.headers.cookie, registry.asked[0]!.headers.accept],
      [undefined, 'x/y'],
    )
    const tags = await client.forward(source, 'GET', '/v2/a/b/tags/list?n=1', {}, signal)
    assert.equal(registry.asked[1]!.path, '/v2/a/b/tags/list?n=1')
    assert.match(tags.headers['link'] ?? '', /rel="next"/)
    tags.body.destroy()
    for (const wrong of ['/', '/v1/x', '/v2/a/../../etc', '/v2/a b', '/v2/a/%2e%2e/b', '/v2/a\r\nx: y'])
      await assert.rejects(
        client.forward(source, 'GET', wrong, {}, signal),
        error => isPantalaError(error, 'PATH_UNKNOWN'),
        wrong,
      )
  }))

test('an abort ends a request at once with the signal’s reason', () =>
  withClient(async ({ registry, client, source }) => {
    registry.on(path, () => {})
    const stop = new AbortController()
    const length = client.blobLength(source, digest, stop.signal)
    setImmediate(() => stop.abort(new Error('enough')))
    await assert.rejects(length, /enough/)
  }))
