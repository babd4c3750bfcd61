// A body of unknown length that its client leaves unfinished must not look whole to the host it was for, whichever way it came.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { constants } from 'node:http2'
import { type TestContext, test } from 'node:test'
import { until } from '../harness/until.ts'
import { connectTls, type InterceptRigInit, startInterceptor, startTlsUpstream } from './intercept-harness.ts'

/** An upstream that counts bodies which came to an end, and those that broke off. */
async function startCounting(t: TestContext, limits: InterceptRigInit['limits'] = {}) {
  const bodies = { bytes: 0, whole: 0, cut: 0 }
  const upstream = await startTlsUpstream(t, (request: IncomingMessage, response: ServerResponse) => {
    request.on('data', (chunk: Buffer) => {
      bodies.bytes += chunk.length
    })
    request.on('error', () => {})
    request.once('end', () => {
      bodies.whole++
      response.end()
    })
    request.once('close', () => {
      if (!request.complete) bodies.cut++
    })
  })
  const rig = await startInterceptor(t, {
    hosts: [upstream.name],
    registries: { [upstream.name]: {} },
    limits,
  })
  return { bodies, rig, name: upstream.name }
}

function frame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head.writeUInt8(type, 3)
  head.writeUInt8(flags, 4)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** Headers by index of the static table, values as they are (RFC 7541, section 6.2.2). */
function literal(index: number, value: string): Buffer {
  return Buffer.concat([Buffer.from([index, value.length]), Buffer.from(value)])
}

// Node's own client ends a stream before it resets it, so the frames are made here.
for (const code of [constants.NGHTTP2_CANCEL, constants.NGHTTP2_NO_ERROR])
  test(`HTTP/2: a stream reset with code ${code} ends the host’s request as broken off`, async t => {
    const { bodies, rig, name } = await startCounting(t)
    const socket = await connectTls(rig, name, { ca: rig.ca, protocols: ['h2'] })
    socket.on('error', () => {})
    t.after(() => socket.destroy())
    const headers = [Buffer.from([0x87]), literal(2, 'PATCH'), literal(4, '/api/upload'), literal(1, name)]
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
    socket.write(frame(4, 0, 0, Buffer.alloc(0)))
    socket.write(frame(1, 0x4, 1, Buffer.concat(headers)))
    socket.write(frame(0, 0, 1, randomBytes(10_000)))
    await until(() => bodies.bytes === 10_000)
    socket.write(frame(3, 0, 1, Buffer.from([0, 0, 0, code])))
    await until(() => bodies.whole + bodies.cut === 1)
    assert.deepEqual(bodies, { bytes: 10_000, whole: 0, cut: 1 })
  })

test('HTTP/1.1: a connection that closes in the middle of chunks ends the host’s request as broken off', async t => {
  const { bodies, rig, name } = await startCounting(t)
  const socket = await connectTls(rig, name, { ca: rig.ca, protocols: ['http/1.1'] })
  socket.on('error', () => {})
  socket.write(
    `PATCH /api/upload HTTP/1.1\r\nHost: ${name}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`,
  )
  await until(() => bodies.bytes === 5)
  socket.end()
  await until(() => bodies.whole + bodies.cut === 1)
  assert.deepEqual(bodies, { bytes: 5, whole: 0, cut: 1 })
})

test('a body that stops coming is given up, also where the connection stays', async t => {
  const { bodies, rig, name } = await startCounting(t, { stalledBodyMs: 300 })
  const socket = await connectTls(rig, name, { ca: rig.ca, protocols: ['http/1.1'] })
  socket.on('error', () => {})
  socket.write(`POST /api/upload HTTP/1.1\r\nHost: ${name}\r\nContent-Length: 10\r\n\r\nhello`)
  await until(() => bodies.bytes === 5)
  const [answer] = (await once(socket, 'data')) as [Buffer]
  assert.match(answer.toString(), /^HTTP\/1\.1 5\d\d .*DEADLINE_PASSED/s)
  await until(() => bodies.cut === 1)
  assert.equal(bodies.whole, 0)
})
