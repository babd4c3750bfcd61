// HTTP/2 on intercepted connections: the desk's answers as over HTTP/1.1, cut streams reset, floods bounded.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import {
  type ClientHttp2Session,
  constants,
  connect as http2Connect,
  type IncomingHttpHeaders,
} from 'node:http2'
import { type TestContext, test } from 'node:test'
import { until } from '../harness/until.ts'
import { connectTls, type InterceptRig, startInterceptor, startTlsUpstream } from './intercept-harness.ts'

async function openSession(t: TestContext, rig: InterceptRig, name: string): Promise<ClientHttp2Session> {
  const socket = await connectTls(rig, name, { ca: rig.ca, protocols: ['h2', 'http/1.1'] })
  assert.equal(socket.alpnProtocol, 'h2')
  const session = http2Connect(`https://${name}`, { createConnection: () => socket })
  session.on('error', () => {})
  t.after(() => session.destroy())
  return session
}

interface Answer {
  readonly headers: IncomingHttpHeaders & { ':status'?: number }
  readonly body: Buffer
  /** Code that the stream was ended with. */
  readonly code: number
}

function fetchOver(
  session: ClientHttp2Session,
  headers: Record<string, string>,
  body?: Buffer,
): Promise<Answer> {
  return new Promise(resolve => {
    const stream = session.request({ ':method': 'GET', ...headers }, { endStream: body === undefined })
    const chunks: Buffer[] = []
    let answered: Answer['headers'] = {}
    stream.on('response', got => {
      answered = got
    })
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('error', () => {})
    stream.on('close', () =>
      resolve({ headers: answered, body: Buffer.concat(chunks), code: stream.rstCode }),
    )
    if (body !== undefined) stream.end(body)
  })
}

async function startRig(t: TestContext) {
  const upstream = await startTlsUpstream(t, (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', chunk => chunks.push(chunk))
    request.on('end', () =>
      response.setHeader('connection', 'close').end(
        JSON.stringify({
          method: request.method,
          headers: request.headers,
          bytes: Buffer.concat(chunks).length,
        }),
      ),
    )
  })
  const rig = await startInterceptor(t, { hosts: [upstream.name], registries: { [upstream.name]: {} } })
  return { upstream, rig, session: await openSession(t, rig, upstream.name) }
}

test('manifests and blobs, many at once on one connection', async t => {
  const { rig, session, upstream } = await startRig(t)
  const bodies = Array.from({ length: 20 }, (_, index) => Buffer.alloc(500_000, `blob ${index}`))
  const digests = bodies.map(body => rig.blobs.add(body))
  const manifest = await fetchOver(session, {
    ':path': '/v2/team/app/manifests/v1',
    authorization: 'Bearer x',
  })
  assert.equal(manifest.headers[':status'], 200)
  assert.equal(manifest.headers['docker-content-digest'], rig.manifestDigest)
  assert.equal(rig.asked[0]?.authorization, 'Bearer x')
  const answers = await Promise.all(
    digests.map(digest => fetchOver(session, { ':path': `/v2/team/app/blobs/${digest}` })),
  )
  for (const [index, { body, code }] of answers.entries()) {
    assert.ok(bodies[index]!.equals(body))
    assert.equal(code, constants.NGHTTP2_NO_ERROR)
  }
  const head = await fetchOver(session, { ':method': 'HEAD', ':path': `/v2/team/app/blobs/${digests[0]}` })
  assert.equal(head.headers['content-length'], '500000')
  const ranged = await fetchOver(session, {
    ':path': `/v2/team/app/blobs/${digests[3]}`,
    range: 'bytes=7-16',
  })
  assert.equal(ranged.headers[':status'], 206)
  assert.equal(ranged.body.toString(), bodies[3]!.toString('utf8', 7, 17))
  assert.deepEqual(rig.connects, ['intercepted'])
  assert.deepEqual(upstream.asked, [])
  await until(() => rig.blobs.held === 0 && rig.desk.running === 0)
})

test('a body that fails on the way is reset, never ended cleanly', async t => {
  const { rig, session } = await startRig(t)
  const digest = rig.blobs.add(Buffer.alloc(2_000_000, 1))
  rig.blobs.failAfterBytes = 600_000
  const answer = await fetchOver(session, { ':path': `/v2/team/app/blobs/${digest}` })
  assert.equal(answer.headers[':status'], 200)
  assert.ok(answer.body.length < 2_000_000)
  assert.equal(answer.code, constants.NGHTTP2_INTERNAL_ERROR)
  // The connection goes on.
  assert.equal((await fetchOver(session, { ':path': '/v2/team/app/manifests/v1' })).headers[':status'], 200)
})

test('errors come as the registry’s', async t => {
  const { session } = await startRig(t)
  const answer = await fetchOver(session, { ':path': '/v2/team/app/manifests/none' })
  assert.equal(answer.headers[':status'], 404)
  assert.equal(JSON.parse(answer.body.toString()).errors[0].code, 'MANIFEST_UNKNOWN')
  assert.equal(
    (await fetchOver(session, { ':path': '/v2/', ':authority': 'other.lab' })).headers[':status'],
    421,
  )
})

test('other requests reach the host over HTTP/1.1, bodies of unknown length included', async t => {
  const { session, upstream } = await startRig(t)
  const answer = await fetchOver(
    session,
    { ':method': 'POST', ':path': '/service/token?a=b', 'x-mine': '1' },
    Buffer.alloc(300_000),
  )
  assert.equal(answer.headers[':status'], 200)
  assert.equal(answer.headers.connection, undefined)
  const { method, headers, bytes } = JSON.parse(answer.body.toString())
  assert.deepEqual([method, bytes, headers['x-mine'], headers.host], ['POST', 300_000, '1', upstream.name])
  assert.equal(
    Object.keys(headers).some(name => name.startsWith(':')),
    false,
  )
})

test('HEAD is answered without a body, by the desk, by the host and with an error', async t => {
  const { session } = await startRig(t)
  for (const [path, status] of [
    ['/v2/team/app/manifests/v1', 200],
    ['/v2/team/app/manifests/none', 404],
    ['/service/token', 200],
  ] as const) {
    const answer = await fetchOver(session, { ':method': 'HEAD', ':path': path })
    assert.deepEqual([answer.headers[':status'], answer.body.length, answer.code], [status, 0, 0], path)
  }
  const wrong = await fetchOver(session, { ':method': 'HEAD', ':path': '/x', ':authority': 'other.lab' })
  assert.deepEqual([wrong.headers[':status'], wrong.body.length, wrong.code], [421, 0, 0])
})

test('a client that resets a stream, or goes, frees the blob it was sent', async t => {
  const { rig, session } = await startRig(t)
  const digest = rig.blobs.add(Buffer.alloc(30_000_000, 1))
  const streams = Array.from({ length: 10 }, () =>
    session.request({ ':path': `/v2/team/app/blobs/${digest}` }),
  )
  for (const stream of streams) stream.on('error', () => {})
  await until(() => rig.blobs.held === 10)
  for (const stream of streams.slice(0, 5)) stream.close(constants.NGHTTP2_CANCEL)
  await until(() => rig.blobs.held === 5)
  session.destroy()
  await until(() => rig.blobs.held === 0 && rig.desk.running === 0 && rig.interceptor.intercepted === 0)
})

test('streams that are opened and reset without end close the connection, and leave nothing', async t => {
  const { rig, session, upstream } = await startRig(t)
  const digest = rig.blobs.add(Buffer.alloc(1_000_000, 1))
  let closed = false
  session.on('close', () => {
    closed = true
  })
  for (let round = 0; round < 100 && !closed; round++) {
    for (let index = 0; index < 50 && !session.destroyed; index++) {
      const stream = session.request({ ':path': `/v2/team/app/blobs/${digest}` })
      stream.on('error', () => {})
      stream.close(constants.NGHTTP2_CANCEL)
    }
    await new Promise(setImmediate)
  }
  await until(() => closed)
  await until(() => rig.blobs.held === 0 && rig.desk.running === 0)
  const again = await openSession(t, rig, upstream.name)
  assert.equal((await fetchOver(again, { ':path': '/v2/team/app/manifests/v1' })).headers[':status'], 200)
})

test('a client that is slower than its bytes gets them all', async t => {
  const { rig, session } = await startRig(t)
  const digest = rig.blobs.add(Buffer.alloc(20_000_000, 1))
  const stream = session.request({ ':path': `/v2/team/app/blobs/${digest}` })
  stream.on('error', () => {})
  let bytes = 0
  for await (const chunk of stream) {
    bytes += (chunk as Buffer).length
    if (bytes % 7 === 0) await new Promise(setImmediate)
    if (bytes < 1_000_000) assert.equal(rig.blobs.held, 1, 'what was not asked for is held back')
  }
  assert.equal(bytes, 20_000_000)
})

test('headers without end are refused', async t => {
  const { session } = await startRig(t)
  const answer = await Promise.race([
    fetchOver(session, { ':path': '/v2/', 'x-large': 'y'.repeat(200_000) }),
    once(session, 'close').then(() => undefined),
  ])
  assert.ok(
    answer === undefined || answer.headers[':status'] === undefined || answer.headers[':status'] === 431,
  )
})
