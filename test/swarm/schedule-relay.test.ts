// Manifests, lengths and small blobs through the schedule stream: ten hosts, one request to the source.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { isPantalaError } from '../../shared/errors.ts'
import { MemorySourceClient } from '../doubles/memory-source-client.ts'
import { HeardPushes, startScheduleEdge, startTestHost } from '../harness/schedule-net.ts'

const stops: Array<() => Promise<void>> = []
after(async () => {
  for (const stop of stops.reverse()) await stop()
})
const signal = AbortSignal.timeout(30_000)
const body = Buffer.from('{"schemaVersion":2}')
const small = Buffer.from('a config blob')
const ref = { registry: 'r', repository: 'a/b' }

async function startTen() {
  const source = new MemorySourceClient()
  source.manifests.set('a/b:v1', { mediaType: 'application/m', body })
  const digest = source.putBlob(small)
  const edge = await startScheduleEdge({ source })
  stops.push(() => edge.stop())
  const hosts = await Promise.all(
    Array.from({ length: 10 }, () => startTestHost({ supernodes: [edge.address] })),
  )
  for (const host of hosts) stops.push(() => host.stop())
  await Promise.all(hosts.map(host => host.client.firstAttempt))
  return { source, edge, hosts, digest }
}

test('ten hosts that ask at once cost one manifest, one small blob and one length', async () => {
  const { source, hosts, digest } = await startTen()
  const manifests = await Promise.all(
    hosts.map(({ client }) =>
      client.relay({ kind: 'manifest', source: ref, reference: 'v1', accept: ['a/b'] }, signal),
    ),
  )
  for (const answer of manifests) {
    assert.deepEqual(Buffer.from(answer.body!), body)
    assert.deepEqual([answer.mediaType, answer.stale], ['application/m', false])
  }
  const request = { digest, size: small.byteLength, source: ref, have: () => undefined }
  const registered = await Promise.all(
    hosts.map(({ client }) => client.register(request, new HeardPushes(), signal)),
  )
  for (const answer of registered) assert.deepEqual(Buffer.from(answer.content!), small)
  const lengths = await Promise.all(
    hosts.map(({ client }) =>
      client.relay({ kind: 'blob-length', source: ref, reference: digest, accept: [] }, signal),
    ),
  )
  assert.deepEqual(new Set(lengths.map(answer => answer.length)), new Set([small.byteLength]))
  assert.deepEqual(source.requests, [
    'GET manifest a/b:v1 anonymous',
    'GET blob anonymous',
    'HEAD blob anonymous',
  ])
})

test('the source’s errors come through with their challenge', async () => {
  const { source, hosts } = await startTen()
  source.refused.add('Bearer bad')
  const asked = hosts[0]!.client.relay(
    { kind: 'manifest', source: { ...ref, authorization: 'Bearer bad' }, reference: 'v1', accept: [] },
    signal,
  )
  await assert.rejects(
    asked,
    (error: unknown) =>
      isPantalaError(error, 'SOURCE_UNAUTHORIZED') && error.challenge === 'Bearer realm="r"',
  )
  await assert.rejects(
    hosts[0]!.client.relay({ kind: 'manifest', source: ref, reference: 'none', accept: [] }, signal),
    error => isPantalaError(error, 'SOURCE_MANIFEST_UNKNOWN'),
  )
})
