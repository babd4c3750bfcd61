// Push and content management as the OCI distribution specification 1.1 has them, and that what they change is seen at once where it was changed.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { digestOf } from '../../shared/digest.ts'
import {
  DistributionClient,
  type DistributionFeatures,
  type DistributionTarget,
  describeBytes,
  types,
} from './distribution-client.ts'

export function distributionPushSuite(
  name: string,
  features: DistributionFeatures,
  open: () => Promise<DistributionTarget>,
): void {
  describe(`${name}: push and content management`, () => {
    let target: DistributionTarget
    let client: DistributionClient
    /** What the registry cannot do is no promise to test. */
    const testIf = (isThere: boolean) => (isThere ? test : () => {})
    before(async () => {
      target = await open()
      client = new DistributionClient(target)
    })
    after(() => target?.stop())

    /** Fails unless the blob can be pulled, from where the registry says it is, too. */
    const assertPulled = async (repository: string, bytes: Buffer, location?: string) => {
      const answer = await client.getBlob(repository, digestOf(bytes))
      assert.deepEqual([answer.status, answer.body], [200, bytes])
      if (location !== undefined) assert.deepEqual((await client.send('GET', location)).body, bytes)
    }

    test('end-4a and end-6: POST, then PUT of the whole blob', async () => {
      const bytes = randomBytes(200_000)
      assert.equal((await client.getBlob('push/whole', digestOf(bytes), 'HEAD')).status, 404)
      assert.equal((await client.getBlob('push/whole', digestOf(bytes))).status, 404)
      const done = await client.pushBlob('push/whole', bytes)
      await assertPulled('push/whole', bytes, client.location(done))
      assert.equal((await client.getBlob('push/whole', digestOf(bytes), 'HEAD')).status, 200)
    })

    test('end-4b: one POST with the blob, or an upload to go on with', async () => {
      const bytes = randomBytes(2_000)
      const path = client.path('push/post', 'blobs/uploads/', `digest=${digestOf(bytes)}`)
      const headers = { 'content-type': types.bytes }
      const answer = await client.send('POST', path, { headers, body: bytes })
      assert.ok([201, 202].includes(answer.status))
      const location = client.location(answer)
      if (answer.status === 202)
        assert.equal((await client.close(location, digestOf(bytes), { headers, body: bytes })).status, 201)
      await assertPulled('push/post', bytes)
    })

    test('end-5: chunks in order, with the state asked for in between, closed with and without a last chunk', async () => {
      for (const withLast of [false, true]) {
        const bytes = randomBytes(3_000)
        let location = await client.begin('push/chunks')
        const end = withLast ? 2_000 : 3_000
        for (let first = 0; first < end; first += 1_000) {
          const headers = { 'content-type': types.bytes, 'content-range': `${first}-${first + 999}` }
          const body = bytes.subarray(first, first + 1_000)
          const answer = await client.send('PATCH', location, { headers, body })
          assert.deepEqual([answer.status, answer.headers.get('range')], [202, `0-${first + 999}`])
          location = client.location(answer)
          const state = await client.send('GET', location)
          assert.deepEqual([state.status, state.headers.get('range')], [204, `0-${first + 999}`])
          location = client.location(state)
        }
        const headers = { 'content-type': types.bytes, 'content-range': '2000-2999' }
        const last = withLast ? { headers, body: bytes.subarray(2_000) } : {}
        assert.equal((await client.close(location, digestOf(bytes), last)).status, 201)
        await assertPulled('push/chunks', bytes)
      }
    })

    testIf(features.chunkOrder)(
      'end-5: a chunk out of order is 416, and the upload goes on where it stands',
      async () => {
        const bytes = randomBytes(2_000)
        const location = await client.begin('push/order')
        const chunk = (at: string, first: number) =>
          client.send('PATCH', at, {
            headers: { 'content-type': types.bytes, 'content-range': `${first}-${first + 999}` },
            body: bytes.subarray(first, first + 1_000),
          })
        assert.equal((await chunk(location, 1_000)).status, 416)
        const after = client.location(await chunk(location, 0))
        assert.equal((await chunk(after, 0)).status, 416)
        const state = await client.send('GET', after)
        assert.deepEqual([state.status, state.headers.get('range')], [204, '0-999'])
        const last = client.location(await chunk(client.location(state), 1_000))
        assert.equal((await client.close(last, digestOf(bytes))).status, 201)
        await assertPulled('push/order', bytes)
      },
    )

    test('a stream of unknown length in one PATCH, as docker sends it', async () => {
      const bytes = randomBytes(1_500_000)
      const location = await client.begin('push/stream')
      const body = new ReadableStream({
        start(controller) {
          for (let at = 0; at < bytes.byteLength; at += 100_000)
            controller.enqueue(bytes.subarray(at, at + 100_000))
          controller.close()
        },
      })
      const answer = await fetch(new URL(location, target.url), {
        method: 'PATCH',
        body,
        duplex: 'half',
      } as RequestInit)
      assert.equal(answer.status, 202)
      const next = new URL(answer.headers.get('location')!, target.url)
      assert.equal((await client.close(`${next.pathname}${next.search}`, digestOf(bytes))).status, 201)
      await assertPulled('push/stream', bytes)
    })

    test('end-6: a digest that does not match, or is none, is 400, and nothing is there after it', async () => {
      const bytes = randomBytes(1_000)
      const wrong = digestOf(randomBytes(3))
      const body = { headers: { 'content-type': types.bytes }, body: bytes }
      const answer = await client.close(await client.begin('push/wrong'), wrong, body)
      assert.equal(answer.status, 400)
      assert.equal((await client.getBlob('push/wrong', wrong)).status, 404)
      assert.equal((await client.getBlob('push/wrong', digestOf(bytes))).status, 404)
      const bad = await client.close(await client.begin('push/wrong'), 'sha256:bad' as 'sha256:', body)
      assert.equal(bad.status, 400)
    })

    test('end-14: an upload that is called off is gone', async () => {
      const location = await client.begin('push/cancel')
      assert.equal((await client.send('DELETE', location)).status, 204)
      assert.equal((await client.send('GET', location)).status, 404)
    })

    test('end-11: a blob is mounted from another repository, or uploaded', async () => {
      const bytes = randomBytes(5_000)
      await client.pushBlob('push/from', bytes)
      const { prefix = '' } = target
      const mount = async (from: string) => {
        const query = `mount=${digestOf(bytes)}&from=${encodeURIComponent(`${prefix}${from}`)}`
        const headers = { 'content-length': '0' }
        return client.send('POST', client.path('push/mounted', 'blobs/uploads/', query), { headers })
      }
      const missing = await mount('push/not-there')
      assert.ok([201, 202].includes(missing.status))
      client.location(missing)
      const mounted = await mount('push/from')
      assert.equal(mounted.status, 201)
      await assertPulled('push/mounted', bytes, client.location(mounted))
    })

    test('end-7: a manifest by tag and by digest; a tag that moves is seen at once', async () => {
      const repository = 'push/tags'
      assert.equal((await client.getManifest(repository, 'v1')).status, 404)
      for (let n = 0; n < 3; n++) {
        const { digest, body, answer } = await client.pushImage(repository, 'v1')
        assert.equal(answer.headers.get('docker-content-digest'), digest)
        assert.deepEqual((await client.send('GET', client.location(answer))).body, body)
        for (const method of ['HEAD', 'GET']) {
          const got = await client.getManifest(repository, 'v1', method)
          assert.deepEqual([got.status, got.headers.get('docker-content-digest')], [200, digest])
        }
      }
      const { digest, body } = await client.pushImage(repository, 'v2')
      const byDigest = await client.putManifest(repository, digest, JSON.parse(body.toString()))
      assert.equal(byDigest.status, 201)
      const tags = await client.send('GET', client.path(repository, 'tags/list'))
      assert.deepEqual(JSON.parse(tags.body.toString()).tags.sort(), ['v1', 'v2'])
    })

    test('end-7: a manifest under a digest that is not its own, or is none, is refused', async () => {
      const { body, digest } = await client.pushImage('push/refused', 'v1')
      const manifest = { ...JSON.parse(body.toString()), annotations: { other: 'bytes' } }
      for (const reference of [digest, 'sha256:baddigeststring'])
        assert.equal((await client.putManifest('push/refused', reference, manifest)).status, 400)
      assert.deepEqual((await client.getManifest('push/refused', digest)).body, body)
    })

    test('end-7: a subject may be pushed after what refers to it', async () => {
      const missing = Buffer.from(
        JSON.stringify({ schemaVersion: 2, mediaType: types.manifest, not: 'pushed' }),
      )
      const { answer } = await client.pushImage('push/subject', 'r', {
        subject: describeBytes(missing, types.manifest),
      })
      const wanted = features.referrers === 'api' ? digestOf(missing) : null
      assert.equal(answer.headers.get('oci-subject'), wanted)
    })

    testIf(features.tagDelete)('end-9: a deleted tag is gone at once, and the manifest stays', async () => {
      const { digest } = await client.pushImage('push/untag', 'v1')
      assert.equal((await client.getManifest('push/untag', 'v1')).status, 200)
      assert.equal((await client.send('DELETE', client.path('push/untag', 'manifests/v1'))).status, 202)
      for (const method of ['HEAD', 'GET'])
        assert.equal((await client.getManifest('push/untag', 'v1', method)).status, 404)
      assert.equal((await client.getManifest('push/untag', digest)).status, 200)
    })

    test('end-9: a deleted manifest is gone at once, by digest and by every tag, and comes back when pushed again', async () => {
      const repository = 'push/delete'
      const { digest, body } = await client.pushImage(repository, 'v1')
      const manifest = JSON.parse(body.toString())
      await client.putManifest(repository, 'also', manifest)
      for (const reference of ['v1', 'also', digest])
        assert.equal((await client.getManifest(repository, reference)).status, 200)
      assert.equal((await client.send('DELETE', client.path(repository, `manifests/${digest}`))).status, 202)
      for (const reference of ['v1', 'also', digest])
        for (const method of ['HEAD', 'GET'])
          assert.equal(
            (await client.getManifest(repository, reference, method)).status,
            404,
            `${method} ${reference}`,
          )
      assert.equal((await client.putManifest(repository, 'v1', manifest)).status, 201)
      for (const reference of ['v1', digest])
        assert.deepEqual((await client.getManifest(repository, reference)).body, body)
    })

    test('end-10: a deleted blob is gone at once, and comes back when pushed again', async () => {
      const repository = 'push/delete-blob'
      const { layer } = await client.pushImage(repository, 'v1')
      const digest = digestOf(layer)
      await client.getManifest(repository, 'v1')
      await assertPulled(repository, layer)
      assert.equal((await client.send('DELETE', client.path(repository, `blobs/${digest}`))).status, 202)
      for (const method of ['HEAD', 'GET'])
        assert.equal((await client.getBlob(repository, digest, method)).status, 404, method)
      await client.pushBlob(repository, layer)
      await assertPulled(repository, layer)
    })

    test('deleting what is not there is 404', async () => {
      await client.pushImage('push/nothing', 'v1')
      const nowhere = digestOf(randomBytes(8))
      for (const rest of [`manifests/${nowhere}`, `blobs/${nowhere}`])
        assert.equal((await client.send('DELETE', client.path('push/nothing', rest))).status, 404, rest)
    })
  })
}
