// The relay asks the source once for all, keeps answers for a moment, and gives no credential what another one got.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { digestOf } from '../../shared/digest.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { SourceRelay } from '../../supernode/edge/relay.ts'
import { MemorySourceClient } from '../doubles/memory-source-client.ts'
import { TurnedClock } from '../doubles/turned-clock.ts'

const signal = AbortSignal.timeout(20_000)
const body = Buffer.from('{"schemaVersion":2}')
const small = Buffer.from('a config blob')

function makeRelay() {
  const source = new MemorySourceClient()
  source.manifests.set('a/b:v1', { mediaType: 'application/m', body })
  const digest = source.putBlob(small)
  const clock = new TurnedClock()
  const relay = new SourceRelay({ source, clock }, { tagFreshMs: 5000, accessFreshMs: 60_000 })
  const ask = (authorization?: string, known?: typeof digest, fresh?: boolean) =>
    relay.relay(
      {
        kind: 'manifest',
        source: { registry: 'r', repository: 'a/b', authorization },
        reference: 'v1',
        accept: ['x/y'],
        known,
        fresh,
      },
      signal,
    )
  const askFresh = () => ask(undefined, undefined, true)
  const askBlob = (authorization?: string) =>
    relay.smallBlob(
      { digest, size: small.byteLength, source: { registry: 'r', repository: 'a/b', authorization } },
      signal,
    )
  return { source, digest, clock, relay, ask, askFresh, askBlob }
}

test('ten hosts that ask at once for a tag cost the source one request', async () => {
  const { source, ask } = makeRelay()
  const answers = await Promise.all(Array.from({ length: 10 }, () => ask()))
  assert.deepEqual(source.requests, ['GET manifest a/b:v1 anonymous'])
  for (const answer of answers) assert.deepEqual(Buffer.from(answer.body!), body)
})

test('a tag is fresh for its time, then asked again with HEAD', async () => {
  const { source, clock, ask } = makeRelay()
  await ask()
  clock.ms = 4999
  await ask()
  assert.equal(source.requests.length, 1)
  clock.ms = 5001
  const answer = await ask()
  assert.deepEqual(source.requests.slice(1), ['HEAD manifest a/b:v1 anonymous'])
  assert.deepEqual(Buffer.from(answer.body!), body)
})

test('a manifest the host knows does not travel', async () => {
  const { ask } = makeRelay()
  const answer = await ask(undefined, digestOf(body))
  assert.equal(answer.body, undefined)
  assert.equal(answer.length, body.byteLength)
})

test('a moved tag is seen after its fresh time', async () => {
  const { source, clock, ask } = makeRelay()
  await ask()
  const moved = Buffer.from('{"schemaVersion":2,"moved":true}')
  source.manifests.set('a/b:v1', { mediaType: 'application/m', body: moved })
  clock.ms = 5001
  assert.deepEqual(Buffer.from((await ask()).body!), moved)
})

test('away source: the last answer, marked stale; without one, the error', async () => {
  const { source, clock, ask } = makeRelay()
  await ask()
  clock.ms = 60_000
  source.away = true
  const answer = await ask()
  assert.equal(answer.stale, true)
  assert.deepEqual(Buffer.from(answer.body!), body)
  await assert.rejects(ask('Bearer other'), error => isPantalaError(error, 'SOURCE_AWAY'))
})

test('an answer for one credential is not given to another', async () => {
  const { source, ask } = makeRelay()
  source.refused.add('Bearer bad')
  await ask('Bearer good')
  await assert.rejects(ask('Bearer bad'), (error: unknown) => {
    assert.ok(isPantalaError(error, 'SOURCE_UNAUTHORIZED'))
    return error.challenge === 'Bearer realm="r"'
  })
})

test('with the source away nobody is told what only others were, and nothing that is a day old', async () => {
  const { source, clock, relay, ask, digest, askBlob } = makeRelay()
  const from = (authorization?: string) => ({ registry: 'r', repository: 'a/b', authorization })
  const length = (authorization?: string) =>
    relay.relay({ kind: 'blob-length', source: from(authorization), reference: digest, accept: [] }, signal)
  const isAway = (error: unknown) => isPantalaError(error, 'SOURCE_AWAY')
  source.refused.add(undefined)
  await length('Bearer good')
  await askBlob('Bearer good')
  clock.ms = 61_000
  source.away = true
  for (const authorization of [undefined, 'Bearer good']) {
    await assert.rejects(length(authorization), isAway)
    await assert.rejects(askBlob(authorization), isAway)
  }
  source.away = false
  source.refused.clear()
  await ask()
  await length()
  source.away = true
  clock.ms += 23 * 3_600_000
  assert.deepEqual([(await ask()).stale, (await length()).stale], [true, true])
  clock.ms += 3_600_000
  await assert.rejects(ask(), isAway)
  await assert.rejects(length(), isAway)
})

test('what the source said of content serves each caller it accepts for the repository, with its age', async () => {
  const { source, clock, relay, digest } = makeRelay()
  const length = (authorization: string, repository = 'a/b') =>
    relay.relay(
      {
        kind: 'blob-length',
        source: { registry: 'r', repository, authorization },
        reference: digest,
        accept: [],
      },
      signal,
    )
  await length('Bearer a')
  clock.ms = 40_000
  assert.equal((await length('Bearer a')).ageMs, 40_000)
  await length('Bearer b')
  clock.ms = 50_000
  assert.equal((await length('Bearer b')).ageMs, 10_000)
  await length('Bearer a', 'a/other')
  assert.deepEqual(
    source.requests.map(request => request.replace('HEAD blob ', '')),
    ['Bearer a', 'Bearer b', 'Bearer a'],
  )
  clock.ms = 60_001
  source.refused.add('Bearer a')
  await assert.rejects(length('Bearer a'), error => isPantalaError(error, 'SOURCE_UNAUTHORIZED'))
  // A refusal for one digest ends the yes for all of the repository, and another caller's stays.
  source.refused.clear()
  source.away = true
  await assert.rejects(length('Bearer a'), error => isPantalaError(error, 'SOURCE_AWAY'))
  assert.equal((await length('Bearer b')).stale, false)
})

test('a body that one registry sent is not given to callers of another, whatever that one says it holds', async () => {
  const { source, relay, digest, askBlob } = makeRelay()
  await askBlob('Bearer good')
  const blobs = source.blobs.get(digest)!
  source.blobs.set(digest, Buffer.alloc(blobs.byteLength, 'x'))
  const rival = { registry: 'rival', repository: 'a/b', authorization: 'Bearer bad' }
  await assert.rejects(relay.smallBlob({ digest, size: small.byteLength, source: rival }, signal), error =>
    isPantalaError(error, 'SOURCE_DIGEST_MISMATCH'),
  )
  const manifest = digestOf(body)
  source.manifests.set(`a/b:${manifest}`, { mediaType: 'application/m', body })
  const get = (registry: string) =>
    relay.relay(
      { kind: 'manifest', source: { ...rival, registry }, reference: manifest, accept: [], known: undefined },
      signal,
    )
  await get('r')
  source.requests.length = 0
  await get('rival')
  assert.match(source.requests[0]!, /^GET manifest/)
})

test('a refusal is not hidden by an older answer', async () => {
  const { source, clock, ask } = makeRelay()
  await ask('Bearer x')
  source.refused.add('Bearer x')
  clock.ms = 5001
  await assert.rejects(ask('Bearer x'), error => isPantalaError(error, 'SOURCE_UNAUTHORIZED'))
})

test('a small blob is fetched once for ten hosts', async () => {
  const { source, askBlob } = makeRelay()
  const blobs = await Promise.all(Array.from({ length: 10 }, () => askBlob()))
  for (const blob of blobs) assert.deepEqual(Buffer.from(blob), small)
  assert.deepEqual(source.requests, ['GET blob anonymous'])
})

test('a small blob in memory is given to another credential only after the source said yes', async () => {
  const { source, askBlob } = makeRelay()
  source.refused.add('Bearer bad')
  await askBlob('Bearer good')
  await assert.rejects(askBlob('Bearer bad'), error => isPantalaError(error, 'SOURCE_UNAUTHORIZED'))
  await askBlob('Bearer fine')
  assert.deepEqual(source.requests, ['GET blob Bearer good', 'HEAD blob Bearer bad', 'HEAD blob Bearer fine'])
})

test('different credentials at the same moment fetch the body once', async () => {
  const { source, askBlob } = makeRelay()
  await Promise.all(['Bearer a', 'Bearer b', 'Bearer c'].map(askBlob))
  assert.equal(source.requests.filter(request => request.startsWith('GET')).length, 1)
  assert.equal(source.requests.filter(request => request.startsWith('HEAD')).length, 2)
})

test('bytes that do not have the digest are not passed on', async () => {
  const { source, digest, askBlob } = makeRelay()
  source.blobs.set(digest, Buffer.from('another blob!'))
  await assert.rejects(askBlob(), error => isPantalaError(error, 'SOURCE_DIGEST_MISMATCH'))
})

test('the work stops when the last who asked has gone, and the next starts anew', async () => {
  const { source, relay, ask } = makeRelay()
  source.hold = new Promise(() => {})
  const gone = new AbortController()
  const asked = relay.relay(
    { kind: 'manifest', source: { registry: 'r', repository: 'a/b' }, reference: 'v1', accept: ['x/y'] },
    gone.signal,
  )
  gone.abort(new Error('gone'))
  await assert.rejects(asked, /gone/)
  source.hold = undefined
  assert.deepEqual(Buffer.from((await ask()).body!), body)
})

test('a question marked fresh goes to the source whatever is remembered, and its answer is what others get', async () => {
  const { source, ask, askFresh, clock } = makeRelay()
  await ask()
  const moved = Buffer.from('{"schemaVersion":2,"moved":true}')
  source.manifests.set('a/b:v1', { mediaType: 'application/m', body: moved })
  clock.ms = 1
  assert.deepEqual(Buffer.from((await ask()).body!), body)
  assert.deepEqual(Buffer.from((await askFresh()).body!), moved)
  assert.deepEqual(Buffer.from((await ask()).body!), moved)
  source.away = true
  await assert.rejects(askFresh(), error => isPantalaError(error, 'SOURCE_AWAY'))
})
