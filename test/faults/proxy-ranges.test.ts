// Ranges of a blob over real HTTP: several at once, by their conditions, and what a client that goes away leaves behind.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import { readMultipart } from '../harness/read-multipart.ts'
import { until } from '../scripts/session-harness.ts'
import { startProxy } from './proxy-harness.ts'

let stage: Awaited<ReturnType<typeof startProxy>>
const blob = randomBytes(3_000_000)
let path = ''

before(async () => {
  stage = await startProxy()
  path = `/v2/team/app/blobs/${stage.blobs.add(blob)}`
})
after(() => stage.proxy.stop(0))

test('several ranges are parts of a multipart answer, in the order asked for', async () => {
  const got = await stage.ask(path, { headers: { range: 'bytes=1000000-1999999, 0-0, -500' } })
  assert.equal(got.status, 206)
  assert.equal(got.headers['content-range'], undefined)
  assert.equal(got.headers['content-length'], String(got.body.byteLength))
  const parts = readMultipart(got.headers['content-type'], got.body)
  assert.deepEqual(
    parts.map(part => part.headers['content-range']),
    ['bytes 1000000-1999999/3000000', 'bytes 0-0/3000000', 'bytes 2999500-2999999/3000000'],
  )
  assert.deepEqual(
    Buffer.concat(parts.map(part => part.body)),
    Buffer.concat([blob.subarray(1_000_000, 2_000_000), blob.subarray(0, 1), blob.subarray(2_999_500)]),
  )
})

test('only the ranges asked for are opened, in one go', async () => {
  await stage.ask(path, { headers: { range: 'bytes=10-19,30-39' } })
  assert.deepEqual(stage.blobs.spans.at(-1), [
    { offset: 10, length: 10 },
    { offset: 30, length: 10 },
  ])
  await stage.ask(path)
  assert.equal(stage.blobs.spans.at(-1), undefined)
})

test('where one range of several is left, it is no multipart', async () => {
  const got = await stage.ask(path, { headers: { range: 'bytes=5-6, 3000000-' } })
  assert.deepEqual([got.status, got.headers['content-range']], [206, 'bytes 5-6/3000000'])
  assert.deepEqual(got.body, blob.subarray(5, 7))
})

test('a HEAD passes Range over, and 416 names the length', async () => {
  const head = await stage.ask(path, { method: 'HEAD', headers: { range: 'bytes=5-6' } })
  assert.deepEqual([head.status, head.headers['content-length']], [200, '3000000'])
  const past = await stage.ask(path, { headers: { range: 'bytes=3000000-, 4000000-' } })
  assert.deepEqual([past.status, past.headers['content-range']], [416, 'bytes */3000000'])
})

test('If-Range honours the range only for a strong tag of the same content', async () => {
  const { etag } = (await stage.ask(path, { method: 'HEAD' })).headers
  const status = async (condition: string) =>
    (await stage.ask(path, { headers: { range: 'bytes=5-6', 'if-range': condition } })).status
  assert.equal(await status(String(etag)), 206)
  assert.equal(await status(`W/${etag}`), 200)
  assert.equal(await status('Sat, 29 Oct 2025 19:43:31 GMT'), 200)
})

test('a suffix of an empty blob is the empty blob', async () => {
  const empty = `/v2/team/app/blobs/${stage.blobs.add(Buffer.alloc(0))}`
  const got = await stage.ask(empty, { headers: { range: 'bytes=-5' } })
  assert.deepEqual([got.status, got.headers['content-length']], [200, '0'])
})

test('a body that fails between parts is cut', async () => {
  stage.blobs.failAfterBytes = 100
  const got = await stage.ask(path, { headers: { range: 'bytes=0-49,1000-1999' } })
  stage.blobs.failAfterBytes = Number.POSITIVE_INFINITY
  assert.deepEqual([got.status, got.whole], [206, false])
  await until(() => stage.blobs.held === 0)
})
