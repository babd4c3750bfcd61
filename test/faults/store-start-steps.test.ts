// What an operator sees of a store that puts itself together again: each step by name, with its time and what it found.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { pino } from 'pino'
import { DiskStore } from '../../dfdaemon/store/disk-store.ts'
import { StoreLayout } from '../../dfdaemon/store/layout.ts'
import { systemClock } from '../../shared/clock.ts'
import { eventually, listenedDisk, startStore, withDirectory } from '../harness/disk-store-fixture.ts'
import { sampleBlob, storeBlob, writePieces } from '../harness/store-samples.ts'

const whole = [sampleBlob('one'), sampleBlob('two')]
const partial = sampleBlob('partial')

interface Line {
  readonly msg: string
  readonly step?: string
  readonly ms?: number
  readonly [count: string]: unknown
}

async function fill(dataDir: string): Promise<void> {
  const store = await startStore(dataDir)
  for (const blob of whole) await storeBlob(store, blob)
  const handle = await store.create(partial.digest, partial.geometry)
  await writePieces(handle, partial, [0, 1])
  await handle.close()
  await store.stop()
}

function makeStore(dataDir: string, disk = listenedDisk(() => {})): { store: DiskStore; lines: Line[] } {
  const lines: Line[] = []
  const logger = pino({ level: 'info' }, { write: (text: string) => void lines.push(JSON.parse(text)) })
  const components = { clock: systemClock, logger, disk }
  return { store: new DiskStore(components, { dataDir, quotaBytes: 1e9, minFreeBytes: 0 }), lines }
}

const stepsIn = (lines: readonly Line[]) =>
  lines.filter(line => line.msg === 'store start: step done').map(({ step }) => step)

function countsOf(store: DiskStore, step: string): Record<string, number> {
  const found = store.startSteps.list().find(each => each.step === step)
  assert(found !== undefined, `no step ${step}`)
  assert(found.ms >= 0)
  return found.counts
}

test('a start with an index: its steps, and the partial blob verified in the background', async () => {
  await withDirectory(async dataDir => {
    await fill(dataDir)
    fs.writeFileSync(join(new StoreLayout(dataDir).partialDir, `sha256-${'0'.repeat(64)}`), 'nobody’s')
    const { store, lines } = makeStore(dataDir)
    await store.start()
    await eventually(() => store.startSteps.list().at(-1)?.step === 'verify partial blobs')
    await eventually(() => store.startSteps.list().every(({ done }) => done))
    const names = ['open index', 'list files', 'match records', 'remove leftovers', 'verify partial blobs']
    assert.deepEqual(stepsIn(lines), names)
    assert(lines.every(line => line.step === undefined || Number.isInteger(line.ms)))
    assert.deepEqual(countsOf(store, 'open index'), { records: 3 })
    assert.deepEqual(countsOf(store, 'list files'), { files: 2, partialFiles: 2 })
    assert.equal(countsOf(store, 'match records')['complete'], 2)
    assert.equal(countsOf(store, 'match records')['partial'], 1)
    assert.deepEqual(countsOf(store, 'remove leftovers'), { partialFiles: 1 })
    const bytes = 2 * partial.geometry.pieceSize
    assert.deepEqual(countsOf(store, 'verify partial blobs'), { blobs: 1, verified: 1, bytes })
    await store.stop()
  })
})

test('a lost index: the files are read again, and how far that is can be seen meanwhile', async () => {
  await withDirectory(async dataDir => {
    await fill(dataDir)
    fs.rmSync(new StoreLayout(dataDir).indexDir, { recursive: true })
    const { promise: allowed, resolve: allow } = Promise.withResolvers<void>()
    let reads = 0
    const disk = listenedDisk(call => (call === 'read' && ++reads > 1 ? allowed : undefined))
    const { store, lines } = makeStore(dataDir, disk)
    await store.start()
    await eventually(() => reads > 1)
    const underWay = store.startSteps.list().at(-1)!
    assert.equal(underWay.step, 'read strays')
    assert.equal(underWay.done, false)
    assert.equal(underWay.counts['files'], 2)
    allow()
    await eventually(() => store.startSteps.list().every(({ done }) => done))
    const bytes = whole.reduce((sum, blob) => sum + blob.bytes.byteLength, 0)
    assert.deepEqual(countsOf(store, 'read strays'), { files: 2, read: 2, found: 2, bytes })
    assert.deepEqual(countsOf(store, 'remove leftovers'), { partialFiles: 1 })
    assert.equal(stepsIn(lines).at(-1), 'read strays')
    await store.stop()
  })
})
