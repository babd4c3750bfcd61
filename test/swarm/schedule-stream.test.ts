// The schedule stream over real loopback libp2p: from hello to grants, hashes and parents, and back again after a loss.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { systemClock } from '../../shared/clock.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { TicketGate } from '../../shared/protocol/admission.ts'
import type { Grant, Holding } from '../../shared/protocol/messages.ts'
import { generateIdentity } from '../../shared/transport/identity.ts'
import { HeardPushes, startScheduleEdge, startTestHost, until } from '../harness/schedule-net.ts'

const MiB = 1024 * 1024
const digest = `sha256:${'ab'.repeat(32)}` as const
const source = { registry: 'reg.lab', repository: 'a/b' }
const size = 4 * MiB
const signal = AbortSignal.timeout(50_000)
const request = { digest, size, source, have: () => undefined }
const stops: Array<() => Promise<void>> = []
after(async () => {
  for (const stop of stops.reverse()) await stop()
})
const kept = <T extends { stop(): Promise<void> }>(started: T): T => {
  stops.push(() => started.stop())
  return started
}

test('a new task is granted to the seed; its hashes and new holders are pushed to who waits', async () => {
  const edge = kept(await startScheduleEdge())
  const supernodes = [edge.address]
  const [seed, one, two] = await Promise.all([
    startTestHost({ supernodes, seed: true }),
    startTestHost({ supernodes }),
    startTestHost({ supernodes }),
  ])
  for (const host of [seed, one, two]) kept(host)
  await Promise.all([seed, one, two].map(host => host.client.firstAttempt))

  const grants: Grant[] = []
  seed.client.onGrant = grant => grants.push(grant)
  const heardByOne = new HeardPushes()
  const registered = await one.client.register(request, heardByOne, signal)
  assert.equal(registered.pieceSize, MiB)
  assert.deepEqual(
    registered.parents.map(parent => [parent.host, parent.seed]),
    [[seed.id, true]],
  )
  await until(() => grants.length === 1, 'grant')
  assert.deepEqual(grants[0]!.runs, [{ first: 0, count: 4 }])
  assert.deepEqual(grants[0]!.source, source)

  const heardBySeed = new HeardPushes()
  await seed.client.register(request, heardBySeed, signal)
  seed.client.report({
    digest,
    pieces: [0, 1],
    hashes: new Uint8Array(64).fill(3),
    fromSourceBytes: 2 * MiB,
    parents: [],
  })
  await until(() => heardByOne.pieces.length === 2, 'hashes')
  one.client.report({ digest, pieces: [0], fromSourceBytes: 0, parents: [{ host: seed.id, bytes: MiB }] })

  const heardByTwo = new HeardPushes()
  await until(() => edge.state.tasks.get(digest)!.copiesOf(0) === 2, 'report of one')
  const late = await two.client.register(request, heardByTwo, signal)
  assert.equal(late.hashes.byteLength, 64)
  assert.deepEqual(late.hashed, new Uint8Array([0b1100_0000]))
  assert.deepEqual(new Set(late.parents.map(parent => parent.host)), new Set([seed.id, one.id]))
  assert.equal(edge.scheduler.counts.sourceBytes, 2 * MiB)

  // The seed goes: what it had not fetched is granted to those who want it, at once, and in disjoint runs.
  const regrants: Grant[] = []
  one.client.onGrant = grant => regrants.push(grant)
  two.client.onGrant = grant => regrants.push(grant)
  await seed.stop()
  await until(
    () => regrants.flatMap(grant => grant.runs).reduce((sum, run) => sum + run.count, 0) === 3,
    'regrant',
  )
  assert.deepEqual(
    regrants
      .flatMap(grant => grant.runs.flatMap(run => Array.from({ length: run.count }, (_, i) => run.first + i)))
      .sort(),
    [1, 2, 3],
  )
})

test('after a supernode restart the client comes back, announces and registers again', async () => {
  const edge = kept(await startScheduleEdge())
  const held: Holding = { digest: `sha256:${'cd'.repeat(32)}`, size: MiB, pieceSize: MiB }
  const host = kept(await startTestHost({ supernodes: [edge.address], holdings: () => [held] }))
  await host.client.firstAttempt
  await until(() => edge.state.tasks.get(held.digest)?.full.size === 1, 'announce')
  const heard = new HeardPushes()
  await host.client.register({ ...request, have: () => new Uint8Array([128]) }, heard, signal)
  await edge.restart()
  await until(() => heard.returns.length === 1, 'return')
  assert.equal(heard.away, 1)
  assert.equal(host.client.connected, true)
  assert.equal(edge.state.tasks.get(digest)!.peers.get(host.id)!.have.count, 1)
  await until(() => edge.state.tasks.get(held.digest)?.full.size === 1, 'announce again')
})

test('the ticket is good for the host that got it', async () => {
  const edge = kept(await startScheduleEdge())
  const host = kept(await startTestHost({ supernodes: [edge.address] }))
  await host.client.firstAttempt
  const gate = new TicketGate({ clock: systemClock }, { supernodeKeys: [edge.privateKey.publicKey.raw] })
  assert.equal(gate.admits(host.id, host.client.ticket), true)
  assert.equal(gate.admits('other', host.client.ticket), false)
})

test('a wrong or missing secret is refused, and says so', async () => {
  const edge = kept(await startScheduleEdge({ secret: 'right' }))
  const supernodes = [edge.address]
  const right = kept(await startTestHost({ supernodes, secret: 'right' }))
  await right.client.firstAttempt
  for (const secret of ['wrong', undefined]) {
    const host = kept(await startTestHost({ supernodes, secret }))
    await assert.rejects(host.client.firstAttempt, error => isPantalaError(error, 'ADMISSION_REFUSED'))
    assert.equal(edge.state.hosts.has(host.id), false)
  }
})

test('another PeerId at the address is told apart from a supernode that is away', async () => {
  const edge = kept(await startScheduleEdge())
  const stranger = peerIdFromPrivateKey(await generateIdentity()).toString()
  const address = edge.address.replace(/p2p\/.*/, `p2p/${stranger}`)
  const host = kept(await startTestHost({ supernodes: [address] }))
  await assert.rejects(host.client.firstAttempt, error => isPantalaError(error, 'SUPERNODE_IDENTITY'))
  const away = kept(await startTestHost({ supernodes: [`/ip4/127.0.0.1/tcp/1/p2p/${stranger}`] }))
  await assert.rejects(away.client.firstAttempt, error => isPantalaError(error, 'SUPERNODE_AWAY'))
})
