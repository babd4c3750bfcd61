// CONNECT to a host that is not intercepted: bytes both ways, untouched; nothing kept when an end goes away.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type Socket, connect as tcpConnect } from 'node:net'
import { test } from 'node:test'
import { Tunnels } from '../../dfdaemon/intercept/tunnels.ts'
import { testCertificate } from '../harness/tls-certificate.ts'
import { until } from '../harness/until.ts'
import {
  ask,
  connectTls,
  sendConnect,
  startInterceptor,
  startPlainUpstream,
  startTcpUpstream,
  startTlsUpstream,
} from './intercept-harness.ts'

/** Takes everything, says nothing, hangs up when the other end does. */
function swallow(socket: Socket): void {
  socket.resume().on('end', () => socket.end())
}

function collect(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.once('error', reject)
    socket.once('end', () => resolve(Buffer.concat(chunks)))
    socket.resume()
  })
}

test('bytes go both ways as they are, and each half ends by itself', async t => {
  const sent = randomBytes(3_000_000)
  const answer = randomBytes(5_000_000)
  let received: Buffer | undefined
  const upstream = await startTcpUpstream(t, socket => {
    // Answers only when all is there: the first half is closed by then.
    void collect(socket).then(bytes => {
      received = bytes
      socket.end(answer)
    })
  })
  const rig = await startInterceptor(t, { forward: [upstream.name] })
  const { status, socket } = await sendConnect(rig, upstream.name)
  assert.equal(status, 200)
  socket.end(sent)
  const got = await collect(socket)
  assert.ok(sent.equals(received!))
  assert.ok(answer.equals(got))
  await until(() => rig.interceptor.tunnels === 0 && upstream.sockets.size === 0)
})

test('what comes in the same packet as CONNECT is not lost', async t => {
  const upstream = await startTcpUpstream(t, socket => socket.pipe(socket))
  const rig = await startInterceptor(t, { forward: [upstream.name] })
  const socket = tcpConnect({ port: rig.port, host: '127.0.0.1' })
  socket.end(`CONNECT ${upstream.name} HTTP/1.1\r\nHost: x\r\n\r\nearly bytes`)
  const text = (await collect(socket)).toString()
  assert.match(text, /^HTTP\/1\.1 200 Connection Established\r\n\r\nearly bytes$/)
})

test('the host’s own TLS is seen by the client, and no byte of it by the dfdaemon', async t => {
  const upstream = await startTlsUpstream(t)
  const rig = await startInterceptor(t, { hosts: ['other.lab'], forward: [upstream.name] })
  const socket = await connectTls(rig, upstream.name, { ca: testCertificate })
  const answer = await ask({ socket }, '/v2/', { headers: { host: upstream.name } })
  assert.equal(answer.body.toString(), 'hello from /v2/')
  assert.deepEqual(rig.connects, ['tunnelled'])
})

test('a sender that is faster than its reader waits', async t => {
  let taken = 0
  const upstream = await startTcpUpstream(t, socket => {
    const block = Buffer.alloc(64 * 1024)
    const push = (): void => {
      while (!socket.destroyed && taken < 400_000_000) {
        taken += block.byteLength
        if (!socket.write(block)) break
      }
    }
    socket.on('drain', push)
    push()
  })
  const rig = await startInterceptor(t, { forward: [upstream.name] })
  const { socket } = await sendConnect(rig, upstream.name)
  socket.pause()
  let before = -1
  await until(() => {
    const isStill = before === taken
    before = taken
    return isStill && taken > 0
  })
  assert.ok(taken < 100_000_000, `${taken} bytes went into a client that reads nothing`)
  socket.destroy()
  await until(() => upstream.sockets.size === 0)
})

test('a client that breaks off frees the upstream, and the other way round', async t => {
  const upstream = await startTcpUpstream(t, swallow)
  const rig = await startInterceptor(t, { forward: [upstream.name] })
  const clients = await Promise.all(Array.from({ length: 20 }, () => sendConnect(rig, upstream.name)))
  assert.equal(rig.interceptor.tunnels, 20)
  for (const { socket } of clients.slice(0, 10)) socket.resetAndDestroy()
  await until(() => rig.interceptor.tunnels === 10 && upstream.sockets.size === 10)
  const ends = clients
    .slice(10)
    .map(({ socket }) => new Promise(resolve => socket.resume().on('error', resolve).on('end', resolve)))
  for (const socket of upstream.sockets) socket.resetAndDestroy()
  await Promise.all(ends)
  await until(() => rig.interceptor.tunnels === 0)
})

test('a tunnel on which nothing moves is cut, one on which something does is not', async t => {
  const upstream = await startTcpUpstream(t, socket => socket.pipe(socket))
  const [left, right] = [tcpConnect(upstream.port, '127.0.0.1'), tcpConnect(upstream.port, '127.0.0.1')]
  await Promise.all([once(left, 'connect'), once(right, 'connect')])
  const tunnels = new Tunnels({ idleMs: 1_000 })
  // Two echoes joined: a byte in between goes round for ever.
  tunnels.join(left, right, Buffer.from('x'))
  const begun = Date.now()
  await until(() => Date.now() - begun > 2_500)
  assert.equal(tunnels.size, 1)
  for (const socket of upstream.sockets) socket.unpipe().resume()
  await until(() => tunnels.size === 0)
})

test('more tunnels than the bound are 503, and a place that is free again is taken', async t => {
  const upstream = await startTcpUpstream(t, swallow)
  const rig = await startInterceptor(t, { forward: [upstream.name], limits: { tunnelsMax: 3 } })
  const all = await Promise.all(Array.from({ length: 10 }, () => sendConnect(rig, upstream.name)))
  const open = all.filter(({ status }) => status === 200)
  assert.equal(open.length, 3)
  assert.ok(all.every(({ status }) => status === 200 || status === 503))
  open[0]!.socket.destroy()
  await until(() => rig.interceptor.tunnels === 2)
  assert.equal((await sendConnect(rig, upstream.name)).status, 200)
})

test('a stop waits for tunnels no longer than its grace', async t => {
  const upstream = await startTcpUpstream(t, swallow)
  const rig = await startInterceptor(t, { forward: [upstream.name] })
  const { socket } = await sendConnect(rig, upstream.name)
  const closed = once(socket.resume(), 'end')
  const begun = Date.now()
  await rig.proxy.stop(200)
  await closed
  const took = Date.now() - begun
  assert.ok(took >= 190 && took < 2_000, `${took} ms`)
})

test('by way of another proxy where one is configured', async t => {
  const upstream = await startTlsUpstream(t)
  const tokens: (string | undefined)[] = []
  const hop = await startPlainUpstream(t)
  hop.server.on('connect', (request, socket: Socket) => {
    tokens.push(request.headers['proxy-authorization'])
    const onward = tcpConnect(upstream.port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      socket.pipe(onward).pipe(socket)
    })
    onward.on('error', () => socket.destroy())
    socket.on('error', () => onward.destroy())
  })
  const env = { HTTPS_PROXY: `http://user:pw@127.0.0.1:${hop.port}` }
  const rig = await startInterceptor(t, { forward: ['reg.invalid'], env })
  const socket = await connectTls(rig, 'reg.invalid:443', { ca: testCertificate, servername: 'localhost' })
  assert.equal(
    (await ask({ socket }, '/x', { headers: { host: 'localhost' } })).body.toString(),
    'hello from /x',
  )
  assert.deepEqual(tokens, [`Basic ${Buffer.from('user:pw').toString('base64')}`])
})

test('proxies that lead to each other are found out', async t => {
  // Each is the other's way out; a third stands in for the second, whose port is not known before the first has one.
  const between = await startPlainUpstream(t)
  const env = { HTTPS_PROXY: `http://127.0.0.1:${between.port}` }
  const rig = await startInterceptor(t, { forward: ['reg.invalid'], env })
  between.server.on('connect', (request, socket: Socket) => {
    const onward = tcpConnect(rig.port, '127.0.0.1')
    onward.write(
      `CONNECT ${request.url} HTTP/1.1\r\nHost: x\r\nVia: ${request.headers.via}, 1.1 other\r\n\r\n`,
    )
    socket.pipe(onward).pipe(socket)
    for (const end of [socket, onward]) end.on('error', () => {})
  })
  const { status } = await sendConnect(rig, 'reg.invalid:443')
  assert.equal(status, 502)
  assert.deepEqual(rig.connects, ['refused', 'failed'])
  assert.match(rig.logLines.join(''), /LOOP_DETECTED/)
})
