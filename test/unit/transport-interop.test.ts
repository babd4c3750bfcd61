// Our TLS and yamux with stock libp2p, each way: streams with many bytes in both directions, half-close, resets, the piece protocol.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import { isByteStream } from '../../shared/transport/byte-stream.ts'
import { generateIdentity } from '../../shared/transport/identity.ts'
import { NotingListener } from '../contracts/piece-fetcher-suite.ts'
import { nodeKinds } from '../harness/node-kinds.ts'
import { startChild, startParent } from '../harness/piece-peers.ts'
import { makeSoundBlob, storePieces } from '../harness/sample-blob.ts'
import { until } from '../harness/until.ts'

const MiB = 1024 * 1024
const soon = () => AbortSignal.timeout(10_000)

const pairs: ReadonlyArray<readonly [dialler: string, listener: string]> = [
  ['ours', 'ours'],
  ['ours', 'ours without the reused buffer'],
  ['ours', 'stock tls'],
  ['stock tls', 'ours'],
  ['ours', 'stock noise'],
  ['stock noise', 'ours'],
  ['ours with stock tls', 'ours'],
  ['ours', 'ours with stock tls'],
  ['ours with stock yamux', 'ours'],
  ['ours', 'ours with stock yamux'],
  ['stock noise, lean yamux', 'stock noise'],
  ['stock noise', 'stock noise, lean yamux'],
]

interface Pair {
  readonly listener: Libp2p
  readonly connection: Connection
}

async function connectPair(t: TestContext, dialler: string, listener: string): Promise<Pair> {
  const a = await nodeKinds[listener]!({
    privateKey: await generateIdentity(),
    listen: ['/ip4/127.0.0.1/tcp/0'],
  })
  t.after(() => a.stop())
  const b = await nodeKinds[dialler]!({ privateKey: await generateIdentity(), listen: [] })
  t.after(() => b.stop())
  return { listener: a, connection: await b.dial(a.getMultiaddrs(), { signal: soon() }) }
}

async function readAll(stream: Stream): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of stream) parts.push(Uint8Array.from(part.subarray()))
  return Buffer.concat(parts)
}

async function sendAll(stream: Stream, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.byteLength; at += 100_000)
    if (!stream.send(bytes.subarray(at, at + 100_000))) await stream.onDrain({ signal: soon() })
  await stream.close({ signal: soon() })
}

for (const [dialler, listener] of pairs) {
  test(`${dialler} dials ${listener}: bytes both ways, half-close, reset`, async t => {
    const { listener: node, connection } = await connectPair(t, dialler, listener)
    await node.handle('/echo/1', async stream => {
      const bytes = await readAll(stream)
      await sendAll(stream, bytes)
    })
    const bytes = Buffer.from(makeSoundBlob(dialler, 5 * MiB + 7).bytes)
    // Several at once, so that frames of streams mix.
    await Promise.all(
      [0, 1, 2].map(async turn => {
        const stream = await connection.newStream('/echo/1', { signal: soon() })
        const [back] = await Promise.all([readAll(stream), sendAll(stream, bytes.subarray(turn))])
        assert.ok(back.equals(bytes.subarray(turn)))
      }),
    )
    const seen = Promise.withResolvers<Stream>()
    await node.handle('/open/1', stream => seen.resolve(stream))
    const stream = await connection.newStream('/open/1', { signal: soon() })
    const remote = await seen.promise
    stream.abort(new Error('enough'))
    await until(() => remote.status === 'reset')
    await until(() => connection.streams.length === 0)
    const again = await connection.newStream('/echo/1', { signal: soon() })
    const [back] = await Promise.all([readAll(again), sendAll(again, Buffer.from('still here'))])
    assert.equal(back.toString(), 'still here')
  })

  test(`${dialler} dials ${listener}: pieces`, async t => {
    const parent = await startParent(t, { makeNode: nodeKinds[listener] })
    const child = await startChild(t, { makeNode: nodeKinds[dialler] })
    const blob = makeSoundBlob('pieces', 9 * MiB + 1)
    await storePieces(parent.store, blob)
    const { candidate } = parent
    const link = await child.fetcher.connect(
      candidate,
      blob.digest,
      blob.geometry,
      new NotingListener(),
      soon(),
    )
    t.after(() => link.close())
    const pieces = Array.from({ length: 10 }, (_, piece) => new Uint8Array(blob.piece(piece).byteLength))
    await Promise.all(pieces.map((into, piece) => link.fetch(piece, into, soon())))
    for (const [piece, into] of pieces.entries()) assert.ok(Buffer.from(into).equals(blob.piece(piece)))
    await until(() => parent.server.uploadBytes === blob.bytes.byteLength)
  })
}

test('our nodes use TLS below and our muxer', async t => {
  const { connection } = await connectPair(t, 'ours', 'ours')
  assert.equal(connection.encryption, '/tls/1.0.0')
  assert.equal(connection.multiplexer, '/yamux/1.0.0')
  const { listener } = await connectPair(t, 'ours', 'ours')
  await listener.handle('/x', () => {})
  const stream = await connection.newStream('/ipfs/none').catch(() => undefined)
  assert.equal(stream, undefined)
  assert.ok(connection.streams.every(isByteStream))
})
