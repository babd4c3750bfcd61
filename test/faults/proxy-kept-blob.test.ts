// Small blobs in memory are answered at once, and just as all others are: same headers, same counts, same care about who asks and who goes away.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import { afterEach, beforeEach, test } from 'node:test'
import { TlsFace } from '../../dfdaemon/proxy/tls-face.ts'
import { PantalaError } from '../../shared/errors.ts'
import { testCertificate, testKey } from '../harness/tls-certificate.ts'
import { until } from '../scripts/session-harness.ts'
import { startProxy } from './proxy-harness.ts'

const blob = randomBytes(1024)
let stage: Awaited<ReturnType<typeof startProxy>>
let path = ''

beforeEach(async () => {
  stage = await startProxy()
  path = `/v2/team/app/blobs/${stage.blobs.add(blob)}`
  stage.blobs.inMemoryToo = true
  stage.behaviour.isKnown = true
})
afterEach(() => stage.proxy.stop(0))

/** Headers but for the time of the answer. */
function told({ headers }: { headers: Record<string, unknown> }): Record<string, unknown> {
  const { date: _date, ...rest } = headers
  return rest
}

test('the answer is the one that opening the blob gives', async () => {
  const atOnce = await stage.ask(path)
  assert.equal(stage.blobs.atOnce, 1)
  assert.equal(stage.blobs.opened, 0)
  stage.blobs.inMemoryToo = false
  const opened = await stage.ask(path)
  assert.equal(stage.blobs.opened, 1)
  assert.equal(atOnce.status, 200)
  assert.deepEqual(atOnce.body, blob)
  assert.deepEqual(atOnce.body, opened.body)
  assert.deepEqual(told(atOnce), told(opened))
  assert.deepEqual(stage.results, ['ok', 'ok'])
  assert.equal(stage.desk.running, 0)
})

test('who would have to be asked about is asked about, and refused if need be', async () => {
  stage.behaviour.isKnown = false
  stage.behaviour.mayRead = false
  assert.equal((await stage.ask(path)).status, 200)
  assert.equal(stage.checks.length, 1)
  stage.behaviour.accessError = new PantalaError('SOURCE_DENIED')
  assert.equal((await stage.ask(path)).status, 403)
  assert.deepEqual([stage.blobs.atOnce, stage.blobs.opened], [0, 1])
})

test('HEAD, ranges, and tokens that may be for another registry go the usual way', async () => {
  const token = { authorization: 'Bearer t' }
  const byPath = path.replace('/v2/', '/v2/reg.lab/')
  assert.equal((await stage.ask(path, { method: 'HEAD' })).status, 200)
  const part = await stage.ask(path, { headers: { range: 'bytes=1-2' } })
  assert.deepEqual([part.status, part.body], [206, blob.subarray(1, 3)])
  assert.equal((await stage.ask(byPath, { headers: token })).status, 200)
  assert.equal(stage.blobs.atOnce, 0)
  assert.equal((await stage.ask(path, { headers: token })).status, 200)
  assert.equal((await stage.ask(byPath)).status, 200)
  assert.equal(stage.blobs.atOnce, 2)
})

test('a pull of a layer, however small, has the next one read ahead', async () => {
  const next = stage.blobs.add(randomBytes(2048))
  stage.behaviour.next.set(path.slice(path.indexOf('sha256')) as typeof next, next)
  await stage.ask(path)
  await until(() => stage.blobs.ahead.length === 1)
  assert.equal(stage.blobs.ahead[0]!.request.digest, next)
})

test('no more are served than may be, and none while closing', async () => {
  await stage.proxy.stop(0)
  stage = await startProxy({ requestsMax: 1 })
  stage.blobs.inMemoryToo = true
  stage.behaviour.isKnown = true
  path = `/v2/team/app/blobs/${stage.blobs.add(blob)}`
  let open = (): void => {}
  stage.blobs.gate = new Promise(resolve => {
    open = resolve
  })
  const held = stage.ask(path, { headers: { range: 'bytes=0-0' } })
  await until(() => stage.blobs.opened === 1)
  assert.equal((await stage.ask(path)).status, 503)
  open()
  await held
  assert.equal((await stage.ask(path)).status, 200)
  const closing = stage.desk.close(1000)
  assert.equal((await stage.ask(path)).status, 503)
  await closing
})

test('a client that asks again and again and reads nothing is cut, and holds nothing then', async () => {
  await stage.proxy.stop(0)
  stage = await startProxy({ stalledSendMs: 200 })
  stage.blobs.inMemoryToo = true
  stage.behaviour.isKnown = true
  const large = stage.blobs.add(randomBytes(64 * 1024))
  const { hostname, port } = new URL(stage.proxy.url)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {})
  socket.pause()
  socket.write(`GET /v2/team/app/blobs/${large} HTTP/1.1\r\nhost: x\r\n\r\n`.repeat(400))
  await until(() => stage.results.includes('aborted'))
  await until(() => stage.desk.running === 0)
  assert.ok(stage.blobs.atOnce < 400)
  socket.destroy()
})

test('over HTTP/2, too; a client that resets its stream in the middle has not had it', async t => {
  const large = stage.blobs.add(randomBytes(60 * 1024))
  const face = new TlsFace({
    serve: (request, response) =>
      void stage.desk.serve(request, response, { registry: 'reg.lab', isFixed: true }),
  })
  face.setCertificate({ certificate: testCertificate, key: testKey })
  await face.listen('127.0.0.1', 0)
  const { port } = face.address() as { port: number }
  const session = connectHttp2(`https://localhost:${port}`, {
    ca: testCertificate,
    settings: { initialWindowSize: 1000 },
  })
  session.on('error', () => {})
  t.after(() => {
    session.destroy()
    face.destroy()
  })
  const whole = session.request({ ':path': path })
  assert.deepEqual(Buffer.concat(await whole.toArray()), blob)
  const cut = session.request({ ':path': `/v2/team/app/blobs/${large}` })
  cut.on('error', () => {})
  await once(cut, 'response')
  cut.close(8)
  await until(() => stage.results.length === 2)
  assert.deepEqual(stage.results, ['ok', 'aborted'])
  assert.equal(stage.blobs.atOnce, 2)
  assert.equal(stage.desk.running, 0)
})
