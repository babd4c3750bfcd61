// Pushes over HTTP/2: bodies of unknown length, an answer before the body's end, a client that resets its stream.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, constants, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2'
import { type TestContext, test } from 'node:test'
import { TlsFace } from '../../dfdaemon/proxy/tls-face.ts'
import { testCertificate, testKey } from '../harness/tls-certificate.ts'
import { until } from '../harness/until.ts'
import { startWriteStage } from '../harness/write-stage.ts'

const uploads = '/v2/team/app/blobs/uploads/'

async function startSession(t: TestContext) {
  const stage = await startWriteStage(t)
  const face = new TlsFace({
    serve: (request, response) =>
      void stage.desk.serve(request, response, { registry: stage.registry.name, isFixed: true }),
  })
  face.setCertificate({ certificate: testCertificate, key: testKey })
  await face.listen('127.0.0.1', 0)
  const { port } = face.address() as { port: number }
  const session = connect(`https://localhost:${port}`, { ca: testCertificate })
  session.on('error', () => {})
  t.after(() => {
    session.destroy()
    face.destroy()
  })
  const open = (headers: OutgoingHttpHeaders) => session.request(headers, { endStream: false })
  return { ...stage, open, session }
}

test('a body of unknown length arrives whole, and the answer comes back', async t => {
  const { registry, open } = await startSession(t)
  const bytes = randomBytes(3_000_000)
  let body = Buffer.alloc(0)
  registry.on(`${uploads}*`, async (request, response) => {
    body = Buffer.concat(await request.toArray())
    response.writeHead(202, { location: `${registry.url}${uploads}1?_state=a%3D`, connection: 'close' }).end()
  })
  const call = open({ ':method': 'PATCH', ':path': `${uploads}1?_state=b%3d` })
  call.end(bytes)
  const [headers] = (await once(call, 'response')) as [IncomingHttpHeaders]
  assert.deepEqual([headers[':status' as 'location'], headers.location], [202, `${uploads}1?_state=a%3D`])
  assert.deepEqual(body, bytes)
  assert.equal(registry.asked[0]!.path, `${uploads}1?_state=b%3d`)
  assert.deepEqual(
    Object.keys(registry.asked[0]!.headers).filter(name => name.startsWith(':')),
    [],
  )
})

test('an answer given before the body’s end reaches the client', async t => {
  const { registry, open, desk } = await startSession(t)
  registry.on(`${uploads}*`, (_request, response) => {
    response.writeHead(401, { 'www-authenticate': 'Basic realm="x"', 'content-length': 2 }).end('no')
  })
  const call = open({ ':method': 'PATCH', ':path': `${uploads}1` })
  call.on('error', () => {})
  call.write(randomBytes(100_000))
  const [headers] = (await once(call, 'response')) as [IncomingHttpHeaders]
  assert.equal(headers['www-authenticate'], 'Basic realm="x"')
  assert.equal((await call.setEncoding('utf8').toArray()).join(''), 'no')
  call.close()
  await until(() => desk.running === 0)
})

test('a client that goes in the middle of a body ends the registry’s request, and does not look finished there', async t => {
  const { registry, open, desk, session } = await startSession(t)
  let cut = 0
  let ended = 0
  registry.on(`${uploads}*`, request => {
    request.on('end', () => ended++)
    request.on('error', () => {})
    request.resume().once('close', () => cut++)
  })
  const call = open({ ':method': 'PATCH', ':path': `${uploads}1` })
  call.on('error', () => {})
  call.write(randomBytes(100_000))
  await until(() => registry.asked.length === 1)
  session.destroy()
  await until(() => cut === 1 && desk.running === 0)
  assert.equal(ended, 0)
})

test('a client that resets its stream while the registry thinks ends the registry’s request', async t => {
  const { registry, open, desk } = await startSession(t)
  let cut = 0
  registry.on(`${uploads}*`, (_request, response) => response.once('close', () => cut++))
  const call = open({ ':method': 'POST', ':path': uploads })
  call.on('error', () => {})
  call.end()
  await until(() => registry.asked.length === 1)
  call.close(constants.NGHTTP2_CANCEL)
  await until(() => cut === 1 && desk.running === 0)
})
