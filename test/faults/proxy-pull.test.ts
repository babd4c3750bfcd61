// The proxy by the OCI distribution specification 1.1: pull and content discovery, headers, ranges.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { Agent } from 'node:http'
import { connect } from 'node:net'
import { after, before, test } from 'node:test'
import { until } from '../scripts/session-harness.ts'
import { manifestType, startProxy } from './proxy-harness.ts'

let stage: Awaited<ReturnType<typeof startProxy>>
const blob = randomBytes(3_000_000)
let path = ''

before(async () => {
  stage = await startProxy()
  path = `/v2/team/app/blobs/${stage.blobs.add(blob)}`
})
after(() => stage.proxy.stop(0))

test('GET /v2/ is 200 where the source asks for nothing', async () => {
  const { status, headers } = await stage.ask('/v2/')
  assert.equal(status, 200)
  assert.equal(headers['docker-distribution-api-version'], 'registry/2.0')
})

test('a manifest by tag or digest has type, digest and length, with HEAD as with GET', async () => {
  for (const reference of ['v1', stage.manifestDigest]) {
    for (const method of ['GET', 'HEAD']) {
      const { status, headers, body } = await stage.ask(`/v2/team/app/manifests/${reference}`, { method })
      assert.equal(status, 200)
      assert.equal(headers['content-type'], manifestType)
      assert.equal(headers['docker-content-digest'], stage.manifestDigest)
      assert.equal(headers['content-length'], String(stage.manifestBody.byteLength))
      assert.deepEqual(body, method === 'GET' ? stage.manifestBody : Buffer.alloc(0))
    }
  }
})

test('Accept is told sorted, without parameters, and not at all where any type will do', async () => {
  await stage.ask('/v2/team/app/manifests/v1', { headers: { accept: 'b/b;q=0.5, a/a, b/b' } })
  assert.deepEqual(stage.asked.at(-1)!.accept, ['a/a', 'b/b'])
  await stage.ask('/v2/team/app/manifests/v1', { headers: { accept: 'a/a, */*' } })
  assert.deepEqual(stage.asked.at(-1)!.accept, [])
})

test('the registry of ?ns= and the caller’s credential reach the source', async () => {
  await stage.ask('/v2/x/y/manifests/v1?ns=other.lab:5000', { headers: { authorization: 'Bearer abc' } })
  const { registry, repository, authorization } = stage.asked.at(-1)!
  assert.deepEqual([registry, repository, authorization], ['other.lab:5000', 'x/y', 'Bearer abc'])
})

test('a blob comes whole, with its length and digest; HEAD tells both and opens nothing', async () => {
  const got = await stage.ask(path)
  assert.equal(got.status, 200)
  assert.equal(got.headers['content-type'], 'application/octet-stream')
  assert.equal(got.headers['accept-ranges'], 'bytes')
  assert.equal(got.headers['content-encoding'], undefined)
  assert.deepEqual(got.body, blob)
  const { opened } = stage.blobs
  const head = await stage.ask(path, { method: 'HEAD' })
  assert.equal(head.headers['content-length'], String(blob.byteLength))
  assert.ok(path.endsWith(String(head.headers['docker-content-digest'])))
  assert.equal(stage.blobs.opened, opened)
})

test('ranges are 206 with what was sent, 416 with the length', async () => {
  const part = await stage.ask(path, { headers: { range: 'bytes=2999990-' } })
  assert.equal(part.status, 206)
  assert.equal(part.headers['content-range'], 'bytes 2999990-2999999/3000000')
  assert.deepEqual(part.body, blob.subarray(2_999_990))
  const middle = await stage.ask(path, { headers: { range: 'bytes=100-199' } })
  assert.deepEqual(middle.body, blob.subarray(100, 200))
  const past = await stage.ask(path, { headers: { range: 'bytes=3000000-' } })
  assert.equal(past.status, 416)
  assert.equal(past.headers['content-range'], 'bytes */3000000')
  const overlapping = await stage.ask(path, { headers: { range: 'bytes=0-5,5-6' } })
  assert.deepEqual([overlapping.status, overlapping.body.byteLength], [200, 3_000_000])
})

test('a range goes by If-Range only while the content is the one it names', async () => {
  const { etag } = (await stage.ask(path, { method: 'HEAD' })).headers
  const range = 'bytes=100-199'
  const same = await stage.ask(path, { headers: { range, 'if-range': String(etag) } })
  assert.deepEqual([same.status, same.body.byteLength], [206, 100])
  const other = await stage.ask(path, { headers: { range, 'if-range': '"sha256:other"' } })
  assert.deepEqual([other.status, other.body.byteLength], [200, blob.byteLength])
})

test('an empty blob is 200 with no bytes, and has no range', async () => {
  const empty = `/v2/team/app/blobs/${stage.blobs.add(Buffer.alloc(0))}`
  const got = await stage.ask(empty)
  assert.deepEqual([got.status, got.headers['content-length'], got.whole], [200, '0', true])
  assert.equal((await stage.ask(empty, { headers: { range: 'bytes=0-' } })).status, 416)
})

test('a manifest that the client has is 304 by its ETag', async () => {
  const { etag } = (await stage.ask('/v2/team/app/manifests/v1', { method: 'HEAD' })).headers
  const again = await stage.ask('/v2/team/app/manifests/v1', { headers: { 'if-none-match': String(etag) } })
  assert.deepEqual([again.status, again.body.byteLength], [304, 0])
})

test('a pull that went well is counted so, blob by blob, and lets go of all it held', async () => {
  stage.results.length = 0
  const answers = await Promise.all(Array.from({ length: 20 }, () => stage.ask(path)))
  assert.ok(answers.every(answer => answer.whole && answer.body.equals(blob)))
  await until(() => stage.results.length === 20 && stage.desk.running === 0)
  assert.deepEqual(new Set(stage.results), new Set(['ok']))
  assert.equal(stage.blobs.held, 0)
})

test('one connection carries many requests; HTTP/1.0 and Connection: close end it after one', async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const answers = []
  for (let n = 0; n < 3; n++) answers.push(await stage.ask(path, { agent }))
  agent.destroy()
  assert.equal(new Set(answers.map(answer => answer.localPort)).size, 1)
  const port = Number(new URL(stage.proxy.url).port)
  for (const head of ['HTTP/1.0', 'HTTP/1.1\r\nHost: x\r\nConnection: close']) {
    const socket = connect(port, '127.0.0.1')
    socket.write(`GET ${path} ${head}\r\n\r\n`)
    const text = Buffer.concat(await socket.toArray())
    assert.deepEqual(text.subarray(text.indexOf('\r\n\r\n') + 4), blob)
  }
})

test('tags are the source’s own answer, and links to the next page lead back here', async () => {
  stage.behaviour.forward = () => ({
    status: 200,
    headers: { 'content-type': 'application/json', link: '</v2/team/app/tags/list?last=b&n=2>; rel="next"' },
    body: '{"name":"team/app","tags":["a","b"]}',
  })
  const { status, headers, body } = await stage.ask('/v2/team/app/tags/list?n=2&ns=reg.lab')
  assert.equal(status, 200)
  assert.equal(stage.forwarded.at(-1), '/v2/team/app/tags/list?n=2')
  assert.equal(headers.link, '</v2/team/app/tags/list?last=b&n=2&ns=reg.lab>; rel="next"')
  const prefixed = await stage.ask('/v2/reg.lab/team/app/tags/list?n=2')
  assert.equal(prefixed.headers.link, '</v2/reg.lab/team/app/tags/list?last=b&n=2>; rel="next"')
  assert.deepEqual(JSON.parse(body.toString()).tags, ['a', 'b'])
})

test('where the source has no referrers API and no tag in its stead, its 404 is the answer: clients then keep the tag', async () => {
  stage.behaviour.forward = () => ({ status: 404, headers: {}, body: '404 page not found' })
  const { status, body } = await stage.ask(`/v2/team/app/referrers/${stage.manifestDigest}`)
  assert.deepEqual([status, body.toString()], [404, '404 page not found'])
})

test('referrers come from the tag of older clients where the source has no such API', async () => {
  const body = Buffer.from('{"schemaVersion":2,"manifests":[{"artifactType":"x/signature"}]}')
  const tag = stage.manifestDigest.replace(':', '-')
  stage.behaviour.forward = () => ({ status: 404, headers: {}, body: '' })
  stage.behaviour.tagged.set(tag, { mediaType: 'application/vnd.oci.image.index.v1+json', body })
  const found = await stage.ask(`/v2/team/app/referrers/${stage.manifestDigest}`)
  assert.equal(found.status, 200)
  assert.deepEqual(found.body, body)
  stage.behaviour.tagged.set(tag, { mediaType: manifestType, body: stage.manifestBody })
  const none = await stage.ask(`/v2/team/app/referrers/${stage.manifestDigest}`)
  assert.equal(none.status, 404)
})

test('a caller that was not seen before is checked at the source before a byte of a blob', async () => {
  stage.behaviour.mayRead = false
  await stage.ask(path)
  assert.equal(stage.checks.length, 1)
  stage.behaviour.mayRead = true
})
