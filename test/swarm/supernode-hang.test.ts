// A supernode that takes the stream and answers nothing: it is passed over for another, and its silence alone ends nothing.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SupernodeSet } from '../../dfdaemon/scheduler/supernode-set.ts'
import type { Digest } from '../../shared/digest.ts'
import { orderByRendezvous } from '../../shared/rendezvous.ts'
import { HeardPushes, startHangingEdge, startScheduleEdge, startTestHost } from '../harness/schedule-net.ts'
import { until } from '../harness/until.ts'

const source = { registry: 'r', repository: 'a/b' }

/** A digest of which the first of the two is the owner. */
function digestOwnedBy(owner: string, other: string): Digest {
  for (let number = 0; ; number++) {
    const digest: Digest = `sha256:${String(number).padStart(64, '0')}`
    if (orderByRendezvous([owner, other], digest, id => id)[0] === owner) return digest
  }
}

test('the owner hangs: another supernode is asked, and the task is its own', async t => {
  const hanging = await startHangingEdge()
  const edge = await startScheduleEdge()
  const other = edge.libp2p.peerId.toString()
  const toHanging = await startTestHost({ supernodes: [hanging.address], silentMs: 300 })
  const toOther = await startTestHost({ supernodes: [edge.address], silentMs: 300 })
  t.after(async () => {
    await Promise.all([toHanging.stop(), toOther.stop(), hanging.stop(), edge.stop()])
  })
  const set = new SupernodeSet(
    new Map([
      [hanging.id, toHanging.client],
      [other, toOther.client],
    ]),
  )
  await Promise.all([toHanging.client.firstAttempt, toOther.client.firstAttempt])
  const digest = digestOwnedBy(hanging.id, other)
  const request = { digest, size: 4 * 1024 * 1024, source, have: () => undefined }
  const registered = await set.register(request, new HeardPushes(), AbortSignal.timeout(10_000))
  assert.equal(registered.digest, digest)
  assert.ok(edge.state.tasks.has(digest))
  assert.deepEqual(hanging.heard.slice(0, 3), ['hello', 'announce', 'register'])
  assert.ok(hanging.heard.includes('heartbeat'), 'it was asked for a sign of life first')
})

test('a supernode that shows no sign of life when one is asked for is lost soon', async t => {
  const hanging = await startHangingEdge()
  const host = await startTestHost({ supernodes: [hanging.address], silentMs: 200 })
  t.after(async () => {
    await Promise.all([host.stop(), hanging.stop()])
  })
  await host.client.firstAttempt
  host.client.expectSign()
  await until(() => hanging.heard.includes('heartbeat'))
  // It connects again, and the hanging edge welcomes it again.
  await until(() => hanging.heard.filter(type => type === 'hello').length > 1)
})

test('with nothing awaited, silence between heartbeats is no fault', async t => {
  const hanging = await startHangingEdge()
  const host = await startTestHost({ supernodes: [hanging.address], silentMs: 50 })
  t.after(async () => {
    await Promise.all([host.stop(), hanging.stop()])
  })
  await host.client.firstAttempt
  host.client.finish(digestOwnedBy('a', 'b'), 'left')
  await until(() => hanging.heard.includes('finish'))
  assert.equal(hanging.heard.filter(type => type === 'hello').length, 1)
  assert.ok(host.client.connected)
})
