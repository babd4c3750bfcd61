// Private stays private: what one caller may read is nothing to another, and no credential is logged or written.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Digest } from '../../shared/digest.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import { ManifestsRig } from '../harness/manifests-rig.ts'

const layer: Digest = `sha256:${'1'.repeat(64)}`
const image = { schemaVersion: 2, config: {}, layers: [{ digest: layer, size: 10 }] }
const alice = 'Basic YWxpY2U6d29uZGVybGFuZA=='
const mallory = 'Basic bWFsbG9yeTpndWVzcw=='

async function withPrivateImage(test: (rig: ManifestsRig, digest: Digest) => Promise<void>): Promise<void> {
  await ManifestsRig.run(async rig => {
    rig.client.accepted = alice
    rig.client.lengths.set(layer, 10)
    await test(rig, rig.client.put('v1', image))
  })
}

const refused = (error: unknown) =>
  isPantalaError(error, 'SOURCE_UNAUTHORIZED') && error.challenge === 'Basic realm="x"'

test('a manifest that one caller fetched is given to no other, by tag or by digest', () =>
  withPrivateImage(async (rig, digest) => {
    await rig.get('v1', alice)
    for (const other of [undefined, mallory])
      for (const reference of ['v1', digest]) await assert.rejects(rig.get(reference, other), refused)
    assert.equal((await rig.get(digest, alice)).digest, digest)
    assert.equal(rig.client.asked.length, 5)
  }))

test('only who was given the manifest may read its blobs; others are asked about, each once a minute', () =>
  withPrivateImage(async rig => {
    await rig.get('v1', alice)
    assert(rig.manifests.mayRead(rig.source(alice), layer))
    assert(!rig.manifests.mayRead(rig.source(mallory), layer))
    assert(!rig.manifests.mayRead({ ...rig.source(alice), repository: 'other' }, layer))
    rig.client.asked.length = 0
    await assert.rejects(rig.manifests.checkAccess(rig.source(mallory), layer, rig.signal), refused)
    await rig.manifests.checkAccess(rig.source(alice), layer, rig.signal)
    assert.deepEqual(rig.client.asked, ['length'])
    rig.clock.skip(11 * 60_000)
    assert(!rig.manifests.mayRead(rig.source(alice), layer))
    const check = () => rig.manifests.checkAccess(rig.source(alice), layer, rig.signal)
    await Promise.all([check(), check()])
    await check()
    assert.deepEqual(rig.client.asked, ['length', 'length'])
    rig.clock.skip(61_000)
    assert(!rig.manifests.mayRead(rig.source(alice), layer))
  }))

test('with the source away its yes of the last hour holds, and no longer', () =>
  withPrivateImage(async (rig, digest) => {
    await rig.get('v1', alice)
    rig.client.failure = new PantalaError('SOURCE_AWAY')
    const check = () => rig.manifests.checkAccess(rig.source(alice), layer, rig.signal)
    rig.clock.skip(30 * 60_000)
    await check()
    assert.equal((await rig.get('v1', alice)).stale, true)
    assert.equal((await rig.get(digest, alice)).digest, digest)
    await assert.rejects(rig.get('v1', mallory), error => isPantalaError(error, 'SOURCE_AWAY'))
    // Being served meanwhile is no acceptance by the source.
    rig.clock.skip(31 * 60_000)
    await assert.rejects(check(), error => isPantalaError(error, 'SOURCE_AWAY'))
    await assert.rejects(rig.get('v1', alice), error => isPantalaError(error, 'SOURCE_AWAY'))
    await assert.rejects(rig.get(digest, alice), error => isPantalaError(error, 'SOURCE_AWAY'))
  }))

test('a caller whom the source stops accepting is out at the next check, away or not', () =>
  withPrivateImage(async rig => {
    await rig.get('v1', alice)
    rig.client.accepted = 'nobody'
    rig.clock.skip(11 * 60_000)
    const check = () => rig.manifests.checkAccess(rig.source(alice), layer, rig.signal)
    await assert.rejects(check(), refused)
    rig.client.failure = new PantalaError('SOURCE_AWAY')
    await assert.rejects(check(), error => isPantalaError(error, 'SOURCE_AWAY'))
  }))

test('reading what is cached does not renew the right to read it', () =>
  withPrivateImage(async (rig, digest) => {
    await rig.get('v1', alice)
    rig.client.accepted = 'nobody'
    for (let minute = 0; minute < 9; minute += 3) {
      assert.equal((await rig.get(digest, alice)).digest, digest)
      rig.clock.skip(3 * 60_000)
    }
    rig.clock.skip(2 * 60_000)
    assert(!rig.manifests.mayRead(rig.source(alice), layer))
    await assert.rejects(rig.get(digest, alice), refused)
  }))

test('a stale answer through the supernode is no acceptance by the source', () =>
  withPrivateImage(async (rig, digest) => {
    const image = await rig.get('v1', alice)
    rig.scheduler.connected = true
    rig.scheduler.relayAnswer = ({ kind }) => ({
      type: 'relayed',
      id: 1,
      mediaType: kind === 'manifest' ? image.mediaType : '',
      length: kind === 'manifest' ? image.body.byteLength : 10,
      stale: true,
      ...(kind === 'manifest' ? { digest, body: image.body } : {}),
    })
    const away = (error: unknown) => isPantalaError(error, 'SOURCE_AWAY')
    const check = () => rig.manifests.checkAccess(rig.source(alice), layer, rig.signal)
    rig.clock.skip(30 * 60_000)
    await check()
    assert.equal((await rig.get('v1', alice)).stale, true)
    assert.equal((await rig.get(digest, alice)).digest, digest)
    rig.clock.skip(31 * 60_000)
    await assert.rejects(check(), away)
    for (const reference of ['v1', digest]) await assert.rejects(rig.get(reference, alice), away)
    // What anyone may see needs nobody's word.
    assert.equal((await rig.get('v1')).stale, true)
  }))

test('no credential is logged or written, and tags seen with one are not written at all', () =>
  withPrivateImage(async rig => {
    await rig.get('v1', alice)
    await rig.manifests.checkAccess(rig.source(alice), layer, rig.signal)
    await assert.rejects(rig.get('v1', mallory), refused)
    rig.clock.skip(6_000)
    rig.client.failure = new PantalaError('SOURCE_AWAY')
    await rig.get('v1', alice)
    const told = `${rig.lines.join('\n')}\n${await rig.readDisk()}`
    assert.match(told, /layers/)
    for (const secret of [alice, mallory, 'YWxpY2U6', 'wonderland', 'bWFsbG9yeTp'])
      assert(!told.includes(secret))
    await rig.restart()
    await assert.rejects(rig.get('v1', alice), error => isPantalaError(error, 'SOURCE_AWAY'))
  }))
