// Children that no supernode helps: what a parent tells them, and what it does not. Over real libp2p streams.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Candidate } from '../../shared/protocol/messages.ts'
import { NotingListener } from '../contracts/piece-fetcher-suite.ts'
import { startChild, startParent } from '../harness/piece-peers.ts'
import { makeSoundBlob, storePieces } from '../harness/sample-blob.ts'
import { until } from '../harness/until.ts'

const MiB = 1024 * 1024
const blob = makeSoundBlob('seekers', 4 * MiB)
const soon = () => AbortSignal.timeout(10_000)

class SeekerListener extends NotingListener {
  readonly others: Candidate[] = []

  onOthers(others: readonly Candidate[]): void {
    this.others.push(...others)
  }
}

test('seekers of the same task hear of each other, with the addresses they gave; nobody else does', async t => {
  const seen: Candidate[] = []
  const { candidate } = await startParent(t, {
    seekers: { mayTell: () => false, onSeeker: (_digest, seeker) => void seen.push(seeker) },
  })
  const ids: string[] = []
  const listeners: SeekerListener[] = []
  for (const place of [0, 1, 2]) {
    const { node, fetcher } = await startChild(t)
    const listener = new SeekerListener()
    const link = await fetcher.connect(candidate, blob.digest, blob.geometry, listener, soon())
    t.after(() => link.close())
    ids.push(node.peerId.toString())
    listeners.push(listener)
    // The last one has a supernode.
    if (place < 2) link.alone([`/ip4/127.0.0.1/tcp/${7000 + place}`, 'no address'])
    await until(() => seen.length === Math.min(2, place + 1))
  }
  await until(() => listeners[0]!.others.length === 1 && listeners[1]!.others.length === 1)
  assert.deepEqual(listeners[0]!.others, [
    { host: ids[1], addresses: ['/ip4/127.0.0.1/tcp/7001'], seed: false },
  ])
  assert.deepEqual(listeners[1]!.others, [
    { host: ids[0], addresses: ['/ip4/127.0.0.1/tcp/7000'], seed: false },
  ])
  assert.deepEqual(listeners[2]!.others, [])
})

test('hashes of what is under way come before the word that it is held, and only those vouched for', async t => {
  const vouched = new Set([0, 2])
  const { candidate, store, server } = await startParent(t, {
    seekers: { mayTell: (_digest, piece) => vouched.has(piece), onSeeker() {} },
  })
  await storePieces(store, blob, [0, 1])
  const { fetcher } = await startChild(t)
  const listener = new NotingListener()
  const link = await fetcher.connect(candidate, blob.digest, blob.geometry, listener, soon())
  t.after(() => link.close())
  link.alone([])
  await listener.untilHashes(1, soon())
  assert.deepEqual([...listener.hashes.keys()], [0])
  const order: string[] = []
  const onHashes = listener.onHashes.bind(listener)
  const onHave = listener.onHave.bind(listener)
  listener.onHashes = (pieces, hashes) => {
    order.push(`hashes ${pieces}`)
    onHashes(pieces, hashes)
  }
  listener.onHave = pieces => {
    order.push(`have ${pieces}`)
    onHave(pieces)
  }
  await storePieces(store, blob, [2])
  await listener.until(1, soon())
  assert.deepEqual(order, ['hashes 2', 'have 2'])
  vouched.add(1)
  server.tellHashes(blob.digest)
  await listener.untilHashes(3, soon())
  assert.deepEqual([...listener.hashes.keys()], [0, 2, 1])
})
