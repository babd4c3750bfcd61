// The lean muxer against ends that break yamux or do not keep up: refused within bounds, the connection cut or the stream reset, and a
// reader that does not read bounds what its sender holds.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { MessageStream, Stream, StreamMuxer } from '@libp2p/interface'
import { multiaddrConnectionPair } from '@libp2p/utils'
import { byteSender, takeBytes } from '../../shared/transport/byte-stream.ts'
import { generateIdentity } from '../../shared/transport/identity.ts'
import { leanYamux } from '../../shared/transport/lean-yamux.ts'
import { encodeYamuxHeader, FLAG, YAMUX } from '../../shared/transport/lean-yamux-frames.ts'
import { createNode } from '../../shared/transport/node.ts'
import { until } from '../harness/until.ts'

const MiB = 1024 * 1024
const soon = () => AbortSignal.timeout(10_000)

/** A lean muxer on the accepting end, and the other end as raw bytes in the test's hands. */
function openRaw(t: TestContext, init: Parameters<typeof leanYamux>[0] = {}) {
  const [ours, theirs] = multiaddrConnectionPair()
  const muxer: StreamMuxer = leanYamux(init)().createStreamMuxer(theirs)
  const streams: Stream[] = []
  muxer.addEventListener('stream', event => streams.push(event.detail))
  const got: Buffer[] = []
  ours.addEventListener('message', event => got.push(Buffer.from(event.data.subarray())))
  t.after(() => {
    muxer.abort(new Error('test over'))
    ours.abort(new Error('test over'))
  })
  const frames = () => {
    const bytes = Buffer.concat(got)
    return Array.from({ length: Math.floor(bytes.byteLength / 12) }, (_, at) => ({
      type: bytes[at * 12 + 1]!,
      flags: bytes[at * 12 + 3]!,
      id: bytes.readUInt32BE(at * 12 + 4),
      length: bytes.readUInt32BE(at * 12 + 8),
    }))
  }
  return { wire: ours as MessageStream, connection: theirs as MessageStream, muxer, streams, frames }
}

const open = (id: number) => encodeYamuxHeader(YAMUX.windowUpdate, FLAG.syn, id, 0)

test('frames that break the protocol cut the connection', async t => {
  const data = (id: number, length: number, flags = 0) => encodeYamuxHeader(YAMUX.data, flags, id, length)
  const cases: Record<string, Uint8Array[]> = {
    'another version': [Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)],
    'an unknown type': [Uint8Array.of(0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)],
    'data on stream 0': [data(0, 10)],
    'a stream of our own numbers': [open(2)],
    'a stream opened twice': [open(1), open(1)],
    'data past the window at the header': [open(1), data(1, 16 * MiB)],
    'a frame over any limit': [open(1), data(1, 0xffffffff)],
    'a window beyond its counter': [open(1), ...Array(2).fill(encodeYamuxHeader(1, 0, 1, 0xffffffff))],
  }
  for (const [name, frames] of Object.entries(cases)) {
    const { wire, connection, muxer } = openRaw(t)
    for (const frame of frames) wire.send(frame)
    await until(() => connection.status !== 'open')
    assert.equal(muxer.status, 'closed', name)
  }
})

test('data past the window in small frames cuts the connection', async t => {
  const { wire, connection, streams } = openRaw(t)
  wire.send(open(1))
  await until(() => streams.length === 1)
  streams[0]!.pause()
  let sent = 0
  const body = new Uint8Array(64 * 1024)
  while (connection.status === 'open' && sent < 64 * MiB) {
    wire.send(encodeYamuxHeader(YAMUX.data, 0, 1, body.byteLength))
    wire.send(body)
    sent += body.byteLength
    await new Promise(resolve => setImmediate(resolve))
  }
  assert.ok(sent <= 3 * MiB, `${sent} bytes`)
})

test('streams beyond the bound are reset, those within live', async t => {
  const { wire, connection, streams, frames } = openRaw(t, { inboundStreamsMax: 10 })
  for (let id = 1; id < 2000; id += 2) wire.send(open(id))
  await until(() => frames().filter(frame => frame.flags === FLAG.rst).length === 990)
  assert.equal(streams.length, 10)
  assert.equal(connection.status, 'open')
  streams[0]!.abort(new Error('room'))
  wire.send(open(2001))
  await until(() => streams.length === 11)
})

test('bytes for streams that are not there run past', async t => {
  const { wire, streams, connection } = openRaw(t)
  wire.send(encodeYamuxHeader(YAMUX.data, 0, 77, 5))
  wire.send(Buffer.from('stray'))
  wire.send(encodeYamuxHeader(YAMUX.windowUpdate, FLAG.rst, 79, 0))
  wire.send(open(1))
  wire.send(encodeYamuxHeader(YAMUX.data, FLAG.fin, 1, 4))
  wire.send(Buffer.from('last'))
  await until(() => streams.length === 1)
  const parts: Uint8Array[] = []
  streams[0]!.addEventListener('message', event => parts.push(event.data.subarray()))
  await until(() => streams[0]!.readableEnded)
  assert.equal(Buffer.concat(parts).toString(), 'last')
  assert.equal(connection.status, 'open')
})

test('pings are answered; an end that answers none is given up', async t => {
  const { wire, connection, frames } = openRaw(t, { pingMs: 30 })
  wire.send(encodeYamuxHeader(YAMUX.ping, FLAG.syn, 0, 4711))
  await until(() => frames().some(frame => frame.type === YAMUX.ping && frame.length === 4711))
  await until(() => connection.status !== 'open')
})

/** Two of our nodes and a stream between them. */
async function openStream(t: TestContext): Promise<{ near: Stream; far: Stream }> {
  const a = await createNode({ privateKey: await generateIdentity(), listen: ['/ip4/127.0.0.1/tcp/0'] })
  t.after(() => a.stop())
  const b = await createNode({ privateKey: await generateIdentity(), listen: [] })
  t.after(() => b.stop())
  const far = Promise.withResolvers<Stream>()
  await a.handle('/x/1', stream => far.resolve(stream))
  const near = await b.dialProtocol(a.getMultiaddrs(), '/x/1', { signal: soon() })
  return { near, far: await far.promise }
}

test('a reader that does not read stops an ordinary sender, and all arrives once it does', async t => {
  const { near, far } = await openStream(t)
  far.pause()
  const block = new Uint8Array(100_000).fill(7)
  let sent = 0
  // Sends on as long as the stream says it may; a drain that does not come is the stop.
  for (let stopped = false; !stopped; ) {
    sent += block.byteLength
    assert.ok(sent < 32 * MiB, 'never told to stop')
    if (near.send(block)) continue
    await near.onDrain({ signal: AbortSignal.timeout(200) }).catch(() => {
      stopped = true
    })
  }
  assert.ok(far.readBufferLength >= MiB / 2, `${far.readBufferLength} bytes held`)
  assert.ok(far.readBufferLength <= 2 * MiB, `${far.readBufferLength} bytes held`)
  assert.ok(sent <= 8 * MiB, `${sent} bytes taken from the sender`)
  let received = 0
  far.addEventListener('message', event => {
    received += event.data.byteLength
  })
  far.resume()
  await until(() => received === sent)
})

test('chunks wait for a slow reader and their buffers come back in order', async t => {
  const { near, far } = await openStream(t)
  let received = 0
  takeBytes(far, (buffer, start, end) => {
    for (let at = start; at < end; at += 4096)
      if (buffer[at] !== 3) throw new Error(`wrong byte ${buffer[at]}`)
    received += end - start
  })
  const sender = byteSender(near)
  assert.ok(sender.returnsBuffers)
  const total = 40 * MiB
  let sent = 0
  const sendNext = (buffer: Buffer): void => {
    if (sent === total) return
    sent += buffer.byteLength - 64
    buffer.fill(3, 64)
    sender.sendChunk(buffer, 64, buffer.byteLength, () => sendNext(buffer))
  }
  for (let i = 0; i < 2; i++) sendNext(Buffer.alloc(64 + MiB))
  await until(() => received === total)
  assert.equal(sender.queuedBytes, 0)
})
