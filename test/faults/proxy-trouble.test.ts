// The proxy in trouble: what it refuses and how, bodies that fail, clients that leave or hang, floods.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, beforeEach, test } from 'node:test'
import { ProxyServer } from '../../dfdaemon/proxy/server.ts'
import { PantalaError } from '../../shared/errors.ts'
import { until } from '../scripts/session-harness.ts'
import { errorOf, type Forwarded, startProxy } from './proxy-harness.ts'

let stage: Awaited<ReturnType<typeof startProxy>>

beforeEach(async () => {
  stage = await startProxy({ requestsMax: 50, stalledSendMs: 300, writes: false })
})
afterEach(() => stage.proxy.stop(0))

test('every refusal is an OCI error that says what was tried', async () => {
  const unknown = `sha256:${'a'.repeat(64)}`
  const cases: [string, string, number, string, RegExp][] = [
    ['GET', '/v2/team/app/manifests/none', 404, 'MANIFEST_UNKNOWN', /reg\.lab\/team\/app:none/],
    ['GET', `/v2/team/app/blobs/${unknown}`, 404, 'BLOB_UNKNOWN', /404/],
    ['GET', '/v2/team/app/blobs/sha256:12', 400, 'DIGEST_INVALID', /sha256:12/],
    ['GET', '/v2/Team/app/manifests/v1', 400, 'NAME_INVALID', /Team/],
    ['GET', '/v2/%zz/app/manifests/v1', 400, 'NAME_INVALID', /%zz/],
    ['GET', 'http://reg.lab/v2/team/app/manifests/v1', 404, 'NAME_UNKNOWN', /reg\.lab/],
    ['PROPFIND', '/v2/team/app/manifests/v1', 405, 'UNSUPPORTED', /PROPFIND/],
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
  for (const challenge of ['Basic realm="a\r\nx: y"', 'Basic realm="日"', '']) {
    stage.behaviour.manifestError = new PantalaError('SOURCE_UNAUTHORIZED', { challenge })
    const odd = await stage.ask('/v2/team/app/manifests/v1')
    assert.deepEqual([odd.status, odd.headers['www-authenticate']], [401, undefined])
  }
})

test('GET /v2/ shows the upstream’s challenge to callers without a credential', async () => {
  stage.behaviour.forward = () => ({
    status: 401,
    headers: { 'www-authenticate': 'Basic realm="r"' },
    body: '',
  })
  const without = await stage.ask('/v2/')
  assert.deepEqual([without.status, without.headers['www-authenticate']], [401, 'Basic realm="r"'])
})

test('a credential shown at /v2/ is tried at the source, so that a wrong one is found out at login', async () => {
  stage.behaviour.forward = (_path, authorization): Forwarded => {
    if (authorization === 'Basic cmlnaHQ=') return { status: 200, headers: {}, body: '{}' }
    return { status: 401, headers: { 'www-authenticate': 'Basic realm="r"' }, body: '' }
  }
  assert.equal((await stage.ask('/v2/', { headers: { authorization: 'Basic cmlnaHQ=' } })).status, 200)
  assert.equal((await stage.ask('/v2/', { headers: { authorization: 'Basic d3Jvbmc=' } })).status, 401)
})

test('a source that forbids at /v2/, or shows no challenge, is repeated as it is', async () => {
  for (const status of [401, 403]) {
    stage.behaviour.forward = () => ({ status, headers: {}, body: '' })
    const answer = await stage.ask('/v2/', { headers: { authorization: 'Basic d3Jvbmc=' } })
    assert.deepEqual([answer.status, answer.headers['www-authenticate']], [status, undefined])
    assert.equal(errorOf(answer).code, status === 401 ? 'UNAUTHORIZED' : 'DENIED')
  }
})

test('GET /v2/ of many at once is one question to the source, and 200 where the source is away', async () => {
  let release = (_: Forwarded) => {}
  const answer = new Promise<Forwarded>(resolve => {
    release = resolve
  })
  stage.behaviour.forward = () => answer
  const asks = Array.from({ length: 20 }, () => stage.ask('/v2/'))
  await until(() => stage.desk.running === 20)
  release({ status: 503, headers: {}, body: '' })
  for (const { status } of await Promise.all(asks)) assert.equal(status, 200)
  assert.equal(stage.forwarded.length, 1)
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

test('a body that ends short is cut too', async () => {
  const digest = stage.blobs.add(randomBytes(600_000))
  stage.blobs.endAfterBytes = 500_000
  const answer = await stage.ask(`/v2/team/app/blobs/${digest}`)
  assert.deepEqual([answer.whole, answer.body.byteLength], [false, 500_000])
  assert.deepEqual(stage.results, ['failed'])
  assert.equal(stage.blobs.held, 0)
})

test('where writes are off, pushes are refused whatever their type and body, and the connection is closed instead of read', async () => {
  for (const type of ['application/json', ';;;', 'x'.repeat(2000)]) {
    const headers = { 'content-type': type, 'content-length': '500000' }
    const answer = await stage.ask('/v2/team/app/blobs/uploads/', { method: 'POST', headers })
    assert.equal(answer.status, 405, type)
    assert.equal(errorOf(answer).code, 'UNSUPPORTED')
    assert.equal(answer.headers.connection, 'close')
  }
})

test('a client that leaves frees what it held', async () => {
  const digest = stage.blobs.add(Buffer.alloc(50_000_000))
  const socket = connect(Number(new URL(stage.proxy.url).port), '127.0.0.1')
  socket.write(`GET /v2/team/app/blobs/${digest} HTTP/1.1\r\nHost: x\r\n\r\n`)
  await until(() => stage.blobs.openStreams === 1)
  socket.destroy()
  await until(() => stage.blobs.openStreams === 0 && stage.desk.running === 0)
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

test('small blobs asked for over one connection that nobody reads from: what the system does not take is cut', async t => {
  const own = await startProxy({ requestsMax: 1000, stalledSendMs: 300 })
  t.after(() => own.proxy.stop(0))
  const digest = own.blobs.add(randomBytes(60_000))
  const socket = connect(Number(new URL(own.proxy.url).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.pause()
  socket.write(`GET /v2/team/app/blobs/${digest} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(300))
  await until(() => own.results.length === 300)
  assert.deepEqual([...new Set(own.results)], ['ok', 'aborted'])
  assert.deepEqual([own.blobs.held, own.desk.running], [0, 0])
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
  await until(() => stage.desk.running === 0)
})

test('who sends nonsense and then neither speaks nor ends takes nobody’s place', async t => {
  const face = { registry: 'reg.lab', isFixed: true }
  const narrow = new ProxyServer(
    { desk: stage.desk },
    { host: '127.0.0.1', port: 0, face, connectionsMax: 1 },
  )
  await narrow.start()
  t.after(() => narrow.stop(0))
  const { hostname, port } = new URL(narrow.url)
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true })
  t.after(() => socket.destroy())
  socket.on('error', () => {})
  socket.write('nonsense\r\n\r\n')
  socket.resume()
  await once(socket, 'end')
  const ask = () =>
    fetch(`${narrow.url}/v2/`, { headers: { connection: 'close' } }).then(
      ({ status }) => status,
      () => 0,
    )
  const deadline = performance.now() + 5_000
  while ((await ask()) !== 200) assert.ok(performance.now() < deadline, 'the place was not given back')
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
  // Not even a part that overlooks the signal keeps the client waiting, and what it opens afterwards is let go of.
  let release = () => {}
  slow.blobs.gate = new Promise(resolve => {
    release = resolve
  })
  const answer = await slow.ask(`/v2/team/app/blobs/${digest}`)
  assert.equal(answer.status, 504)
  release()
  await until(() => slow.blobs.held === 0)
  slow.behaviour.forward = () => new Promise(() => {})
  assert.equal((await slow.ask('/v2/team/app/tags/list')).status, 504)
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
  const port = Number(new URL(stage.proxy.url).port)
  const stopping = stage.proxy.stop(5000)
  const late = connect(port, '127.0.0.1')
  const refusal = await new Promise<NodeJS.ErrnoException>(resolve => late.once('error', resolve))
  assert.equal(refusal.code, 'ECONNREFUSED')
  release()
  assert.equal((await asking).status, 200)
  await stopping
})

test('no credential is logged', async () => {
  stage.behaviour.manifestError = new PantalaError('SOURCE_AWAY')
  const headers = { authorization: 'Basic aHVudGVyMg==' }
  const paths = [
    '/v2/team/app/manifests/v1',
    '/v2/team/app/manifests/v1?ns=https://bob:hunter2@reg.lab',
    '/v2/team/app/manifests/v1?ns=bob:hunter2@reg.lab',
    '/v2/bob:hunter2@reg.lab/app/manifests/v1',
    '/v2/team/bob:hunter2@app/manifests/v1',
    '/v2/team/app/manifests/bob-hunter2@v1',
    '/v2/team/app/manifests/v1?access_token=hunter2',
    'http://bob:hunter2@reg.lab/v2/team/app/manifests/v1?token=hunter2',
  ]
  for (const path of paths) await stage.ask(path, { headers })
  assert.equal(stage.logLines.length, paths.length)
  for (const line of stage.logLines) assert.doesNotMatch(line, /aHVudGVyMg|hunter2/)
})
