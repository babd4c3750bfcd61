// Blob ranges from a source that breaks: resumed from the last byte taken, held up by a busy taker, given up within bounds.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { RegistrySource, type RegistrySourceInit } from '../../dfdaemon/fetch/registry-source.ts'
import { systemClock } from '../../shared/clock.ts'
import { digestOf } from '../../shared/digest.ts'
import { type ErrorCode, isPantalaError } from '../../shared/errors.ts'
import type { SourceClient } from '../../shared/source/source-client.ts'
import { type Answer, FakeRegistry, inTurn, sendBytes, sendRanged } from '../harness/fake-registry.ts'
import { makeClient, recordingLogger } from '../harness/source-client.ts'
import { until } from '../harness/until.ts'

const blob = randomBytes(3_000_000)
const digest = digestOf(blob)
const path = `/v2/a/b/blobs/${digest}`
const MiB = 1024 * 1024

/** Serves the range asked for, but only so many bytes of it, then does `what`. */
function breaking(bytes: number, what: 'cut' | 'stall' | 'end'): Answer {
  return (request, response) => {
    const first = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0)
    const length = blob.byteLength - first
    const headers: Record<string, string> = what === 'end' ? {} : { 'content-length': String(length) }
    if (request.headers.range !== undefined)
      headers['content-range'] = `bytes ${first}-${blob.byteLength - 1}/${blob.byteLength}`
    response.writeHead(request.headers.range === undefined ? 200 : 206, headers)
    response.write(blob.subarray(first, first + bytes), () => {
      if (what === 'cut') response.destroy()
      if (what === 'end') response.end()
    })
    response.flushHeaders()
  }
}

async function run(
  answer: Answer,
  offset = 0,
  length = blob.byteLength - offset,
  init: Partial<RegistrySourceInit> & { skipBytesMax?: number } = {},
) {
  const registry = await FakeRegistry.start()
  registry.on(path, answer)
  const { logger } = recordingLogger()
  const client = makeClient({ [registry.name]: { insecure: true } }, { stallTimeoutMs: 5_000 })
  const source = new RegistrySource(
    { client, clock: systemClock, logger },
    { stallTimeoutMs: 150, pauseMs: 1, ...init },
  )
  const chunks: Buffer[] = []
  const range = {
    source: { registry: registry.name, repository: 'a/b' },
    digest,
    size: blob.byteLength,
    offset,
    length,
    ...(init.skipBytesMax === undefined ? {} : { skipBytesMax: init.skipBytesMax }),
  }
  const fetching = source.fetch(
    range,
    chunk => void chunks.push(Buffer.from(chunk)),
    AbortSignal.timeout(15_000),
  )
  const failure = await fetching.then(
    () => undefined,
    error => error,
  )
  await client.close()
  await registry.stop()
  return { bytes: Buffer.concat(chunks), failure, ranges: registry.asked.map(asked => asked.headers.range) }
}

const failsWith = (failure: unknown, code: ErrorCode) =>
  assert(isPantalaError(failure, code), String(failure))

test('fetches whole blobs without Range, and parts with it', async () => {
  const whole = await run(sendRanged(blob))
  assert(whole.bytes.equals(blob))
  assert.deepEqual(whole.ranges, [undefined])
  const part = await run(sendRanged(blob), MiB, MiB)
  assert(part.bytes.equals(blob.subarray(MiB, 2 * MiB)))
  assert.deepEqual(part.ranges, [`bytes=${MiB}-${2 * MiB - 1}`])
  assert.deepEqual((await run(sendRanged(blob), MiB)).ranges, [`bytes=${MiB}-`])
})

for (const what of ['cut', 'stall', 'end'] as const)
  test(`resumes after each ${what} from the last byte taken`, async () => {
    const { bytes, failure, ranges } = await run(
      inTurn(breaking(1_000_000, what), breaking(500_000, what), sendRanged(blob)),
    )
    assert.equal(failure, undefined)
    assert(bytes.equals(blob))
    assert.equal(ranges.length, 3)
    // A cut may take with it bytes that were on the way.
    if (what !== 'cut') assert.deepEqual(ranges, [undefined, 'bytes=1000000-', 'bytes=1500000-'])
  })

test('goes on for as long as there is progress, and gives up without', async () => {
  assert((await run(breaking(200_000, 'end'))).bytes.equals(blob))
  const fruitless = await run(inTurn(breaking(1_000_000, 'end'), breaking(0, 'end')))
  failsWith(fruitless.failure, 'SOURCE_LENGTH_WRONG')
  assert.equal(fruitless.ranges.length, 4)
  const stalled = await run(breaking(0, 'stall'))
  failsWith(stalled.failure, 'SOURCE_STALLED')
  const dripping = await run(breaking(10, 'end'), 0, blob.byteLength, { triesMax: 5 })
  assert.equal(dripping.ranges.length, 5)
  assert.equal(dripping.bytes.byteLength, 50)
})

test('skips forward where the source ignores Range, also when it resumes', async () => {
  const { bytes, failure } = await run(inTurn(breaking(1_000_000, 'end'), sendBytes(blob)))
  assert.equal(failure, undefined)
  assert(bytes.equals(blob))
  const part = await run(sendBytes(blob), MiB, 1000)
  assert(part.bytes.equals(blob.subarray(MiB, MiB + 1000)))
})

test('says so where the source ignores Range and too much would pass in vain', async () => {
  const ignored = await run(sendBytes(blob), 2 * MiB, 1000, { skipBytesMax: MiB })
  failsWith(ignored.failure, 'SOURCE_RANGE_IGNORED')
  assert.equal(ignored.bytes.byteLength, 0)
  const near = await run(sendBytes(blob), MiB, 1000, { skipBytesMax: MiB })
  assert(near.bytes.equals(blob.subarray(MiB, MiB + 1000)))
})

test('takes no more than was asked, and refuses a blob of another length', async () => {
  const long = Buffer.concat([blob, Buffer.alloc(100_000)])
  failsWith((await run(sendBytes(long))).failure, 'SOURCE_LENGTH_WRONG')
  const chunked: Answer = (_request, response) => void response.end(long)
  const { bytes, failure } = await run((request, response) => {
    response.removeHeader('content-length')
    response.setHeader('transfer-encoding', 'chunked')
    chunked(request, response)
  })
  assert.equal(failure, undefined)
  assert(bytes.equals(blob))
})

test('tells the source’s refusal at once', async () => {
  const unknown = await run(sendBytes(Buffer.alloc(0), {}, 404))
  failsWith(unknown.failure, 'SOURCE_BLOB_UNKNOWN')
  assert.equal(unknown.ranges.length, 1)
  failsWith(
    (await run(inTurn(breaking(1_000, 'end'), sendBytes(Buffer.alloc(0), {}, 403)))).failure,
    'SOURCE_DENIED',
  )
})

test('a busy taker holds the source up without being called again, and that is no stall', async () => {
  const registry = await FakeRegistry.start()
  registry.on(path, sendRanged(blob))
  const client = makeClient({ [registry.name]: { insecure: true } })
  const source = new RegistrySource(
    { client, clock: systemClock, logger: recordingLogger().logger },
    { stallTimeoutMs: 50 },
  )
  const range = {
    source: { registry: registry.name, repository: 'a/b' },
    digest,
    size: blob.byteLength,
    offset: 0,
    length: blob.byteLength,
  }
  let busy = false
  let calls = 0
  let bytes = 0
  const take = (chunk: Uint8Array): Promise<void> | undefined => {
    assert(!busy)
    bytes += chunk.byteLength
    if (++calls % 8 !== 1) return undefined
    busy = true
    return new Promise(resolve =>
      setTimeout(
        () => {
          busy = false
          resolve()
        },
        calls === 1 ? 200 : 1,
      ),
    )
  }
  await source.fetch(range, take, AbortSignal.timeout(15_000))
  assert.equal(bytes, blob.byteLength)
  assert.equal(registry.asked.length, 1)
  await client.close()
  await registry.stop()
})

test('ends with what the taker threw, or with the signal’s reason, and cuts the body', async () => {
  const registry = await FakeRegistry.start()
  let closed = 0
  registry.on(path, (_request, response) => {
    response.once('close', () => closed++)
    response.writeHead(200, { 'content-length': String(blob.byteLength) })
    response.write(blob.subarray(0, 100_000))
  })
  const client = makeClient({ [registry.name]: { insecure: true } })
  const source = new RegistrySource(
    { client, clock: systemClock, logger: recordingLogger().logger },
    { stallTimeoutMs: 5_000 },
  )
  const range = {
    source: { registry: registry.name, repository: 'a/b' },
    digest,
    size: blob.byteLength,
    offset: 0,
    length: blob.byteLength,
  }
  const signal = AbortSignal.timeout(15_000)
  await assert.rejects(
    source.fetch(
      range,
      () => {
        throw new Error('disk full')
      },
      signal,
    ),
    /disk full/,
  )
  await assert.rejects(
    source.fetch(range, () => Promise.reject(new Error('disk slow')), signal),
    /disk slow/,
  )
  const stop = new AbortController()
  const fetching = source.fetch(range, () => stop.abort(new Error('enough')) as undefined, stop.signal)
  await assert.rejects(fetching, /enough/)
  await until(() => closed === 3)
  await client.close()
  await registry.stop()
})

test('pauses between tries that bring nothing grow, and are not the same for all', async () => {
  for (const [random, expected] of [
    [0, [50, 100]],
    [0.99, [149, 298]],
  ] as const) {
    const pauses: number[] = []
    const clock = {
      ...systemClock,
      after: (ms: number, task: () => void) => {
        pauses.push(Math.round(ms))
        return systemClock.after(0, task)
      },
    }
    const body = async function* (): AsyncGenerator<Uint8Array> {}
    const client = {
      openBlob: async () => ({ body: Readable.from(body()), offset: 0, size: undefined }),
    } as unknown as SourceClient
    const { logger } = recordingLogger()
    const source = new RegistrySource(
      { client, clock, logger, random: () => random },
      { stallTimeoutMs: 1_000_000, pauseMs: 100 },
    )
    const range = { source: { registry: 'r', repository: 'a/b' }, digest, size: 10, offset: 0, length: 10 }
    await assert.rejects(source.fetch(range, () => undefined, AbortSignal.timeout(5000)))
    assert.deepEqual(
      pauses.filter(ms => ms < 1_000_000),
      expected,
    )
  }
})
