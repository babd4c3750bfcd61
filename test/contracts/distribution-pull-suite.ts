// Pull and content discovery as the OCI distribution specification 1.1 has them, told once for whoever claims to speak it.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { digestOf } from '../../shared/digest.ts'
import {
  type Descriptor,
  DistributionClient,
  type DistributionFeatures,
  type DistributionTarget,
  describeBytes,
  types,
} from './distribution-client.ts'

export function distributionPullSuite(
  name: string,
  features: DistributionFeatures,
  open: () => Promise<DistributionTarget>,
): void {
  describe(`${name}: pull and content discovery`, () => {
    let target: DistributionTarget
    let client: DistributionClient
    /** What the registry cannot do is no promise to test. */
    const testIf = (isThere: boolean) => (isThere ? test : () => {})
    before(async () => {
      target = await open()
      client = new DistributionClient(target)
    })
    after(() => target?.stop())

    test('end-1: the API answers at its root', async () => {
      assert.equal((await client.send('GET', '/v2/')).status, 200)
    })

    test('end-2: a blob is 200 with its bytes, its digest and its length, GET and HEAD', async () => {
      const { layer, config } = await client.pushImage('conf/blobs', 'v1')
      for (const bytes of [layer, config]) {
        const digest = digestOf(bytes)
        for (const method of ['HEAD', 'GET', 'HEAD']) {
          const { status, headers, body } = await client.getBlob('conf/blobs', digest, method)
          assert.equal(status, 200)
          assert.equal(headers.get('docker-content-digest'), digest)
          assert.equal(headers.get('content-length'), String(bytes.byteLength))
          assert.deepEqual(body, method === 'GET' ? bytes : Buffer.alloc(0))
        }
      }
    })

    test('end-2: ranges of a blob are 206 with what was asked', async () => {
      const { layer } = await client.pushImage('conf/ranges', 'v1')
      const size = layer.byteLength
      for (const [range, first, last] of [
        ['bytes=500-1499', 500, 1499],
        ['bytes=500-', 500, size - 1],
        [`bytes=${size - 5}-${size + 500}`, size - 5, size - 1],
      ] as const) {
        const { status, headers, body } = await client.getBlob('conf/ranges', digestOf(layer), 'GET', {
          range,
        })
        assert.deepEqual([status, headers.get('content-range')], [206, `bytes ${first}-${last}/${size}`])
        assert.deepEqual(body, layer.subarray(first, last + 1))
      }
      const past = await client.getBlob('conf/ranges', digestOf(layer), 'GET', { range: `bytes=${size}-` })
      assert.equal(past.status, 416)
    })

    test('end-2: an empty blob is pulled like any other', async () => {
      const empty = Buffer.alloc(0)
      await client.pushBlob('conf/empty', empty)
      const { status, headers, body } = await client.getBlob('conf/empty', digestOf(empty))
      assert.deepEqual([status, headers.get('content-length'), body.byteLength], [200, '0', 0])
      assert.equal(
        (await client.getBlob('conf/empty', digestOf(empty), 'HEAD')).headers.get('content-length'),
        '0',
      )
    })

    test('end-2 and end-3: what is not there is 404 with an OCI error; a digest that is none is 400 or 404', async () => {
      await client.pushImage('conf/missing', 'v1')
      const nowhere = digestOf(randomBytes(8))
      for (const rest of [`blobs/${nowhere}`, `manifests/${nowhere}`, 'manifests/missing']) {
        for (const method of ['GET', 'HEAD']) {
          const answer = await client.send(method, client.path('conf/missing', rest))
          assert.equal(answer.status, 404, `${method} ${rest}`)
          if (method === 'GET')
            assert.equal(typeof JSON.parse(answer.body.toString()).errors[0].code, 'string')
        }
      }
      assert.equal((await client.getManifest('conf/never-there', 'v1')).status, 404)
      for (const rest of ['manifests/sha256:baddigeststring', 'blobs/sha256:baddigeststring'])
        assert.ok(
          [400, 404].includes((await client.send('GET', client.path('conf/missing', rest))).status),
          rest,
        )
    })

    test('end-3: a manifest is 200 by tag and digest, its bytes and type as pushed, GET and HEAD', async () => {
      const { body, digest } = await client.pushImage('conf/manifests', 'v1')
      for (const reference of ['v1', digest])
        for (const method of ['HEAD', 'GET', 'HEAD']) {
          const answer = await client.getManifest('conf/manifests', reference, method)
          assert.equal(answer.status, 200)
          assert.equal(answer.headers.get('content-type'), types.manifest)
          assert.equal(answer.headers.get('docker-content-digest'), digest)
          assert.equal(answer.headers.get('content-length'), String(body.byteLength))
          assert.deepEqual(answer.body, method === 'GET' ? body : Buffer.alloc(0))
        }
    })

    test('end-3: an index of manifests, an image without layers, and one with fields nobody knows', async () => {
      const repository = 'conf/kinds'
      const image = await client.pushImage(repository, 'image', { 'org.example.field': { deep: ['ä', 1e3] } })
      const config = Buffer.from('{}')
      await client.pushBlob(repository, config)
      const bare = {
        schemaVersion: 2,
        mediaType: types.manifest,
        config: describeBytes(config, types.config),
        layers: [],
      }
      assert.equal((await client.putManifest(repository, 'bare', bare)).status, 201)
      const index = {
        schemaVersion: 2,
        mediaType: types.index,
        manifests: [
          describeBytes(image.body, types.manifest),
          describeBytes(Buffer.from(JSON.stringify(bare)), types.manifest),
        ],
      }
      assert.equal((await client.putManifest(repository, 'index', index)).status, 201)
      for (const [tag, type, bytes] of [
        ['image', types.manifest, image.body],
        ['bare', types.manifest, Buffer.from(JSON.stringify(bare))],
        ['index', types.index, Buffer.from(JSON.stringify(index))],
      ] as const) {
        const got = await client.getManifest(repository, tag)
        assert.deepEqual([got.status, got.headers.get('content-type')], [200, type])
        assert.deepEqual(got.body, bytes)
      }
    })

    test('an artifact: empty config, a type of its own', async () => {
      const repository = 'conf/artifact'
      const empty = Buffer.from('{}')
      const bytes = Buffer.from('{"sbom":true}')
      for (const each of [empty, bytes]) await client.pushBlob(repository, each)
      const artifact = {
        schemaVersion: 2,
        mediaType: types.manifest,
        artifactType: 'application/vnd.example.sbom',
        config: describeBytes(empty, types.empty),
        layers: [describeBytes(bytes, 'application/vnd.example.sbom.text')],
      }
      assert.equal((await client.putManifest(repository, 'sbom', artifact)).status, 201)
      assert.deepEqual(
        (await client.getManifest(repository, 'sbom')).body,
        Buffer.from(JSON.stringify(artifact)),
      )
      assert.deepEqual((await client.getBlob(repository, digestOf(empty))).body, empty)
    })

    testIf(features.sha512)('content by sha512 digest, blob and manifest', async () => {
      const repository = 'conf/sha512'
      const config = Buffer.from(JSON.stringify({ sha: 512 }))
      const layer = randomBytes(50_000)
      for (const bytes of [config, layer]) await client.pushBlob(repository, bytes, digestOf(bytes, 'sha512'))
      const manifest = {
        schemaVersion: 2,
        mediaType: types.manifest,
        config: describeBytes(config, types.config, 'sha512'),
        layers: [describeBytes(layer, types.layer, 'sha512')],
      }
      const body = Buffer.from(JSON.stringify(manifest))
      const digest = digestOf(body, 'sha512')
      assert.equal((await client.putManifest(repository, digest, manifest)).status, 201)
      for (let n = 0; n < 2; n++) {
        const got = await client.getManifest(repository, digest)
        assert.deepEqual([got.status, got.headers.get('docker-content-digest')], [200, digest])
        assert.deepEqual(got.body, body)
        assert.deepEqual((await client.getBlob(repository, digestOf(layer, 'sha512'))).body, layer)
      }
    })

    test('end-8a: all tags, in order', async () => {
      for (const tag of ['c', 'a', 'b']) await client.pushImage('conf/tags', tag)
      const answer = await client.send('GET', client.path('conf/tags', 'tags/list'))
      assert.equal(answer.status, 200)
      const { name, tags } = JSON.parse(answer.body.toString())
      assert.ok(name.endsWith('conf/tags'))
      assert.deepEqual(features.sortedTags ? tags : tags.sort(), ['a', 'b', 'c'])
      assert.equal((await client.send('GET', client.path('conf/no-such', 'tags/list'))).status, 404)
    })

    testIf(features.tagPaging)('end-8b: n and last, and the Link from page to page', async () => {
      const all = ['a', 'b', 'c', 'd', 'e']
      for (const tag of all) await client.pushImage('conf/pages', tag)
      const list = async (query: string) => {
        const answer = await client.send('GET', client.path('conf/pages', 'tags/list', query))
        return { tags: JSON.parse(answer.body.toString()).tags, link: answer.headers.get('link') }
      }
      assert.deepEqual((await list('n=2')).tags, ['a', 'b'])
      assert.deepEqual((await list('n=2&last=b')).tags, ['c', 'd'])
      assert.deepEqual((await list('last=c')).tags, ['d', 'e'])
      assert.deepEqual((await list('last=e')).tags, [])
      assert.deepEqual(await list('n=0'), { tags: [], link: null })
      const walked: string[] = []
      let path: string | undefined = client.path('conf/pages', 'tags/list', 'n=2')
      while (path !== undefined) {
        const answer = await client.send('GET', path)
        walked.push(...JSON.parse(answer.body.toString()).tags)
        path = nextPage(answer.headers.get('link'), target)
      }
      assert.deepEqual(walked, all)
    })

    testIf(features.referrers === 'api')(
      'end-12: referrers with type and annotations, filtered where asked, page after page',
      async () => {
        const repository = 'conf/referrers'
        const { body, digest } = await client.pushImage(repository, 'v1')
        const none = await client.send('GET', client.path(repository, `referrers/${digest}`))
        assert.deepEqual([none.status, none.headers.get('content-type')], [200, types.index])
        assert.deepEqual(JSON.parse(none.body.toString()).manifests, [])
        const subject = describeBytes(body, types.manifest)
        const kinds = [
          'application/vnd.example.sbom',
          'application/vnd.example.signature',
          'application/vnd.example.sbom',
        ]
        const pushed: Descriptor[] = []
        for (const [n, artifactType] of kinds.entries()) {
          const annotations = { 'org.example.n': String(n) }
          const referrer = await client.pushImage(repository, `r${n}`, { artifactType, subject, annotations })
          assert.equal(referrer.answer.headers.get('oci-subject'), digest)
          pushed.push({ ...describeBytes(referrer.body, types.manifest), artifactType, annotations })
        }
        const walk = async (query: string): Promise<{ found: Descriptor[]; applied: string | null }> => {
          const found: Descriptor[] = []
          let applied: string | null = null
          let path: string | undefined = client.path(repository, `referrers/${digest}`, query)
          while (path !== undefined) {
            const answer = await client.send('GET', path)
            assert.deepEqual([answer.status, answer.headers.get('content-type')], [200, types.index])
            found.push(...JSON.parse(answer.body.toString()).manifests)
            applied = answer.headers.get('oci-filters-applied')
            path = nextPage(answer.headers.get('link'), target)
          }
          return { found, applied }
        }
        const byNumber = (a: Descriptor, b: Descriptor) =>
          a.annotations!['org.example.n']!.localeCompare(b.annotations!['org.example.n']!)
        const everything = await walk('')
        assert.deepEqual([everything.found.sort(byNumber), everything.applied], [pushed, null])
        const filtered = await walk(`artifactType=${encodeURIComponent(kinds[0]!)}`)
        assert.deepEqual(
          [filtered.found.sort(byNumber), filtered.applied],
          [[pushed[0], pushed[2]], 'artifactType'],
        )
        assert.equal((await client.send('GET', client.path(repository, 'referrers/sha256:bad'))).status, 400)
      },
    )

    testIf(features.referrers === 'tag')(
      'referrers tag schema: without the API a client finds and keeps the index under the tag',
      async () => {
        const repository = 'conf/tag-schema'
        const { body, digest } = await client.pushImage(repository, 'v1')
        const tag = digest.replace(':', '-')
        const path = client.path(repository, `referrers/${digest}`)
        // Nobody may believe in an API that is not there: what it pushes would be listed nowhere.
        assert.equal((await client.send('GET', path)).status, 404)
        assert.equal((await client.getManifest(repository, tag)).status, 404)
        const artifactType = 'application/vnd.example.sbom'
        const referrer = await client.pushImage(repository, 'r1', {
          artifactType,
          subject: describeBytes(body, types.manifest),
        })
        assert.equal(referrer.answer.headers.get('oci-subject'), null)
        const index = {
          schemaVersion: 2,
          mediaType: types.index,
          manifests: [{ ...describeBytes(referrer.body, types.manifest), artifactType }],
        }
        assert.equal((await client.putManifest(repository, tag, index)).status, 201)
        assert.deepEqual(JSON.parse((await client.getManifest(repository, tag)).body.toString()), index)
        const found = await client.send('GET', path)
        // The registry itself still has no API; a proxy may answer from the tag.
        if (found.status !== 404)
          assert.deepEqual(JSON.parse(found.body.toString()).manifests, index.manifests)
      },
    )

    test('any Accept is lived with', async () => {
      const { body } = await client.pushImage('conf/accept', 'v1')
      for (const accept of [
        '*/*',
        `text/html;q=0.1, ${types.manifest};q=0.9`,
        types.manifest,
        'application/*, */*;q=0.1',
      ]) {
        const got = await client.send('GET', client.path('conf/accept', 'manifests/v1'), {
          headers: { accept },
        })
        assert.deepEqual([got.status, got.body], [200, body], accept)
      }
    })
  })
}

/** The path of the next page, which must be at the same endpoint. */
function nextPage(link: string | null, target: DistributionTarget): string | undefined {
  const next = /<([^>]+)>\s*;\s*rel="?next"?/.exec(link ?? '')?.[1]
  if (next === undefined) return undefined
  const url = new URL(next, target.url)
  assert.equal(url.origin, new URL(target.url).origin, `Link leads away: ${link}`)
  return `${url.pathname}${url.search}`
}
