// The proxy in trouble: what it refuses and how, bodies that fail, clients that leave or hang, floods.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { afterEach, beforeEach, test } from 'node:test'
import { PantalaError } from '../../shared/errors.ts'
import { until } from '../scripts/session-harness.ts'
import { errorOf, startProxy } from './proxy-harness.ts'

let stage: Awaited<ReturnType<typeof startProxy>>

beforeEach(async () => {
  stage = await startProxy({ requestsMax: 50, stalledSendMs: 300 })
})
afterEach(() => stage.proxy.stop(0))

test('every refusal is an OCI error that says what was tried', async () => {
  const unknown = `sha256:${'a'.repeat(64)}`
  const cases: [string, string, number, string, RegExp][] = [
    ['GET', '/v2/team/app/manifests/none', 404, 'MANIFEST_UNKNOWN', /reg\.lab\/team\/app:none/],
    ['GET', `/v2/team/app/blobs/${unknown}`, 404, 'BLOB_UNKNOWN', /404/],
    ['GET', '/v2/team/app/blobs/sha256:12', 400, 'DIGEST_INVALID', /sha256:12/],
    ['GET', '/v2/Team/app/manifests/v1', 400, 'NAME_INVALID', /Team/],
    ['GET', '/v2/_catalog', 404, 'NAME_UNKNOWN', /_catalog/],
    ['GET', '/v3/', 404, 'NAME_UNKNOWN', /v3/],
    ['PUT', '/v2/team/app/manifests/v1', 405, 'UNSUPPORTED', /PUT/],
    ['POST', '/v2/team/app/blobs/uploads/', 405, 'UNSUPPORTED', /POST/],
    ['DELETE', '/v2/team/app/manifests/v1', 405, 'UNSUPPORTED', /DELETE/],
  ]
  for (const [method, path, status, code, tried] of cases) {
    const answer = await stage.ask(path, { method })
    assert.equal(answer.status, status, `${method} ${path}`)
    assert.match(String(answer.headers['content-type']), /^application\/json/)
    const error = errorOf(answer)
    assert.equal(error.code, code)
    assert.match(error.detail.tried, tried)
    assert.ok(error.detail.hint.length > 0)
  }
  assert.equal((await stage.ask('/v2/a/b/manifests/v1', { method: 'PATCH' })).headers.allow, 'GET, HEAD')
})

test('a source that is away is 502, and its challenge reaches the client unchanged', async () => {
  stage.behaviour.manifestError = new PantalaError('SOURCE_AWAY', {
    detail: 'GET https://bob:hunter2@reg.lab/v2/ refused',
  })
  const away = await stage.ask('/v2/team/app/manifests/v1')
  assert.equal(away.status, 502)
  assert.doesNotMatch(away.body.toString(), /hunter2/)
  stage.behaviour.manifestError = new PantalaError('SOURCE_UNAUTHORIZED', {
    challenge: 'Bearer realm="https://auth.lab/token"',
  })
  const refused = await stage.ask('/v2/team/app/manifests/v1')
  assert.equal(refused.status, 401)
  assert.equal(refused.headers['www-authenticate'], 'Bearer realm="https://auth.lab/token"')
})

test('GET /v2/ shows the upstream’s challenge to callers without a credential', async () => {
  stage.behaviour.forward = () => ({
    status: 401,
    headers: { 'www-authenticate': 'Basic realm="r"' },
    body: '',
  })
  const without = await stage.ask('/v2/')
  assert.deepEqual([without.status, without.headers['www-authenticate']], [401, 'Basic realm="r"'])
  assert.equal((await stage.ask('/v2/', { headers: { authorization: 'Basic eDp5' } })).status, 200)
})

test('a body that fails is cut, never ended cleanly', async () => {
  const digest = stage.blobs.add(randomBytes(2_000_000))
  stage.blobs.failAfterBytes = 1_500_000
  const answer = await stage.ask(`/v2/team/app/blobs/${digest}`)
  assert.equal(answer.status, 200)
  assert.equal(answer.whole, false)
  assert.ok(answer.body.byteLength <= 1_500_000)
  assert.deepEqual(stage.results, ['failed'])
})

test('a client that leaves frees what it held', async () => {
  const digest = stage.blobs.add(Buffer.alloc(50_000_000))
  const socket = connect(Number(new URL(stage.proxy.url).port), '127.0.0.1')
  socket.write(`GET /v2/team/app/blobs/${digest} HTTP/1.1\r\nHost: x\r\n\r\n`)
  await until(() => stage.blobs.openStreams === 1)
  socket.destroy()
  await until(() => stage.blobs.openStreams === 0 && stage.proxy.running === 0)
  assert.deepEqual(stage.results, ['aborted'])
})

test('a client that takes nothing is cut', async () => {
  const digest = stage.blobs.add(Buffer.alloc(50_000_000))
  const socket = connect(Number(new URL(stage.proxy.url).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.pause()
  socket.write(`GET /v2/team/app/blobs/${digest} HTTP/1.1\r\nHost: x\r\n\r\n`)
  await until(() => stage.blobs.openStreams === 1)
  await until(() => stage.blobs.openStreams === 0)
  socket.destroy()
})

test('requests past the bound are 503 at once, and those within it are served', async () => {
  const digest = stage.blobs.add(randomBytes(100))
  let release = () => {}
  stage.blobs.gate = new Promise(resolve => {
    release = resolve
  })
  const asks = Array.from({ length: 1000 }, () => stage.ask(`/v2/team/app/blobs/${digest}`))
  await until(() => stage.blobs.opened === 50)
  const early = await Promise.race(asks)
  assert.equal(early.status, 503)
  assert.equal(errorOf(early).detail.code, 'OVERLOADED')
  stage.blobs.gate = undefined
  release()
  const answers = await Promise.all(asks)
  const served = answers.filter(answer => answer.status === 200)
  assert.ok(served.length >= 50)
  assert.ok(answers.every(answer => answer.status === 200 || answer.status === 503))
  await until(() => stage.proxy.running === 0)
})

test('a TLS ClientHello on the plain port is refused at once', async () => {
  const socket = connect(Number(new URL(stage.proxy.url).port), '127.0.0.1')
  socket.write(Buffer.from('16030100c8010000c40303', 'hex'))
  const closed = new Promise<string>(resolve => {
    let text = ''
    socket.on('data', chunk => {
      text += chunk
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(text))
  })
  assert.match(await closed, /^(HTTP\/1\.1 400|$)/)
})

test('no answer within the bound is an error before headers, not silence', async () => {
  const slow = await startProxy({ answerMs: 100 })
  const digest = slow.blobs.add(randomBytes(100))
  slow.blobs.gate = new Promise(resolve => setTimeout(resolve, 1000))
  const answer = await slow.ask(`/v2/team/app/blobs/${digest}`)
  assert.equal(answer.status, 504)
  await slow.proxy.stop(0)
})

test('stopping lets a running request finish within the grace', async () => {
  const digest = stage.blobs.add(randomBytes(100))
  let release = () => {}
  stage.blobs.gate = new Promise(resolve => {
    release = resolve
  })
  const asking = stage.ask(`/v2/team/app/blobs/${digest}`)
  await until(() => stage.blobs.opened === 1)
  const stopping = stage.proxy.stop(5000)
  release()
  assert.equal((await asking).status, 200)
  await stopping
})

test('no credential is logged', async () => {
  stage.behaviour.manifestError = new PantalaError('SOURCE_AWAY')
  await stage.ask('/v2/team/app/manifests/v1', { headers: { authorization: 'Basic aHVudGVyMg==' } })
  assert.ok(stage.logLines.length > 0)
  for (const line of stage.logLines) assert.doesNotMatch(line, /aHVudGVyMg/)
})
