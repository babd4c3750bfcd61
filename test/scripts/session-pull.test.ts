// Stories of a session that goes well: parents, fresh pieces, grants, small blobs, many readers.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BufferPool } from '../../dfdaemon/session/buffer-pool.ts'
import { systemClock } from '../../shared/clock.ts'
import { sendAll, setStage, until } from './session-harness.ts'

test('a blob comes from two parents, each piece once, and is complete on disk afterwards', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', [0, 1, 2])
  const h2 = stage.parent('h2', [2, 3, 4])
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1, h2])

  assert.deepEqual(await stage.pull(), stage.blob)
  assert.deepEqual([...h1.asked, ...h2.asked].sort(), stage.all)
  assert.equal(stage.store.stat(stage.digest)?.complete, true)
  assert.equal(stage.counted.peer, stage.blob.byteLength)
  assert.equal(stage.counted.source, 0)
  assert.deepEqual(
    stage.told('finish').map(message => message.outcome),
    ['done'],
  )
  const reported = stage.told('report').flatMap(report => report.pieces)
  assert.deepEqual(reported.sort(), stage.all)
})

test('a second pull is served from the store and asks nobody', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  await stage.pull()
  const asked = stage.scheduler.told.length
  const open = await stage.open()
  assert.equal(open.from, 'cache')
  assert.deepEqual(await sendAll(open, 5, 100), stage.blob.subarray(5, 105))
  assert.equal(stage.scheduler.told.length, asked)
})

test('ten readers share one session, and each piece is fetched once', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  const pulls = await Promise.all(Array.from({ length: 10 }, () => stage.pull()))
  for (const pull of pulls) assert.deepEqual(pull, stage.blob)
  assert.equal(h1.asked.length, stage.pieces)
  assert.equal(stage.told('register').length, 1)
})

test('pieces are asked for as the parent gains them, and bytes flow before the blob is whole', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', [])
  stage.scheduler.registerAnswer = () => stage.answer([], [h1])
  const opening = stage.open()
  await until(() => h1.connects === 1)
  stage.tellHashes([0])
  h1.gain(0)
  let got = 0
  const open = await opening
  const take = async (chunk: Uint8Array) => {
    got += chunk.byteLength
  }
  const sending = open.send(0, stage.blob.byteLength, take, AbortSignal.timeout(10_000))
  await until(() => got === 1024 * 1024)
  stage.tellHashes([1, 2, 3, 4])
  h1.gain(1, 2, 3, 4)
  await sending
  assert.equal(got, stage.blob.byteLength)
})

test('a piece whose hash is not known is never asked for', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer([0, 1, 2, 3], [h1])
  const pulling = stage.pull()
  await until(() => h1.asked.length === 4)
  assert.ok(!h1.asked.includes(4))
  stage.tellHashes([4])
  assert.deepEqual(await pulling, stage.blob)
})

test('what the reader waits for comes before what is rare', async () => {
  const stage = setStage({ size: 40 * 1024 * 1024 })
  const everywhere = [stage.parent('h1', stage.all), stage.parent('h2', stage.all)]
  stage.scheduler.registerAnswer = () => stage.answer([], everywhere)
  const opening = stage.pull(30 * 1024 * 1024, 10)
  await until(() => everywhere.every(parent => parent.connects === 1))
  stage.tellHashes([0])
  await until(() => everywhere.some(parent => parent.asked.length > 0))
  stage.tellHashes(stage.all.slice(1))
  assert.deepEqual(await opening, stage.blob.subarray(30 * 1024 * 1024, 30 * 1024 * 1024 + 10))
})

test('a grant is fetched from the source in one range, hashed and reported, while the reader reads', async () => {
  const stage = setStage()
  const pulling = stage.pull()
  await until(() => stage.told('register').length === 1)
  stage.grant([{ first: 0, count: stage.pieces }])
  assert.deepEqual(await pulling, stage.blob)
  assert.deepEqual(stage.registry.ranges, [{ offset: 0, length: stage.blob.byteLength }])
  assert.equal(stage.counted.source, stage.blob.byteLength)
  const reports = stage.told('report')
  assert.ok(reports.every(report => report.hashes?.byteLength === 32))
  assert.equal(
    reports.reduce((sum, report) => sum + report.fromSourceBytes, 0),
    stage.blob.byteLength,
  )
})

test('a grant without a reader makes the host keep the blob, as a seed does', async () => {
  const stage = setStage()
  stage.grant([{ first: 0, count: stage.pieces }])
  await until(() => stage.store.stat(stage.digest)?.complete === true)
  assert.equal(stage.told('register').length, 0)
  assert.deepEqual(
    stage.told('finish').map(message => message.outcome),
    ['done'],
  )
})

test('a reader that comes to a seed in the middle of a grant shares its session', async () => {
  const stage = setStage()
  let release = () => {}
  const gate = new Promise<void>(resolve => {
    release = resolve
  })
  stage.registry.gate = sent => (sent > 2_000_000 ? gate : undefined)
  stage.grant([{ first: 0, count: stage.pieces }])
  await until(() => stage.registry.bytesSent > 2_000_000)
  const pulling = stage.pull()
  release()
  assert.deepEqual(await pulling, stage.blob)
  assert.equal(stage.registry.ranges.length, 1)
})

test('part of a blob granted, the rest from a parent', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', [2, 3, 4])
  stage.scheduler.registerAnswer = () => stage.answer([2, 3, 4], [h1])
  const pulling = stage.pull()
  await until(() => h1.connects === 1)
  stage.grant([{ first: 0, count: 2 }])
  assert.deepEqual(await pulling, stage.blob)
  assert.deepEqual(stage.registry.ranges, [{ offset: 0, length: 2 * 1024 * 1024 }])
})

test('a small blob is in the supernode’s answer', async () => {
  const stage = setStage({ size: 3000 })
  stage.scheduler.registerAnswer = () => ({ content: stage.blob })
  assert.deepEqual(await stage.pull(), stage.blob)
  assert.equal(stage.store.stat(stage.digest)?.complete, true)
  assert.equal(stage.registry.ranges.length, 0)
})

test('an empty blob needs nobody', async () => {
  const stage = setStage({ size: 0 })
  assert.equal((await stage.pull()).byteLength, 0)
})

test('pieces kept from an earlier run are not fetched again', async () => {
  const stage = setStage()
  const handle = await stage.store.create(stage.digest, stage.geometry)
  const { hashPiece } = await import('../../shared/piece-hash.ts')
  for (const piece of [0, 3]) {
    const start = piece * stage.geometry.pieceSize
    const bytes = stage.blob.subarray(start, start + stage.geometry.pieceSize)
    await handle.writePiece(piece, bytes, hashPiece(bytes))
  }
  await handle.close()
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  assert.deepEqual(await stage.pull(), stage.blob)
  assert.deepEqual([...h1.asked].sort(), [1, 2, 4])
})

test('a grant of what is complete here is answered with its hashes, and costs the source nothing', async () => {
  const stage = setStage()
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  await stage.pull()
  stage.grant([{ first: 0, count: stage.pieces }])
  await until(
    () => stage.told('report').filter(report => report.hashes !== undefined).length === stage.pieces,
  )
  assert.equal(stage.registry.ranges.length, 0)
  assert.equal(stage.told('grant-failed').length, 0)
})

test('sessions that wait in line for the same buffers all get their turn', async () => {
  const bytesMax = 1024 * 1024
  const pool = new BufferPool({ clock: systemClock }, { bytesMax })
  const all = pool.tryLend(bytesMax)!
  const stages = [1, 2, 3].map(() => setStage({ size: 12 * 1024 * 1024, pool }))
  const pulls = stages.map(stage => {
    const parents = [stage.parent('h1', stage.all), stage.parent('h2', stage.all)]
    stage.scheduler.registerAnswer = () => stage.answer(stage.all, parents)
    return stage.pull()
  })
  const connects = () =>
    stages.flatMap(stage => [...stage.parents.parents.values()]).map(parent => parent.connects)
  await until(() => connects().every(count => count === 1))
  await new Promise(resolve => setImmediate(resolve))
  all.giveBack()
  const blobs = await Promise.all(pulls)
  for (const [index, stage] of stages.entries()) assert.deepEqual(blobs[index], stage.blob)
  assert.equal(pool.lentBytes, 0)
})

test('readers that stop taking keep no buffer from pieces that are under way', async () => {
  const size = 12 * 1024 * 1024
  for (const keptBytesMax of [0, 1024 * 1024]) {
    const pool = new BufferPool({ clock: systemClock }, { bytesMax: 1024 * 1024, keptBytesMax })
    const stage = setStage({ size, pool })
    const parents = [stage.parent('h1', stage.all), stage.parent('h2', stage.all)]
    stage.scheduler.registerAnswer = () => stage.answer(stage.all, parents)
    const gone = new AbortController()
    const gate = Promise.withResolvers<void>()
    gate.promise.catch(() => {})
    // One in each piece.
    const stopped = stage.all.map(async piece => {
      const open = await stage.open()
      let taken = 0
      const take = async (chunk: Uint8Array) => {
        taken += chunk.byteLength
        if (taken > piece * stage.geometry.pieceSize) await gate.promise
      }
      await open.send(0, size, take, gone.signal).finally(() => open.close())
    })
    assert.deepEqual(await stage.pull(), stage.blob)
    gate.reject(new Error('the client went away'))
    for (const one of await Promise.allSettled(stopped)) assert.equal(one.status, 'rejected')
    await until(() => stage.table.size === 0)
    assert.deepEqual([pool.lentBytes, pool.keptBytes], [0, 0])
  }
})
