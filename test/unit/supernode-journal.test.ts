// The journal: a restart knows tasks and hashes, credentials are never written, a corrupt one is started without.
import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import pino from 'pino'
import { systemClock } from '../../shared/clock.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { Journal } from '../../supernode/journal.ts'
import { ClusterState } from '../../supernode/state/cluster-state.ts'
import type { StateEvent } from '../../supernode/state/events.ts'
import { digest, hashesOf, hashOf, MiB } from '../scripts/cluster-script.ts'

const known = {
  type: 'task-known',
  digest,
  size: 3 * MiB,
  pieceSize: MiB,
  registry: 'r',
  repository: 'a/b',
  at: 1,
} as const
const hashed = { type: 'hashes-known', digest, pieces: [2, 0], hashes: hashesOf([2, 0]) } as const

async function makeDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'pantala-journal-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  return join(directory, 'journal')
}

async function open(directory: string) {
  const warnings: string[] = []
  const logger = pino({ level: 'warn' }, { write: line => warnings.push(line) })
  const state = new ClusterState()
  const journal = new Journal({ state, clock: systemClock, logger }, { directory })
  const count = await journal.start(1000)
  const apply = (event: StateEvent) => {
    state.apply(event)
    journal.record(event)
  }
  return { state, journal, count, apply, warnings }
}

test('a restart knows the tasks and their hashes, and gives holders time to come back', async t => {
  const directory = await makeDirectory(t)
  const first = await open(directory)
  assert.equal(first.count, 0)
  first.apply(known)
  first.apply(hashed)
  first.apply({ ...known, digest: `sha256:${'cd'.repeat(32)}` })
  await first.journal.stop()
  const second = await open(directory)
  assert.equal(second.count, 2)
  const task = second.state.tasks.get(digest)!
  assert.deepEqual([task.size, task.pieceSize, task.registry, task.repository], [3 * MiB, MiB, 'r', 'a/b'])
  assert.deepEqual([...task.hashed.pieces()], [0, 2])
  assert.deepEqual(new Uint8Array(task.hashOf(2)!), hashOf(2))
  assert.ok(task.settleUntil > systemClock.monotonic())
  second.apply({ type: 'task-reset', digest })
  second.apply({ type: 'task-forgotten', digest: `sha256:${'cd'.repeat(32)}` })
  await second.journal.stop()
  const third = await open(directory)
  assert.deepEqual([...third.state.tasks.keys()], [digest])
  assert.equal(third.state.tasks.get(digest)!.hashed.count, 0)
  await third.journal.stop()
})

test('what registered hosts came with is not written', async t => {
  const directory = await makeDirectory(t)
  const { apply, journal } = await open(directory)
  apply(known)
  apply({
    type: 'host-joined',
    host: 'h',
    name: 'h',
    addresses: [],
    seed: false,
    uploadSlots: 1,
    version: '',
    at: 0,
  })
  const source = { registry: 'r', repository: 'a/b', authorization: 'Bearer very-secret' }
  apply({ type: 'registered', host: 'h', digest, source, at: 0 })
  apply(hashed)
  await journal.stop()
  for (const file of await readdir(directory)) {
    const bytes = await readFile(join(directory, file))
    assert.equal(bytes.includes('very-secret'), false, file)
  }
})

test('a corrupt journal is started without, aloud', async t => {
  const directory = await makeDirectory(t)
  const first = await open(directory)
  first.apply(known)
  await first.journal.stop()
  await writeFile(join(directory, 'CURRENT'), 'MANIFEST-999999\n')
  const second = await open(directory)
  assert.equal(second.count, 0)
  assert.match(second.warnings.join(), /journal is corrupt/)
  second.apply(known)
  await second.journal.stop()
  const third = await open(directory)
  assert.equal(third.count, 1)
  await third.journal.stop()
})

test('a journal that another process has open is not taken for corrupt', async t => {
  const directory = await makeDirectory(t)
  const first = await open(directory)
  await assert.rejects(open(directory), error => isPantalaError(error, 'DATA_DIR_UNUSABLE'))
  first.apply(known)
  await first.journal.stop()
  const second = await open(directory)
  assert.equal(second.count, 1)
  await second.journal.stop()
})
