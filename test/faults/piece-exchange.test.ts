// Trouble between child and parent over real libp2p: hosts not admitted, silence, floods, nonsense, a child that does not read, a stop
// in the middle. Whatever happens, others are served and the process lives.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Stream } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { isPantalaError } from '../../shared/errors.ts'
import {
  encodeFrame,
  encodeRequest,
  encodeSubscribe,
  FRAME,
  FRAME_HEADER_BYTES,
  PIECE_PROTOCOL,
  PIECE_PROTOCOL_VERSION,
  REFUSAL,
  readUint32,
} from '../../shared/protocol/piece-frames.ts'
import { generateIdentity } from '../../shared/transport/identity.ts'
import { createNode } from '../../shared/transport/node.ts'
import { NotingListener } from '../contracts/piece-fetcher-suite.ts'
import { candidateOf, type ServingParent, startChild, startParent } from '../harness/piece-peers.ts'
import { makeSoundBlob, storePieces } from '../harness/sample-blob.ts'
import { until } from '../harness/until.ts'

const MiB = 1024 * 1024
const blob = makeSoundBlob('faults', 8 * MiB)
const soon = () => AbortSignal.timeout(10_000)
const hello = encodeFrame(FRAME.hello, PIECE_PROTOCOL_VERSION, 0, 0, Buffer.from('ticket'))

/** A stream to the parent on which the test speaks for itself. */
async function speakTo(t: TestContext, parent: ServingParent): Promise<{ stream: Stream; got: Buffer[] }> {
  const node = await createNode({ privateKey: await generateIdentity(), listen: [] })
  t.after(() => node.stop())
  const addresses = parent.candidate.addresses.map(address => multiaddr(address))
  const stream = await node.dialProtocol(addresses, PIECE_PROTOCOL, { signal: soon() })
  const got: Buffer[] = []
  stream.addEventListener('message', event => got.push(Buffer.from(event.data.subarray())))
  return { stream, got }
}

const isOver = (stream: Stream) => stream.status !== 'open' || stream.remoteWriteStatus !== 'writable'

test('a host that is not admitted is refused, with the ticket it showed', async t => {
  const shown: string[] = []
  const parent = await startParent(t, {
    admits: (host, ticket) => {
      shown.push(`${host} ${Buffer.from(ticket).toString()}`)
      return false
    },
  })
  const { node, fetcher } = await startChild(t, { ticket: () => Buffer.from('forged') })
  await assert.rejects(
    fetcher.connect(parent.candidate, blob.digest, blob.geometry, new NotingListener(), soon()),
    error => isPantalaError(error, 'PARENT_REFUSED') && error.detail === 'notAdmitted',
  )
  assert.deepEqual(shown, [`${node.peerId} forged`])
  await until(() => parent.server.childCount === 0)
})

test('another version is refused as such', async t => {
  const parent = await startParent(t)
  const { stream, got } = await speakTo(t, parent)
  stream.send(encodeFrame(FRAME.hello, 99, 0, 0))
  await until(() => Buffer.concat(got).byteLength >= FRAME_HEADER_BYTES)
  assert.deepEqual([...Buffer.concat(got).subarray(0, 2)], [FRAME.refuse, REFUSAL.version])
  await until(() => isOver(stream))
})

test('nonsense ends the stream, and only that one', async t => {
  const parent = await startParent(t)
  await storePieces(parent.store, blob)
  const nonsense = [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    encodeSubscribe(1, blob.digest, blob.geometry),
    Buffer.concat([hello, hello]),
    Buffer.concat([hello, encodeFrame(FRAME.subscribe, 0, 1, 0, Buffer.from('?'))]),
    Buffer.concat([
      hello,
      encodeSubscribe(1, blob.digest, blob.geometry),
      encodeSubscribe(1, blob.digest, blob.geometry),
    ]),
    Buffer.concat([hello, encodeSubscribe(1, blob.digest, blob.geometry), encodeRequest(1, 1, 8)]),
    Buffer.concat([hello, encodeFrame(FRAME.piece, 0, 0, 1, Buffer.from('x'))]),
  ]
  for (const bytes of nonsense) {
    const { stream } = await speakTo(t, parent)
    stream.send(bytes)
    await until(() => isOver(stream))
  }
  const { fetcher } = await startChild(t)
  const link = await fetcher.connect(
    parent.candidate,
    blob.digest,
    blob.geometry,
    new NotingListener(),
    soon(),
  )
  await link.fetch(0, new Uint8Array(MiB), soon())
  link.close()
  await until(() => parent.server.childCount === 1)
})

test('a stream that shows no ticket is cut', async t => {
  const parent = await startParent(t, { helloMs: 50 })
  const { stream } = await speakTo(t, parent)
  await until(() => isOver(stream))
  assert.equal(parent.server.childCount, 0)
})

test('requests beyond the bound are refused as busy, all are answered', async t => {
  const parent = await startParent(t)
  await storePieces(parent.store, blob)
  const { stream, got } = await speakTo(t, parent)
  stream.send(hello)
  stream.send(encodeSubscribe(1, blob.digest, blob.geometry))
  const ids = Array.from({ length: 1000 }, (_, at) => at + 1)
  stream.send(Buffer.concat(ids.map(id => encodeRequest(1, id, 7))))
  stream.send(Buffer.concat(ids.map(id => encodeFrame(FRAME.cancel, 0, 0, id))))
  let counts = countAnswers(got)
  await until(() => {
    counts = countAnswers(got)
    return counts.busy + counts.cancelled + counts.sent >= 1000
  })
  assert.equal(counts.busy + counts.cancelled + counts.sent, 1000)
  assert.ok(counts.busy >= 800, JSON.stringify(counts))
})

function countAnswers(got: readonly Buffer[]): { busy: number; cancelled: number; sent: number } {
  const bytes = Buffer.concat(got)
  const refused = { [REFUSAL.busy]: 0, [REFUSAL.cancelled]: 0 } as Record<number, number>
  const received = new Map<number, number>()
  for (let at = 0; at + FRAME_HEADER_BYTES <= bytes.byteLength; ) {
    const id = readUint32(bytes, at + 4)
    const length = readUint32(bytes, at + 8)
    if (bytes[at] === FRAME.refuse) refused[bytes[at + 1]!]!++
    if (bytes[at] === FRAME.piece) received.set(id, (received.get(id) ?? 0) + length)
    at += FRAME_HEADER_BYTES + length
  }
  const sent = [...received.values()].filter(length => length === MiB).length
  return { busy: refused[REFUSAL.busy]!, cancelled: refused[REFUSAL.cancelled]!, sent }
}

test('a parent that says nothing is PARENT_SILENT, at first until it speaks, then for a while', async t => {
  const mute = await createNode({ privateKey: await generateIdentity(), listen: ['/ip4/127.0.0.1/tcp/0'] })
  t.after(() => mute.stop())
  let streams = 0
  await mute.handle(PIECE_PROTOCOL, () => {
    streams++
  })
  const { fetcher } = await startChild(t, { silentMs: 60, lostMs: 300, retryMs: 60_000, retryMsMax: 60_000 })
  const candidate = candidateOf(mute)
  const connect = () => fetcher.connect(candidate, blob.digest, blob.geometry, new NotingListener(), soon())
  await assert.rejects(connect(), error => isPantalaError(error, 'PARENT_SILENT'))
  await assert.rejects(connect(), error => isPantalaError(error, 'PARENT_SILENT'))
  await until(() => fetcher.streamCount === 0)
  await assert.rejects(connect(), error => isPantalaError(error, 'PARENT_GONE'))
  assert.equal(streams, 1)
})

test('a parent that falls silent in the middle of a piece is kept, and what it goes on to send counts', async t => {
  const mute = await createNode({ privateKey: await generateIdentity(), listen: ['/ip4/127.0.0.1/tcp/0'] })
  t.after(() => mute.stop())
  let said: Stream | undefined
  await mute.handle(PIECE_PROTOCOL, stream => {
    said = stream
    // After the subscription, which comes with the hello or soon after.
    setTimeout(() => stream.send(encodeFrame(FRAME.have, 0, 0, 0, Uint8Array.of(0xff))), 30)
  })
  const { fetcher } = await startChild(t, { silentMs: 60, lostMs: 5_000 })
  const candidate = candidateOf(mute)
  const stalls: boolean[] = []
  const listener = Object.assign(new NotingListener(), {
    onStall: (stalled: boolean) => stalls.push(stalled),
  })
  const link = await fetcher.connect(candidate, blob.digest, blob.geometry, listener, soon())
  const into = Buffer.alloc(MiB)
  const fetched = link.fetch(0, into, soon())
  const half = (value: number) => encodeFrame(FRAME.piece, 0, 0, 1, Buffer.alloc(MiB / 2, value))
  said!.send(half(1))
  await until(() => stalls.length === 1)
  assert.equal(link.stalled, true)
  assert.equal(link.begun?.(0), true)
  said!.send(half(2))
  await fetched
  assert.deepEqual(stalls, [true, false])
  assert.equal(link.stalled, false)
  assert.deepEqual([into[0], into[MiB - 1]], [1, 2])
})

test('a request is given back if no byte of it was sent, else it goes on', async t => {
  const parent = await startParent(t, { slots: 1, reveal: false })
  await storePieces(parent.store, blob)
  const { fetcher } = await startChild(t)
  const link = await fetcher.connect(
    parent.candidate,
    blob.digest,
    blob.geometry,
    new NotingListener(),
    soon(),
  )
  const ask = (piece: number) => link.fetch(piece, Buffer.alloc(MiB), soon())
  const [first, second, third] = [ask(0), ask(1), ask(2)]
  // The first is being sent when the word comes, or over; the last waits for it.
  link.withdraw?.(0)
  link.withdraw?.(2)
  await assert.rejects(third!, error => isPantalaError(error, 'DEADLINE_PASSED'))
  await Promise.all([first, second])
  assert.equal(link.pending, 0)
})

test('a parent that answers what was not asked is PARENT_PROTOCOL', async t => {
  const rogue = await createNode({ privateKey: await generateIdentity(), listen: ['/ip4/127.0.0.1/tcp/0'] })
  t.after(() => rogue.stop())
  await rogue.handle(PIECE_PROTOCOL, stream => {
    stream.send(encodeFrame(FRAME.have, 0, 0, 0, Uint8Array.of(0xff)))
    stream.send(encodeFrame(FRAME.piece, 0, 0, 77, Buffer.from('surprise')))
  })
  const { fetcher } = await startChild(t)
  const listener = new NotingListener()
  const candidate = candidateOf(rogue)
  const outcome = await fetcher.connect(candidate, blob.digest, blob.geometry, listener, soon()).then(
    () => listener.closed.promise,
    error => error,
  )
  assert.ok(isPantalaError(outcome, 'PARENT_PROTOCOL'), String(outcome))
})

test('an address of another host is refused before a byte of ours is sent', async t => {
  const parent = await startParent(t)
  const other = peerIdFromPrivateKey(await generateIdentity()).toString()
  const { fetcher } = await startChild(t, { retryMs: 0 })
  const bare = parent.candidate.addresses.map(address => address.replace(/\/p2p\/.*/, ''))
  for (const addresses of [parent.candidate.addresses, bare, []])
    await assert.rejects(
      fetcher.connect(
        { host: other, addresses, seed: false },
        blob.digest,
        blob.geometry,
        new NotingListener(),
        soon(),
      ),
      error => isPantalaError(error, 'PARENT_UNREACHABLE'),
    )
  assert.equal(parent.server.childCount, 0)
})

test('a child that reads nothing is cut after the deadline, its slot goes to another', async t => {
  const parent = await startParent(t, { slots: 1, stallMs: 300 })
  const large = makeSoundBlob('large', 48 * MiB, 16 * MiB)
  await storePieces(parent.store, large)
  const { stream } = await speakTo(t, parent)
  stream.send(hello)
  stream.send(encodeSubscribe(1, large.digest, large.geometry))
  for (const piece of [0, 1, 2]) stream.send(encodeRequest(1, piece + 1, piece))
  await until(() => parent.server.slotsBusy === 1)
  stream.pause()
  const { fetcher } = await startChild(t)
  const link = await fetcher.connect(
    parent.candidate,
    large.digest,
    large.geometry,
    new NotingListener(),
    soon(),
  )
  await link.fetch(0, new Uint8Array(16 * MiB), soon())
  await until(() => parent.server.childCount === 1)
  link.close()
})

test('drain lets the piece being sent finish and refuses the rest', async t => {
  const parent = await startParent(t, { slots: 1 })
  const large = makeSoundBlob('drain', 32 * MiB, 16 * MiB)
  await storePieces(parent.store, large)
  const { fetcher } = await startChild(t)
  const listener = new NotingListener()
  const link = await fetcher.connect(parent.candidate, large.digest, large.geometry, listener, soon())
  const first = new Uint8Array(16 * MiB)
  const fetches = [link.fetch(0, first, soon()), link.fetch(1, new Uint8Array(16 * MiB), soon())]
  const settled = Promise.allSettled(fetches)
  await until(() => parent.server.slotsBusy === 1)
  await parent.server.drain(10_000)
  const [one, two] = await settled
  assert.equal(one!.status, 'fulfilled')
  assert.ok(Buffer.from(first).equals(large.piece(0)))
  assert.ok(two?.status === 'rejected' && isPantalaError(two.reason, 'PARENT_REFUSED'))
  await listener.closed.promise
  assert.equal(parent.server.uploadBytes, 16 * MiB)
})
