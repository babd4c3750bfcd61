// A host that floods, talks nonsense, sends too much or does not read is held within bounds, and the others do not notice.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { encode as encodeFrame } from 'it-length-prefixed'
import { encodeMessage } from '../../shared/protocol/codec.ts'
import { type HostMessage, SCHEDULE_PROTOCOL } from '../../shared/protocol/messages.ts'
import { generateIdentity } from '../../shared/transport/identity.ts'
import { createNode } from '../../shared/transport/node.ts'
import { OUTBOUND_BYTES_MAX } from '../../supernode/edge/host-streams.ts'
import { MESSAGES_BURST_MAX, MESSAGES_PER_SEC_MAX } from '../../supernode/edge/inbound-rate.ts'
import { HeardPushes, startScheduleEdge, startTestHost, until } from '../harness/schedule-net.ts'
import { digest, MiB } from '../scripts/cluster-script.ts'

const stops: Array<() => Promise<void>> = []
after(async () => {
  for (const stop of stops.reverse()) await stop()
})
const source = { registry: 'reg.lab', repository: 'a/b' }
const hello: HostMessage = {
  type: 'hello',
  name: 'x',
  addresses: [],
  seed: false,
  uploadSlots: 1,
  version: '0',
}
const frameOf = (message: HostMessage) => encodeFrame.single(encodeMessage(message)).subarray()

/** A supernode with one well-behaved host, and a bare stream of another. */
async function startAbuse() {
  const edge = await startScheduleEdge()
  stops.push(() => edge.stop())
  const good = await startTestHost({ supernodes: [edge.address] })
  stops.push(() => good.stop())
  await good.client.firstAttempt
  const libp2p = await createNode({ privateKey: await generateIdentity(), listen: [] })
  stops.push(async () => libp2p.stop())
  const connection = await libp2p.dial(multiaddr(edge.address))
  const stream: Stream = await connection.newStream(SCHEDULE_PROTOCOL)
  const id = libp2p.peerId.toString()
  const isOver = () => stream.status !== 'open'
  const answersQuickly = async () => {
    const startedAt = performance.now()
    const request = { digest: `sha256:${'ef'.repeat(32)}` as const, size: MiB, source, have: () => undefined }
    await good.client.register(request, new HeardPushes(), AbortSignal.timeout(5000))
    good.client.finish(request.digest, 'left')
    return performance.now() - startedAt
  }
  return { edge, stream, id, isOver, answersQuickly }
}

test('nonsense ends the stream', async () => {
  const { stream, isOver, answersQuickly, edge, id } = await startAbuse()
  stream.addEventListener('message', () => {})
  stream.send(frameOf(hello))
  await until(() => edge.state.hosts.has(id), 'hello')
  stream.send(new Uint8Array([5, 1, 2, 3, 4, 5]))
  await until(isOver, 'end')
  await until(() => !edge.state.hosts.has(id), 'host gone')
  assert.ok((await answersQuickly()) < 2000)
})

test('a frame over its limit ends the stream before it is read', async () => {
  const { stream, isOver } = await startAbuse()
  stream.addEventListener('message', () => {})
  stream.send(frameOf(hello))
  stream.send(new Uint8Array([0xff, 0xff, 0xff, 0x7f]))
  await until(isOver, 'end')
})

test('a message before hello ends the stream', async () => {
  const { stream, isOver, edge, id } = await startAbuse()
  stream.addEventListener('message', () => {})
  stream.send(frameOf({ type: 'heartbeat', slotsBusy: 0, storeBytes: 0 }))
  await until(isOver, 'end')
  assert.equal(edge.state.hosts.has(id), false)
})

test('a flood is read at its rate, and others are answered meanwhile', async () => {
  const { stream, edge, answersQuickly, isOver } = await startAbuse()
  stream.addEventListener('message', () => {})
  stream.send(frameOf(hello))
  const handled = () => edge.scheduler.counts.reports
  const report = frameOf({
    type: 'report',
    digest,
    pieces: Array.from({ length: 64 }, (_, piece) => piece),
    hashes: new Uint8Array(64 * 32),
    fromSourceBytes: 1,
    parents: [],
    slotsBusy: 0,
  })
  const burst = new Uint8Array(report.byteLength * 100)
  for (let copy = 0; copy < 100; copy++) burst.set(report, copy * report.byteLength)
  const startedAt = performance.now()
  let sent = 0
  while (sent < 20_000 && !isOver() && stream.writeBufferLength < 4 * MiB) {
    stream.send(burst)
    sent += 100
    await new Promise(resolve => setImmediate(resolve))
  }
  assert.ok((await answersQuickly()) < 2000)
  const elapsedSec = (performance.now() - startedAt) / 1000
  assert.ok(sent > MESSAGES_BURST_MAX / 2, `${sent} sent`)
  assert.ok(
    handled() <= MESSAGES_BURST_MAX + MESSAGES_PER_SEC_MAX * elapsedSec + 1,
    `${handled()} of ${sent} messages were read in ${elapsedSec} s`,
  )
})

test('a host that does not read is cut once too much waits for it', async () => {
  const { stream, edge, id, answersQuickly } = await startAbuse()
  stream.addEventListener('message', () => stream.pause())
  stream.send(frameOf(hello))
  await until(() => edge.state.hosts.has(id), 'hello')
  // Each registration of a task with all hashes known is answered by 128 KiB that nobody reads.
  const size = 4096 * 4 * MiB
  const pieces = Array.from({ length: 4096 }, (_, piece) => piece)
  edge.state.apply({ type: 'task-known', digest, size, pieceSize: 4 * MiB, at: 0 })
  edge.state.apply({ type: 'hashes-known', digest, pieces, hashes: new Uint8Array(4096 * 32) })
  let asked = 0
  const register = () => stream.send(frameOf({ type: 'register', id: asked++, digest, size, source }))
  await until(() => {
    if (stream.status === 'open' && edge.state.hosts.has(id)) register()
    return !edge.state.hosts.has(id)
  }, 'cut')
  const answeredBytes = asked * 4096 * 32
  assert.ok(answeredBytes < OUTBOUND_BYTES_MAX * 4, `${answeredBytes} bytes were asked for`)
  assert.ok((await answersQuickly()) < 2000)
})
