// A disk that is slow, and one that does nothing any more: a pull goes on as fast as the first, and without the second.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BufferPool } from '../../dfdaemon/session/buffer-pool.ts'
import type { DiskStore } from '../../dfdaemon/store/disk-store.ts'
import { WatchedDisk } from '../../dfdaemon/store/watched-disk.ts'
import { type Clock, systemClock } from '../../shared/clock.ts'
import {
  type DiskCall,
  eventually,
  listenedDisk,
  startStore,
  withDirectory,
} from '../harness/disk-store-fixture.ts'
import { quietLogger } from '../harness/schedule-net.ts'
import { sendAll, setStage, until } from '../scripts/session-harness.ts'

const MiB = 1024 * 1024
const POOL_BYTES_MAX = 4 * MiB

type Stage = ReturnType<typeof setStage>

/** A stage on a real directory whose disk does `before` ahead of each call; with a parent that has all. */
async function onDisk(
  init: { before: (call: DiskCall) => void | Promise<void>; clock?: Clock },
  run: (stage: Stage, store: DiskStore) => Promise<void>,
): Promise<void> {
  await withDirectory(async dataDir => {
    const store = await startStore(dataDir, { disk: listenedDisk(init.before), clock: init.clock })
    const pool = new BufferPool({ clock: systemClock }, { bytesMax: POOL_BYTES_MAX })
    const stage = setStage({ size: 8 * MiB + 333, store, pool })
    const parent = stage.parent('h1', stage.all)
    stage.scheduler.registerAnswer = () => stage.answer(stage.all, [parent])
    await run(stage, store)
    await until(() => stage.table.size === 0 && pool.lentBytes === 0)
    await store.stop()
  })
}

/** A disk on which the calls that are named wait until they are let go. */
class HeldCalls {
  readonly names = new Set<DiskCall>()
  /** So many of them go through first. */
  free = 0
  waiting = 0
  #gate = Promise.withResolvers<void>()

  readonly before = (call: DiskCall): void | Promise<void> => {
    if (!this.names.has(call) || this.free-- > 0) return
    this.waiting++
    return this.#gate.promise
  }

  letGo(): void {
    this.names.clear()
    this.#gate.resolve()
    this.#gate = Promise.withResolvers()
  }
}

test('writes that take long: the pull goes on as fast as the disk, within its buffers, and leaves the event loop to others', async () => {
  let lentMost = 0
  let stage: Stage | undefined
  const before = async (call: DiskCall): Promise<void> => {
    if (call !== 'write') return
    lentMost = Math.max(lentMost, stage?.pool.lentBytes ?? 0)
    await new Promise(resolve => setTimeout(resolve, 150))
  }
  await onDisk({ before, clock: systemClock }, async staged => {
    stage = staged
    const startedMs = performance.now()
    let lastMs = startedMs
    let heldUpMs = 0
    const ticks = setInterval(() => {
      const gapMs = performance.now() - lastMs
      if (gapMs > 50) heldUpMs += gapMs
      lastMs += gapMs
    }, 5)
    assert.deepEqual(await staged.pull(), staged.blob)
    clearInterval(ticks)
    // A loop that waits for the disk stands still all the time; a busy machine may hold it up for a moment.
    const tookMs = performance.now() - startedMs
    assert.ok(heldUpMs < tookMs / 2, `the event loop stood still for ${heldUpMs} of ${tookMs} ms`)
    assert.ok(lentMost <= POOL_BYTES_MAX, `${lentMost} bytes were lent`)
    assert.deepEqual(staged.counted.passed, [])
    assert.equal(staged.registry.bytesSent, 0)
  })
})

test('a sync that takes long holds up nobody who reads', async () => {
  const held = new HeldCalls()
  held.names.add('sync')
  await onDisk(held, async stage => {
    assert.deepEqual(await stage.pull(), stage.blob)
    await until(() => held.waiting > 0)
    assert.deepEqual(stage.counted.passed, [])
    held.letGo()
  })
})

test('writes that never end: the reader goes on from the source, the next pull does without the store, and once it moves one is kept', async () => {
  const held = new HeldCalls()
  await onDisk(held, async (stage, store) => {
    held.free = 3
    held.names.add('write')
    assert.deepEqual(await stage.pull(), stage.blob)
    assert.deepEqual(stage.counted.passed, ['midway'])
    assert.ok(store.stuck.aborted)
    assert.deepEqual(await stage.pull(), stage.blob)
    assert.deepEqual(stage.counted.passed, ['midway', 'start'])
    assert.ok(stage.pool.lentBytes > 0, 'what is being written is not used for anything else')
    held.letGo()
    await until(() => !store.stuck.aborted && stage.pool.lentBytes === 0)
    assert.deepEqual(await stage.pull(), stage.blob)
    assert.deepEqual(stage.counted.passed, ['midway', 'start'])
    await eventually(() => store.stat(stage.digest)?.complete === true)
  })
})

for (const call of ['freeBytes', 'createFile'] as const) {
  test(`a disk that is stuck when the blob is to be made (${call}): it passes through`, async () => {
    const held = new HeldCalls()
    held.names.add(call)
    await onDisk(held, async stage => {
      assert.deepEqual(await stage.pull(), stage.blob)
      assert.deepEqual(stage.counted.passed, ['start'])
      held.letGo()
    })
  })
}

test('reads of a complete blob that never end: the reader goes on from the source', async () => {
  const held = new HeldCalls()
  await onDisk(held, async (stage, store) => {
    await stage.pull()
    await until(() => store.stat(stage.digest)?.complete === true && stage.table.size === 0)
    const open = await stage.open()
    held.names.add('read')
    assert.deepEqual(await sendAll(open, 0, stage.blob.byteLength), stage.blob)
    assert.deepEqual(stage.counted.passed, ['midway'])
    held.letGo()
    await until(() => !store.stuck.aborted)
    assert.equal((await stage.open()).from, 'cache')
  })
})

test('no more calls at a time than there are threads for; the rest go in turn', async () => {
  const { promise: allowed, resolve: allow } = Promise.withResolvers<void>()
  let running = 0
  let most = 0
  const disk = listenedDisk(async () => {
    most = Math.max(most, ++running)
    await allowed
    running--
  })
  const watched = new WatchedDisk({ disk, clock: systemClock, logger: quietLogger }, { callsMax: 3 })
  const calls = Array.from({ length: 10 }, () => watched.freeBytes('/'))
  await new Promise(resolve => setImmediate(resolve))
  assert.equal(running, 3)
  allow()
  await Promise.all(calls)
  assert.equal(most, 3)
})
