// Manifests through the registry client: digests, media types, bounds, mirrors and what a failure tells.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Digest, digestOf } from '../../shared/digest.ts'
import { type ErrorCode, isPantalaError } from '../../shared/errors.ts'
import { MANIFEST_BYTES_MAX } from '../../shared/protocol/messages.ts'
import { FakeRegistry, inTurn, sendBytes } from '../harness/fake-registry.ts'
import { makeClient } from '../harness/source-client.ts'

const ociType = 'application/vnd.oci.image.manifest.v1+json'
const body = Buffer.from(JSON.stringify({ schemaVersion: 2, config: {}, layers: [] }))
const digest = digestOf(body)
const path = '/v2/a/b/manifests/v1'
const signal = AbortSignal.timeout(20_000)
const named = { 'content-type': ociType, 'docker-content-digest': digest }

async function withRegistry(run: (registry: FakeRegistry) => Promise<void>): Promise<void> {
  const registry = await FakeRegistry.start()
  try {
    await run(registry)
  } finally {
    await registry.stop()
  }
}

const rejectsWith = (promise: Promise<unknown>, code: ErrorCode, text: RegExp = /./) =>
  assert.rejects(promise, error => isPantalaError(error, code) && text.test(error.message))

test('fetches a manifest by tag and tells type and digest', () =>
  withRegistry(async registry => {
    registry.on(path, sendBytes(body, named))
    const client = makeClient({ [registry.name]: { insecure: true } })
    const source = { registry: registry.name, repository: 'a/b' }
    assert.deepEqual(await client.manifest(source, 'v1', [], undefined, signal), {
      mediaType: ociType,
      digest,
      body,
    })
    assert.match(registry.asked[0]!.headers.accept ?? '', /image\.index.*manifest\.list.*\*\/\*/)
    await client.manifest(source, 'v1', ['application/x'], undefined, signal)
    assert.equal(registry.asked[1]!.headers.accept, 'application/x')
    assert.equal(registry.asked[1]!.headers['accept-encoding'], 'identity')
    await client.close()
  }))

test('computes what the headers leave out', () =>
  withRegistry(async registry => {
    registry.on(path, sendBytes(body))
    const client = makeClient({ [registry.name]: { insecure: true } })
    const answer = await client.manifest(
      { registry: registry.name, repository: 'a/b' },
      'v1',
      [],
      undefined,
      signal,
    )
    assert.deepEqual(answer, { mediaType: ociType, digest, body })
    await client.close()
  }))

test('asks by HEAD only, where the tag still is what is known', () =>
  withRegistry(async registry => {
    registry.on(path, sendBytes(body, named))
    const client = makeClient({ [registry.name]: { insecure: true } })
    const source = { registry: registry.name, repository: 'a/b' }
    assert.deepEqual(await client.manifest(source, 'v1', [], digest, signal), {
      mediaType: ociType,
      digest,
      body: undefined,
    })
    const other: Digest = `sha256:${'0'.repeat(64)}`
    assert.equal((await client.manifest(source, 'v1', [], other, signal)).body?.byteLength, body.byteLength)
    assert.deepEqual(
      registry.asked.map(asked => asked.method),
      ['HEAD', 'HEAD', 'GET'],
    )
    await client.close()
  }))

test('wrong bytes are taken from nobody', () =>
  withRegistry(async registry => {
    const wrong = Buffer.from('{"schemaVersion":3}')
    registry
      .on(path, sendBytes(wrong, named))
      .on(`/v2/a/b/manifests/${digest}`, sendBytes(wrong, { 'content-type': ociType }))
    const client = makeClient({ [registry.name]: { insecure: true } })
    const source = { registry: registry.name, repository: 'a/b' }
    await rejectsWith(client.manifest(source, 'v1', [], undefined, signal), 'SOURCE_DIGEST_MISMATCH')
    await rejectsWith(client.manifest(source, digest, [], undefined, signal), 'SOURCE_DIGEST_MISMATCH')
    await client.close()
  }))

test('an endless or oversized manifest is cut off at its bound', () =>
  withRegistry(async registry => {
    registry.on(path, (_request, response) => {
      const chunk = Buffer.alloc(64 * 1024)
      const more = () => {
        while (response.write(chunk));
      }
      response.on('drain', more)
      more()
    })
    const client = makeClient({ [registry.name]: { insecure: true } })
    const source = { registry: registry.name, repository: 'a/b' }
    await rejectsWith(
      client.manifest(source, 'v1', [], undefined, signal),
      'SOURCE_LENGTH_WRONG',
      new RegExp(`${MANIFEST_BYTES_MAX}`),
    )
    await client.close()
  }))

test('goes to the next mirror on 5xx, refusal and wrong bytes', async t => {
  const [mirror, registry] = [await FakeRegistry.start(), await FakeRegistry.start()]
  t.after(() => Promise.all([mirror.stop(), registry.stop()]))
  registry.on(path, sendBytes(body, named))
  mirror.on(
    '/v2/hub/a/b/manifests/v1',
    inTurn(sendBytes(Buffer.alloc(0), {}, 503), sendBytes(Buffer.from('x'), named), sendBytes(body, named)),
  )
  const source = { registry: registry.name, repository: 'a/b' }
  for (let pull = 0; pull < 3; pull++) {
    const client = makeClient({
      [registry.name]: { insecure: true, mirrors: ['http://127.0.0.1:1', `${mirror.url}/hub`] },
    })
    assert.equal((await client.manifest(source, 'v1', [], undefined, signal)).digest, digest)
    await client.close()
  }
  assert.equal(mirror.asked.length, 3)
  assert.equal(registry.asked.length, 2)
})

test('tries again after a pause, within bounds', () =>
  withRegistry(async registry => {
    const bad = sendBytes(Buffer.alloc(0), {}, 502)
    registry.on(path, inTurn(bad, bad, sendBytes(body, named))).on('/v2/a/b/manifests/down', bad)
    const client = makeClient({ [registry.name]: { insecure: true } })
    const source = { registry: registry.name, repository: 'a/b' }
    assert.equal((await client.manifest(source, 'v1', [], undefined, signal)).digest, digest)
    await rejectsWith(
      client.manifest(source, 'down', [], undefined, signal),
      'SOURCE_STATUS',
      /GET http:.*manifests\/down answered 502/,
    )
    assert.equal(registry.askedFor('/v2/a/b/manifests/down').length, 3)
    await client.close()
  }))

test('each refusal has its code', () =>
  withRegistry(async registry => {
    const codes = {
      404: 'SOURCE_MANIFEST_UNKNOWN',
      401: 'SOURCE_UNAUTHORIZED',
      402: 'SOURCE_DENIED',
      403: 'SOURCE_DENIED',
      410: 'SOURCE_MANIFEST_UNKNOWN',
      451: 'SOURCE_DENIED',
      418: 'SOURCE_STATUS',
    } as const
    const client = makeClient({ [registry.name]: { insecure: true } })
    const source = { registry: registry.name, repository: 'a/b' }
    for (const [status, code] of Object.entries(codes)) {
      registry.on(`/v2/a/b/manifests/s${status}`, sendBytes(Buffer.alloc(0), {}, Number(status)))
      await rejectsWith(
        client.manifest(source, `s${status}`, [], undefined, signal),
        code,
        new RegExp(`answered ${status}`),
      )
      assert.equal(registry.askedFor(`/v2/a/b/manifests/s${status}`).length, 1)
    }
    await rejectsWith(
      client.manifest({ ...source, repository: '../x' }, 'v1', [], undefined, signal),
      'NAME_INVALID',
    )
    await rejectsWith(client.manifest(source, '../x', [], undefined, signal), 'REFERENCE_INVALID')
    await rejectsWith(
      client.manifest({ ...source, registry: 'other.lab' }, 'v1', [], undefined, signal),
      'UPSTREAM_FORBIDDEN',
    )
    await client.close()
  }))

test('a source that is away, silent or cuts is told apart', () =>
  withRegistry(async registry => {
    registry
      .on('/v2/a/b/manifests/silent', () => {})
      .on(
        '/v2/a/b/manifests/cut',
        (_request, response) =>
          void response.writeHead(200, { 'content-length': '100' }).write('x', () => response.destroy()),
      )
      .on(
        '/v2/a/b/manifests/stuck',
        (_request, response) => void response.writeHead(200, { 'content-length': '100' }).write('x'),
      )
    const client = makeClient(
      { [registry.name]: { insecure: true }, '127.0.0.1:1': { insecure: true } },
      { headersTimeoutMs: 200, stallTimeoutMs: 200 },
    )
    const source = { registry: registry.name, repository: 'a/b' }
    await Promise.all([
      rejectsWith(
        client.manifest({ ...source, registry: '127.0.0.1:1' }, 'v1', [], undefined, signal),
        'SOURCE_AWAY',
        /ECONNREFUSED/,
      ),
      rejectsWith(client.manifest(source, 'cut', [], undefined, signal), 'SOURCE_AWAY'),
      rejectsWith(client.manifest(source, 'silent', [], undefined, signal), 'SOURCE_STALLED'),
      rejectsWith(client.manifest(source, 'stuck', [], undefined, signal), 'SOURCE_STALLED'),
    ])
    await client.close()
  }))
