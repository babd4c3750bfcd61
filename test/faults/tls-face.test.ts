// The TLS face by itself: time limits, junk, another certificate from one handshake to the next, nothing left when its clients go.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'
import { makeAuthority, makeLeaf } from '../../dfdaemon/intercept/authority/authority-certificate.ts'
import { TlsFace, type TlsFaceInit } from '../../dfdaemon/proxy/tls-face.ts'
import { testCertificate, testKey } from '../harness/tls-certificate.ts'
import { until } from '../harness/until.ts'

/** A face that is handed the connections of a plain server, as it is by CONNECT. */
async function startFace(t: TestContext, init: Partial<TlsFaceInit> = {}) {
  const face = new TlsFace({
    serve: (request, response) => response.end(`${request.method} ${request.url}`),
    ...init,
  })
  face.setCertificate({ certificate: testCertificate, key: testKey })
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, socket => face.accept(socket))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    face.destroy()
  })
  return { face, port: (server.address() as AddressInfo).port }
}

async function shakeHands(
  port: number,
  options: { servername?: string; ca?: string } = {},
): Promise<TLSSocket> {
  const socket = tlsConnect({
    port,
    host: '127.0.0.1',
    ca: testCertificate,
    servername: 'localhost',
    ...options,
  })
  await once(socket, 'secureConnect')
  return socket
}

function readAll(socket: Socket): Promise<string> {
  return new Promise(resolve => {
    let text = ''
    socket.on('data', chunk => {
      text += chunk
    })
    socket.on('error', () => resolve(text))
    socket.on('close', () => resolve(text))
  })
}

test('junk instead of TLS ends the connection at once', async t => {
  const { face, port } = await startFace(t)
  for (const junk of [
    'GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n',
    '\x16\x03\x01\xff\xff',
    Buffer.alloc(100_000, 0x80),
  ]) {
    const socket = connect(port, '127.0.0.1')
    socket.write(junk)
    if (typeof junk === 'string' && junk.startsWith('\x16')) socket.end()
    await readAll(socket)
  }
  await until(() => face.size === 0)
})

test('a handshake that is never begun, or never ended, is given up', async t => {
  const { face, port } = await startFace(t, { handshakeMs: 200 })
  const begun = Date.now()
  const silent = connect(port, '127.0.0.1')
  const half = connect(port, '127.0.0.1')
  half.write(Buffer.from('1603010200', 'hex'))
  await Promise.all([readAll(silent), readAll(half)])
  assert.ok(Date.now() - begun < 3_000)
  await until(() => face.size === 0)
})

test('headers that drip are given up: on the first request of a connection, and on a later one', async t => {
  const { face, port } = await startFace(t, { headersMs: 300 })
  for (const before of ['', 'GET /a HTTP/1.1\r\nHost: x\r\n\r\n']) {
    const socket = await shakeHands(port)
    const answered = readAll(socket)
    socket.write(`${before}GET /slow HTTP/1.1\r\nHost: x\r\nx-a: `)
    const drip = setInterval(() => socket.write('y'), 50)
    const begun = Date.now()
    assert.match(await answered, /408|400/)
    clearInterval(drip)
    assert.ok(Date.now() - begun < 5_000)
  }
  await until(() => face.size === 0)
})

test('a new certificate is shown to those who come after, and those before are served on', async t => {
  const { face, port } = await startFace(t)
  const before = await shakeHands(port)
  const authority = await makeAuthority(['localhost'], 'test', Date.now())
  face.setCertificate(await makeLeaf(authority, 'localhost', Date.now()))
  const after = await shakeHands(port, { ca: authority.certificate })
  for (const socket of [before, after]) {
    socket.write('GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    assert.match(await readAll(socket), /200 OK[\s\S]*GET \/x/)
  }
  assert.throws(() => face.setCertificate({ certificate: testCertificate, key: 'nonsense' }), {
    code: 'CONFIG_INVALID',
  })
})

test('a name that is not the host’s ends the handshake; none is taken for the host’s', async t => {
  const { port } = await startFace(t, { servername: 'localhost' })
  await assert.rejects(shakeHands(port, { servername: 'other.lab' }))
  const socket = tlsConnect({ port, host: '127.0.0.1', ca: testCertificate })
  await once(socket, 'secureConnect')
  socket.destroy()
})

test('CONNECT and upgrades within are no way around it', async t => {
  const { port } = await startFace(t)
  const tunnel = await shakeHands(port)
  tunnel.write('CONNECT reg.lab:443 HTTP/1.1\r\nHost: reg.lab\r\n\r\n')
  assert.doesNotMatch(await readAll(tunnel), /200/)
  const upgrade = await shakeHands(port)
  upgrade.write('GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n')
  assert.match(await readAll(upgrade), /^HTTP\/1\.1 200/)
})

test('a request of HTTP/1.1 that calls itself HTTP/2.0 is answered as one of HTTP/1.1', async t => {
  const { port } = await startFace(t)
  const socket = await shakeHands(port)
  socket.write('GET /x HTTP/2.0\r\nHost: x\r\nConnection: close\r\n\r\n')
  assert.match(await readAll(socket), /^HTTP\/1\.1 200 [\s\S]*GET \/x$/)
})

test('a hundred clients that come and go leave nothing', async t => {
  const { face, port } = await startFace(t)
  for (let round = 0; round < 5; round++) {
    const sockets = await Promise.all(Array.from({ length: 20 }, () => shakeHands(port)))
    for (const [index, socket] of sockets.entries()) {
      socket.on('error', () => {})
      if (index % 3 === 0) socket.write('GET /x HTTP/1.1\r\nHost: x\r\n\r\n')
      if (index % 3 === 1) socket.end()
      else socket.destroy()
    }
  }
  await until(() => face.size === 0)
})
