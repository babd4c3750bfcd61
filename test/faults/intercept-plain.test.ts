// Plain requests in absolute form: registries that are spoken to over plain HTTP are answered for, everything else is forwarded.
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { until } from '../harness/until.ts'
import { ask, startInterceptor, startPlainUpstream, startTcpUpstream } from './intercept-harness.ts'

test('a registry configured insecure is served by the desk, under the name it was asked by', async t => {
  const upstream = await startPlainUpstream(t)
  const rig = await startInterceptor(t, { registries: { [upstream.name]: { insecure: true } } })
  const answer = await ask(rig, `http://${upstream.name}/v2/team/app/manifests/v1`)
  assert.equal(answer.status, 200)
  assert.deepEqual(answer.body, rig.manifestBody)
  assert.deepEqual(
    rig.asked.map(({ registry, repository }) => `${registry}/${repository}`),
    [`${upstream.name}/team/app`],
  )
  assert.deepEqual(upstream.asked, [])
  assert.equal((await ask(rig, `http://${upstream.name}/token`)).body.toString(), 'hello from /token')
})

test('any other registry is forwarded: over plain HTTP, as it was asked', async t => {
  const upstream = await startPlainUpstream(t)
  const rig = await startInterceptor(t, { forward: [upstream.name] })
  const answer = await ask(rig, `http://${upstream.name}/v2/team/app/manifests/v1?ns=x%2Fy`)
  assert.equal(answer.body.toString(), 'hello from /v2/team/app/manifests/v1?ns=x%2Fy')
  assert.deepEqual(rig.asked, [])
  assert.equal(rig.counted.forwarded, 1)
})

test('bodies pass as they are, up and down: chunked, gzipped, empty, large', async t => {
  const gzipped = gzipSync(Buffer.alloc(200_000, 'text'))
  const upstream = await startPlainUpstream(t, (request, response) => {
    if (request.url === '/gzip') response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipped)
    else if (request.url === '/none') response.writeHead(204).end()
    else request.pipe(response.writeHead(200))
  })
  const rig = await startInterceptor(t, { forward: [upstream.name] })
  const at = (path: string) => `http://${upstream.name}${path}`
  assert.ok(gzipped.equals((await ask(rig, at('/gzip'))).body))
  assert.equal((await ask(rig, at('/none'))).status, 204)
  const large = Buffer.alloc(4_000_000, 'push')
  const echoed = await ask(rig, at('/echo'), {
    method: 'PUT',
    body: large,
    headers: { 'transfer-encoding': 'chunked' },
  })
  assert.ok(large.equals(echoed.body))
  const head = await ask(rig, at('/gzip'), { method: 'HEAD' })
  assert.equal(head.body.length, 0)
})

test('an answer that breaks off breaks off for the client, too', async t => {
  const upstream = await startPlainUpstream(t, (_request, response) => {
    response.writeHead(200, { 'content-length': 1000 })
    response.write('part', () => response.destroy())
  })
  const rig = await startInterceptor(t, { forward: [upstream.name] })
  const answer = await ask(rig, `http://${upstream.name}/x`)
  assert.equal(answer.whole, false)
})

test('a client that goes away frees what it held', async t => {
  const upstream = await startPlainUpstream(t, () => {})
  const rig = await startInterceptor(t, { forward: [upstream.name] })
  const clients = Array.from({ length: 20 }, () => {
    const socket = connect(rig.port, '127.0.0.1')
    socket.write(`GET http://${upstream.name}/x HTTP/1.1\r\nHost: ${upstream.name}\r\n\r\n`)
    return socket
  })
  await until(() => upstream.asked.length === 20)
  for (const socket of clients) socket.destroy()
  await until(() => upstream.sockets.size === 0)
})

test('an upstream that takes the request and says nothing is 504', async t => {
  const silent = await startTcpUpstream(t, socket => void socket.resume())
  const rig = await startInterceptor(t, { forward: [silent.name], limits: { answerMs: 300 } })
  assert.equal((await ask(rig, `http://${silent.name}/x`)).status, 504)
})

test('headers without end are refused', async t => {
  const rig = await startInterceptor(t)
  const socket = connect(rig.port, '127.0.0.1')
  let text = ''
  socket.on('data', chunk => {
    text += chunk
  })
  socket.on('error', () => {})
  socket.write(`CONNECT reg.lab:443 HTTP/1.1\r\nx: ${'y'.repeat(100_000)}`)
  await until(() => socket.destroyed || text !== '')
  assert.match(text, /^HTTP\/1\.1 (?:400|431)/)
  socket.destroy()
})

test('a TLS ClientHello on the plain port is refused at once', async t => {
  const rig = await startInterceptor(t)
  const socket = connect(rig.port, '127.0.0.1')
  let text = ''
  socket.on('data', chunk => {
    text += chunk
  })
  socket.write(Buffer.from('160301020001000001fc0303', 'hex'))
  const begun = Date.now()
  await until(() => socket.destroyed || text !== '')
  assert.match(text, /^HTTP\/1\.1 400/)
  assert.ok(Date.now() - begun < 1_000)
})
