// Clients that hold connections and do nothing with them: bounded in number, and cut where they take no byte of an answer.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { ProxyServer } from '../../dfdaemon/proxy/server.ts'
import { until } from '../harness/until.ts'
import { startProxy } from './proxy-harness.ts'

function open(t: TestContext, url: string): Socket {
  const { port } = new URL(url)
  const socket = connect({ port: Number(port), host: '127.0.0.1' })
  socket.on('error', () => {})
  t.after(() => socket.destroy())
  return socket
}

test('connections beyond the bound are closed at once, and there is room again when one has gone', async t => {
  const base = await startProxy({})
  t.after(() => base.proxy.stop(0))
  const init = {
    host: '127.0.0.1',
    port: 0,
    face: { registry: 'reg.lab', isFixed: false },
    connectionsMax: 3,
  }
  const proxy = new ProxyServer({ desk: base.desk }, init)
  await proxy.start()
  t.after(() => proxy.stop(0))
  const idlers = [open(t, proxy.url), open(t, proxy.url), open(t, proxy.url)]
  await Promise.all(idlers.map(idler => once(idler, 'connect')))
  const fourth = open(t, proxy.url)
  await once(fourth, 'close')
  idlers[0]!.destroy()
  await once(idlers[0]!, 'close')
  // The server hears of it a moment later.
  const call = 'GET /v2/team/app/manifests/v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
  let answer = ''
  for (let tries = 0; tries < 100 && answer === ''; tries++) {
    const next = open(t, proxy.url)
    next.write(call)
    const chunks: string[] = await next
      .setEncoding('latin1')
      .toArray()
      .catch(() => [])
    answer = chunks.join('')
  }
  assert.match(answer, /^HTTP\/1\.1 200 /)
})

test('a client that takes nothing of a manifest is cut', async t => {
  const stage = await startProxy({ stalledSendMs: 300 })
  t.after(() => stage.proxy.stop(0))
  // More than the system keeps for a connection.
  const body = Buffer.alloc(32 * 1024 * 1024, 'x')
  stage.behaviour.tagged.set('large', { mediaType: 'application/x', body })
  const socket = open(t, stage.proxy.url)
  socket.pause()
  socket.write('GET /v2/team/app/manifests/large HTTP/1.1\r\nHost: x\r\n\r\n')
  await until(() => stage.desk.running === 1)
  await until(() => stage.desk.running === 0)
  socket.resume()
  let bytes = 0
  socket.on('data', chunk => {
    bytes += chunk.length
  })
  await once(socket, 'close')
  assert.ok(bytes < body.length)
})
