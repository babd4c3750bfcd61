// A disk that fails in the middle of a blob: who reads goes on from the source where it was, and the whole digest is still checked.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { OpenBlob } from '../../dfdaemon/session/blobs.ts'
import { type Clock, systemClock } from '../../shared/clock.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { type DiskCall, listenedDisk, startStore, withDirectory } from '../harness/disk-store-fixture.ts'
import { readRange, sendAll, setStage, until } from '../scripts/session-harness.ts'

const MiB = 1024 * 1024

/** A stage on a real directory; a call fails once `fails` says so. */
async function onDisk(
  run: (stage: ReturnType<typeof setStage>, disk: FailingDisk) => Promise<void>,
  clock?: Clock,
): Promise<void> {
  await withDirectory(async dataDir => {
    const disk = new FailingDisk()
    const store = await startStore(dataDir, {
      disk: listenedDisk(call => disk.note(call)),
      ...(clock === undefined ? {} : { clock }),
    })
    const stage = setStage({ size: 8 * MiB + 333, store })
    await run(stage, disk)
    await until(() => stage.table.size === 0)
    await store.stop()
    assert.equal(stage.pool.lentBytes, 0)
  })
}

/** A blob that was pulled and is complete on the disk, opened again. */
async function openStored(stage: ReturnType<typeof setStage>): Promise<OpenBlob> {
  const h1 = stage.parent('h1', stage.all)
  stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
  await stage.pull()
  await until(() => stage.table.size === 0)
  return stage.open()
}

class FailingDisk {
  readonly calls = new Map<DiskCall, number>()
  /** Fails from this many calls on. */
  readonly failsAfter = new Map<DiskCall, number>()

  /** How long each such call takes, in ms. */
  readonly takesMs = new Map<DiskCall, number>()

  note(call: DiskCall): void | Promise<void> {
    const calls = (this.calls.get(call) ?? 0) + 1
    this.calls.set(call, calls)
    if (calls > (this.failsAfter.get(call) ?? Number.POSITIVE_INFINITY))
      throw Object.assign(new Error('EIO: played'), { code: 'EIO' })
    const takesMs = this.takesMs.get(call)
    return takesMs === undefined ? undefined : new Promise(resolve => setTimeout(resolve, takesMs))
  }

  failNow(call: DiskCall): void {
    this.failsAfter.set(call, this.calls.get(call) ?? 0)
  }
}

test('a write fails after half of the blob came from the source: the reader gets the rest, from where the disk left off', async () => {
  await onDisk(async (stage, disk) => {
    disk.failsAfter.set('write', 4)
    const pulling = stage.pull()
    await until(() => stage.told('register').length === 1)
    stage.grant([{ first: 0, count: stage.pieces }])
    assert.deepEqual(await pulling, stage.blob)
    assert.deepEqual(stage.counted.passed, ['midway'])
    assert.equal(stage.registry.ranges.at(-1)!.offset, 4 * MiB)
  })
})

test('a write fails after half came from parents: the source is asked for the rest alone', async () => {
  await onDisk(async (stage, disk) => {
    disk.failsAfter.set('write', 4)
    const h1 = stage.parent('h1', stage.all)
    stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
    assert.deepEqual(await stage.pull(), stage.blob)
    assert.ok(stage.registry.bytesSent <= stage.blob.byteLength)
    assert.deepEqual(stage.counted.passed, ['midway'])
  })
})

test('a read fails after half was sent: the reader goes on, though the pieces it still lacks are on the disk', async () => {
  await onDisk(async (stage, disk) => {
    const h1 = stage.parent('h1', stage.all)
    stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
    const open = await stage.open()
    const chunks: Buffer[] = []
    let sent = 0
    const take = async (chunk: Uint8Array): Promise<void> => {
      chunks.push(Buffer.from(chunk))
      sent += chunk.byteLength
      if (sent > 3 * MiB) disk.failNow('read')
    }
    await open.send(0, stage.blob.byteLength, take, AbortSignal.timeout(10_000)).finally(() => open.close())
    assert.deepEqual(Buffer.concat(chunks), stage.blob)
    assert.deepEqual(stage.counted.passed, ['midway'])
  })
})

test('readers that leave while a checked blob is made complete do not lose it, however long the disk takes', async () => {
  await onDisk(async (stage, disk) => {
    disk.takesMs.set('rename', 200)
    const open = await openStored(stage)
    assert.equal(open.from, 'cache')
    await open.close()
    assert.equal(stage.told('finish')[0]!.outcome, 'done')
  }, systemClock)
})

test('a complete blob that can’t be read any more: its reader goes on, and the next pull fetches what was dropped', async () => {
  await onDisk(async (stage, disk) => {
    const open = await openStored(stage)
    assert.equal(open.from, 'cache')
    disk.failNow('read')
    assert.deepEqual(await sendAll(open, 0, stage.blob.byteLength), stage.blob)
    assert.deepEqual(stage.counted.passed, ['midway'])
    disk.failsAfter.clear()
    assert.deepEqual(await stage.pull(), stage.blob)
    await until(() => stage.table.size === 0)
    assert.equal((await stage.open()).from, 'cache')
  })
})

test('what the source then sends is checked with what was sent before: wrong bytes never make a whole', async () => {
  await onDisk(async (stage, disk) => {
    disk.failsAfter.set('write', 4)
    const h1 = stage.parent('h1', stage.all)
    stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
    stage.registry.blob = Buffer.from(stage.blob)
    stage.registry.blob[5 * MiB]! ^= 1
    const open = await stage.open()
    let sent = 0
    const take = async (chunk: Uint8Array): Promise<void> => {
      sent += chunk.byteLength
    }
    const sending = open.send(0, stage.blob.byteLength, take, AbortSignal.timeout(10_000))
    await assert.rejects(
      sending.finally(() => open.close()),
      error => isPantalaError(error, 'SOURCE_DIGEST_MISMATCH'),
    )
    assert.ok(sent < stage.blob.byteLength)
  })
})

test('a reader that was sent other bytes than the source has is cut', async () => {
  await onDisk(async (stage, disk) => {
    const open = await openStored(stage)
    const take = async (): Promise<void> => disk.failNow('read')
    stage.registry.blob = Buffer.from(stage.blob)
    stage.registry.blob[0]! ^= 1
    await assert.rejects(
      open.send(0, stage.blob.byteLength, take, AbortSignal.timeout(10_000)).finally(() => open.close()),
      error => isPantalaError(error, 'SOURCE_DIGEST_MISMATCH'),
    )
  })
})

test('a reader of a range gets it', async () => {
  await onDisk(async (stage, disk) => {
    disk.failsAfter.set('write', 1)
    const h1 = stage.parent('h1', stage.all)
    stage.scheduler.registerAnswer = () => stage.answer(stage.all, [h1])
    const range = [MiB + 17, 3 * MiB] as const
    assert.deepEqual(await readRange(stage, ...range), stage.blob.subarray(range[0], range[0] + range[1]))
  })
})
