// What was pushed or deleted through this host is never answered from before, by tag, digest or as a blob, nor by a question that began before.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WriteMemory } from '../../dfdaemon/manifest/write-memory.ts'
import type { Digest } from '../../shared/digest.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import { ManifestsRig, SkippingClock } from '../harness/manifests-rig.ts'
import { until } from '../harness/until.ts'

const source = { registry: 'docker.io', repository: 'library/app' }

test('a write is remembered for its repository, under every name of its registry, for an hour', () => {
  const clock = new SkippingClock()
  const writes = new WriteMemory({ clock })
  writes.noteWrite(source, 'v1')
  assert.ok(writes.writtenAt({ ...source, registry: 'index.docker.io' }, 'v1') !== undefined)
  assert.equal(writes.writtenAt({ ...source, repository: 'library/other' }, 'v1'), undefined)
  assert.equal(writes.writtenAt(source, 'v2'), undefined)
  clock.skip(3_600_001)
  assert.equal(writes.writtenAt(source, 'v1'), undefined)
})

test('it is settled by a question that began after it, and by no other', () => {
  const clock = new SkippingClock()
  const writes = new WriteMemory({ clock })
  const before = writes.now()
  clock.skip(5)
  writes.noteWrite(source, 'v1')
  writes.settle(source, 'v1', before)
  assert.ok(writes.writtenAt(source, 'v1') !== undefined)
  clock.skip(5)
  writes.settle(source, 'v1', writes.now())
  assert.equal(writes.writtenAt(source, 'v1'), undefined)
})

const image = { schemaVersion: 2, n: 1 }
const next = { schemaVersion: 2, n: 2 }

test('a tag is asked for anew after a write, once, though it was fresh; so are those of other callers', () =>
  ManifestsRig.run(async rig => {
    for (const caller of [undefined, 'Bearer a']) {
      rig.client.put('v1', image)
      await rig.get('v1', caller)
    }
    const pushed = rig.client.put('v1', next)
    rig.manifests.noteWrite(rig.source('Bearer b'), 'v1')
    rig.clock.skip(2)
    const { length } = rig.client.asked
    for (const caller of [undefined, 'Bearer a', 'Bearer b'])
      assert.equal((await rig.get('v1', caller)).digest, pushed, `${caller}`)
    rig.clock.skip(2)
    await rig.get('v1')
    assert.equal(rig.client.asked.filter((what, n) => n >= length && what === 'tag v1').length, 3)
  }))

test('what a question from before the write brings is not believed after it', () =>
  ManifestsRig.run(async rig => {
    const gate = Promise.withResolvers<void>()
    rig.client.gate = gate.promise
    const slow = rig.get('v1')
    await until(() => rig.client.asked.length === 1)
    rig.client.gate = undefined
    rig.manifests.noteWrite(rig.source(), 'v1')
    rig.clock.skip(2)
    const pushed = rig.client.put('v1', next)
    assert.equal((await rig.get('v1')).digest, pushed)
    const before = rig.client.put('v1', image)
    gate.resolve()
    assert.equal((await slow).digest, before)
    assert.equal((await rig.get('v1')).digest, pushed)
  }))

test('a manifest that was deleted is gone by digest and by every tag, and comes back', () =>
  ManifestsRig.run(async rig => {
    const digest = rig.client.put('v1', image)
    for (const reference of ['v1', digest]) await rig.get(reference)
    rig.client.tags.clear()
    rig.manifests.noteWrite(rig.source(), digest)
    rig.clock.skip(2)
    for (const reference of ['v1', digest])
      await assert.rejects(rig.get(reference), error => isPantalaError(error, 'SOURCE_MANIFEST_UNKNOWN'))
    rig.client.put('v1', image)
    for (const reference of ['v1', digest]) assert.equal((await rig.get(reference)).digest, digest)
    const { length } = rig.client.asked
    await rig.get(digest)
    assert.equal(rig.client.asked.length, length)
  }))

test('nothing from before the write is served while the source is away, nor after a restart', () =>
  ManifestsRig.run(async rig => {
    rig.client.put('v1', image)
    await rig.get('v1')
    rig.manifests.noteWrite(rig.source(), 'v1')
    rig.client.failure = new PantalaError('SOURCE_AWAY')
    for (let life = 0; life < 2; life++) {
      await assert.rejects(rig.get('v1'), error => isPantalaError(error, 'SOURCE_AWAY'))
      await rig.restart()
    }
    assert.equal(rig.staleCount, 0)
  }))

test('a deleted blob is asked for anew; one that was missing is found once it is pushed', () =>
  ManifestsRig.run(async rig => {
    const blob: Digest = `sha256:${'b'.repeat(64)}`
    const unknown = (error: unknown) => isPantalaError(error, 'SOURCE_BLOB_UNKNOWN')
    await assert.rejects(rig.admit(blob), unknown)
    rig.client.lengths.set(blob, 5)
    await rig.admit(blob)
    const { length } = rig.client.asked
    await rig.admit(blob)
    assert.equal(rig.client.asked.length, length)
    rig.client.lengths.delete(blob)
    rig.manifests.noteWrite(rig.source(), blob)
    rig.clock.skip(2)
    await assert.rejects(rig.admit(blob), unknown)
  }))

test('whether a blob is there is the source’s to say, whatever is known; while it is away, what is known', () =>
  ManifestsRig.run(async rig => {
    const blob: Digest = `sha256:${'c'.repeat(64)}`
    const ask = () => rig.manifests.admit(rig.source('Bearer a'), blob, true, rig.signal)
    rig.client.lengths.set(blob, 5)
    await ask()
    const { length } = rig.client.asked
    await ask()
    assert.ok(rig.client.asked.length > length)
    rig.client.failure = new PantalaError('SOURCE_AWAY')
    await ask()
    rig.client.failure = undefined
    rig.client.lengths.delete(blob)
    await assert.rejects(ask(), error => isPantalaError(error, 'SOURCE_BLOB_UNKNOWN'))
  }))

test('the supernode is told to ask anew after a write, and only then', () =>
  ManifestsRig.run(async rig => {
    rig.scheduler.connected = true
    const digest = rig.client.put('v1', image)
    const asked: (boolean | undefined)[] = []
    rig.scheduler.relay = async request => {
      asked.push(request.fresh)
      const { body, mediaType } = rig.client.tags.get('v1')!
      return { type: 'relayed', id: 1, mediaType, digest, body, length: body.byteLength, stale: false }
    }
    await rig.get('v1')
    rig.manifests.noteWrite(rig.source(), 'v1')
    rig.clock.skip(2)
    await rig.get('v1')
    rig.clock.skip(6_000)
    await rig.get('v1')
    assert.deepEqual(asked, [undefined, true, undefined])
  }))
