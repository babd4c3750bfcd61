// Readers of ranges and the source: what goes ahead of the rest, what waits for it, and that no byte is fetched twice.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { digestOf } from '../../shared/digest.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import { readRange, setStage, until } from './session-harness.ts'

const MiB = 1024 * 1024
const run = (first: number, count = 1) => ({ first, count })
const size = 32 * MiB + 77

test('alone, a range costs the source its pieces and no more', async () => {
  const stage = setStage({ size, prefetch: false })
  stage.scheduler.connected = false
  await readRange(stage, 9 * MiB + 1, MiB)
  await readRange(stage, 25 * MiB, 10)
  assert.deepEqual(stage.registry.ranges, [
    { offset: 9 * MiB, length: 2 * MiB },
    { offset: 25 * MiB, length: MiB },
  ])
})

test('alone with prefetch, what a reader waits for comes first and every byte once', async () => {
  const stage = setStage({ size, prefetch: true, lingerMs: 50 })
  stage.scheduler.connected = false
  await readRange(stage, 25 * MiB, 10)
  assert.deepEqual(stage.registry.ranges[0], { offset: 25 * MiB, length: MiB })
  await until(() => stage.store.stat(stage.digest)?.complete === true)
  assert.equal(stage.registry.bytesSent, size)
})

test('an urgent grant goes before the one that runs, and no piece is fetched twice', async () => {
  const stage = setStage({ size: 64 * MiB })
  let release = (): void => {}
  const held = new Promise<void>(resolve => {
    release = resolve
  })
  stage.registry.gate = () => (stage.registry.bytesSent > MiB ? held : undefined)
  stage.grant([run(0, 64)])
  await until(() => stage.registry.bytesSent > MiB)
  const urgent = {
    type: 'grant',
    digest: stage.digest,
    ...stage.geometry,
    runs: [run(60, 2)],
    urgent: true,
  } as const
  stage.scheduler.pushGrant({ ...urgent, source: { registry: 'reg.test', repository: 'team/app' } })
  await until(() => stage.registry.ranges.length === 2)
  assert.deepEqual(stage.registry.ranges[1], { offset: 60 * MiB, length: 2 * MiB })
  release()
  await until(() => stage.store.stat(stage.digest)?.complete === true)
  const reported = stage.told('report').flatMap(report => report.pieces)
  assert.deepEqual(
    reported.toSorted((a, b) => a - b),
    stage.all,
  )
})

test('an urgent grant for what is about to come costs nothing', async () => {
  const stage = setStage({ size: 20 * MiB })
  stage.grant([run(0, 20)])
  await until(() => stage.registry.bytesSent > 0)
  const urgent = {
    type: 'grant',
    digest: stage.digest,
    ...stage.geometry,
    runs: [run(10)],
    urgent: true,
  } as const
  stage.scheduler.pushGrant({ ...urgent, source: { registry: 'reg.test', repository: 'team/app' } })
  await until(() => stage.store.stat(stage.digest)?.complete === true)
  assert.deepEqual(stage.registry.ranges, [{ offset: 0, length: 20 * MiB }])
})

test('granted pieces that go ahead are left out of the rest; the rest waits for them', async () => {
  const stage = setStage({ size })
  const grant = { type: 'grant', digest: stage.digest, ...stage.geometry } as const
  const source = { registry: 'reg.test', repository: 'team/app' }
  stage.scheduler.pushGrant({ ...grant, source, runs: [run(5, 2), run(20)], urgent: true })
  stage.scheduler.pushGrant({ ...grant, source, runs: [run(0, 5), run(7, 13), run(21, 12)] })
  await until(() => stage.store.stat(stage.digest)?.complete === true)
  assert.equal(stage.registry.bytesSent, size)
  assert.deepEqual(
    stage.registry.ranges.slice(0, 2).map(({ offset }) => offset / MiB),
    [5, 20],
  )
})

test('what goes ahead holds the rest up, unless the rest brings what a reader waits for', async () => {
  const stage = setStage({ size: 16 * MiB })
  const grant = { type: 'grant', digest: stage.digest, ...stage.geometry } as const
  const source = { registry: 'reg.test', repository: 'team/app' }
  const ahead = Promise.withResolvers<void>()
  const sent = { rest: 0 }
  stage.registry.hold = ({ offset, length }) => {
    if (offset === 14 * MiB) return ahead.promise
    if (offset + length < 14 * MiB) sent.rest++
    return undefined
  }
  stage.scheduler.pushGrant({ ...grant, source, runs: [run(0, 12)] })
  await until(() => stage.told('report').length > 0)
  stage.scheduler.pushGrant({ ...grant, source, runs: [run(14)], urgent: true })
  await until(() => stage.registry.ranges.length === 2)
  let before = -1
  await until(() => {
    const isStill = before === sent.rest
    before = sent.rest
    return isStill
  })
  assert.ok(stage.told('report').flatMap(report => report.pieces).length < 12)
  stage.scheduler.pushGrant({ ...grant, source, runs: [run(9)], urgent: true })
  await until(() => stage.told('report').some(report => report.pieces.includes(9)))
  assert.equal(
    stage.told('report').some(report => report.pieces.includes(11)),
    false,
  )
  ahead.resolve()
  await until(() => stage.told('report').some(report => report.pieces.includes(11)))
  assert.deepEqual(stage.registry.ranges, [
    { offset: 0, length: 12 * MiB },
    { offset: 14 * MiB, length: MiB },
  ])
})

test('a source that fails what goes ahead is told once, for all of it', async () => {
  const stage = setStage({ size })
  stage.registry.failure = new PantalaError('SOURCE_AWAY', { detail: 'told so' })
  const grant = { type: 'grant', digest: stage.digest, ...stage.geometry } as const
  const source = { registry: 'reg.test', repository: 'team/app' }
  const runs = [run(1), run(3), run(5), run(7), run(9), run(11)]
  stage.scheduler.pushGrant({ ...grant, source, runs, urgent: true })
  await until(() => stage.told('grant-failed').length > 0)
  const [failed, ...more] = stage.told('grant-failed')
  assert.deepEqual(
    failed!.runs.toSorted((a, b) => a.first - b.first),
    runs,
  )
  assert.deepEqual(more, [])
  assert.ok(isPantalaError(failed!.error, 'SOURCE_AWAY'))
})

test('a source that ignores ranges is read once, from the start, and all that passes is kept', async () => {
  const stage = setStage({ size, prefetch: false, lingerMs: 1000 })
  stage.scheduler.connected = false
  stage.registry.ignoresRange = true
  const reads = [30, 20, 12, 25].map(piece => readRange(stage, piece * MiB, 10))
  const got = await Promise.all(reads)
  assert.ok(got[0]!.equals(stage.blob.subarray(30 * MiB, 30 * MiB + 10)))
  await until(() => stage.store.stat(stage.digest)?.complete === true)
  assert.deepEqual(stage.registry.ranges, [{ offset: 0, length: size }])
})

test('a blob that proves wrong after a range of it was read is dropped and told of', async () => {
  const stage = setStage({
    size,
    prefetch: true,
    lingerMs: 50,
    digest: digestOf(Buffer.from('something else')),
  })
  stage.scheduler.connected = false
  await readRange(stage, 9 * MiB, 10)
  await until(() => stage.table.size === 0)
  assert.equal(stage.store.stat(stage.digest), undefined)
  assert.deepEqual(stage.counted.rejected, ['digest'])
})

test('who resumes a pull does not get the last byte of a wrong blob', async () => {
  const stage = setStage({ size, digest: digestOf(Buffer.from('something else')) })
  stage.scheduler.connected = false
  await readRange(stage, 0, 20 * MiB)
  let got = 0
  const open = await stage.open(undefined, [{ offset: 20 * MiB, length: size - 20 * MiB }])
  const take = async (chunk: Uint8Array) => {
    got += chunk.byteLength
  }
  const sending = open.send(20 * MiB, size - 20 * MiB, take, AbortSignal.timeout(10_000))
  await assert.rejects(sending, error => isPantalaError(error, 'SOURCE_DIGEST_MISMATCH'))
  open.close()
  assert.ok(got < size - 20 * MiB)
})

test('a grant for which there is no place is given back', async () => {
  const stage = setStage({ size })
  for (let other = 0; other < 9; other++) {
    stage.registry.gate = () => new Promise(() => {})
    const digest = `sha256:${String(other).padStart(64, '0')}` as const
    const source = { registry: 'reg.test', repository: 'team/app' }
    stage.scheduler.pushGrant({ type: 'grant', digest, size, pieceSize: MiB, source, runs: [run(0)] })
  }
  await until(() => stage.told('grant-failed').length === 1)
  assert.ok(isPantalaError(stage.told('grant-failed')[0]!.error, 'OVERLOADED'))
  stage.table.stop()
})
