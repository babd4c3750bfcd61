// Private stays private: what one caller may read is nothing to another, and no credential is logged or written.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Digest } from '../../shared/digest.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import { privateKey } from '../../shared/task-key.ts'
import { ManifestsRig } from '../harness/manifests-rig.ts'

const layer: Digest = `sha256:${'1'.repeat(64)}`
const config: Digest = `sha256:${'2'.repeat(64)}`
const image = { schemaVersion: 2, config: { digest: config, size: 7 }, layers: [{ digest: layer, size: 10 }] }
const alice = 'Basic YWxpY2U6d29uZGVybGFuZA=='
const mallory = 'Basic bWFsbG9yeTpndWVzcw=='
const kept = privateKey(layer, 'reg.lab')

async function withPrivateImage(test: (rig: ManifestsRig, digest: Digest) => Promise<void>): Promise<void> {
  await ManifestsRig.run(async rig => {
    rig.client.accepted = alice
    rig.client.lengths.set(layer, 10)
    rig.client.lengths.set(config, 7)
    await test(rig, rig.client.put('v1', image))
  })
}

const refused = (error: unknown) =>
  isPantalaError(error, 'SOURCE_UNAUTHORIZED') && error.challenge === 'Basic realm="x"'
const away = (error: unknown) => isPantalaError(error, 'SOURCE_AWAY')

test('a manifest that one caller fetched is given to no other, by tag or by digest', () =>
  withPrivateImage(async (rig, digest) => {
    await rig.get('v1', alice)
    for (const other of [undefined, mallory])
      for (const reference of ['v1', digest]) await assert.rejects(rig.get(reference, other), refused)
    rig.client.asked.length = 0
    assert.equal((await rig.get(digest, alice)).digest, digest)
    assert.deepEqual(rig.client.asked, [])
  }))

test('1,000 blobs for an accepted caller cost the source a handful of questions', () =>
  withPrivateImage(async (rig, digest) => {
    for (let pull = 0; pull < 1_000; pull++) {
      await rig.get(digest, alice)
      for (const blob of [config, layer]) await rig.admit(blob, alice)
    }
    // The manifest, whether anyone may have it, and each blob's belonging to the repository.
    assert.deepEqual([...rig.client.asked].sort(), ['digest', 'length', 'length', 'length'])
  }))

test('each new token costs one question for the repository, whatever it reads', () =>
  withPrivateImage(async (rig, digest) => {
    rig.client.accepted = undefined
    rig.client.judge = source =>
      source.authorization === undefined ? new PantalaError('SOURCE_UNAUTHORIZED') : undefined
    await rig.get('v1', 'Bearer 0')
    for (const blob of [config, layer]) await rig.admit(blob, 'Bearer 0')
    for (const token of ['Bearer 1', 'Bearer 2']) {
      rig.client.asked.length = 0
      for (const blob of [config, layer]) await rig.admit(blob, token)
      await rig.get(digest, token)
      assert.deepEqual(rig.client.asked, ['length'])
    }
  }))

test('a yes for one repository opens nothing that only another is known to hold', () =>
  withPrivateImage(async (rig, digest) => {
    await rig.get('v1', alice)
    await rig.admit(layer, alice)
    const elsewhere = { ...rig.source(alice), repository: 'alice/own' }
    // It lists the digest: whoever pushed it knew the digest, no more.
    rig.client.put('claim', { ...image, annotations: {} })
    await rig.manifests.get({ source: elsewhere, reference: 'claim', accept: [] }, rig.signal)
    rig.client.judge = (source, what) =>
      source.repository === 'alice/own' && what === layer
        ? new PantalaError('SOURCE_BLOB_UNKNOWN')
        : undefined
    const unknown = (error: unknown) => isPantalaError(error, 'SOURCE_BLOB_UNKNOWN')
    await assert.rejects(rig.manifests.admit(elsewhere, layer, false, rig.signal), unknown)
    rig.client.judge = (source, what) =>
      source.repository === 'alice/own' && what === digest
        ? new PantalaError('SOURCE_MANIFEST_UNKNOWN')
        : undefined
    await assert.rejects(
      rig.manifests.get({ source: elsewhere, reference: digest, accept: [] }, rig.signal),
      error => isPantalaError(error, 'SOURCE_MANIFEST_UNKNOWN'),
    )
  }))

test('what came under credentials is kept apart by registry, whatever another registry says it holds', () =>
  withPrivateImage(async (rig, digest) => {
    await rig.get('v1', alice)
    assert.equal((await rig.admit(layer, alice)).key, kept)
    // The rival says yes to everything, and sends nothing: it knows digests alone.
    rig.client.accepted = undefined
    for (const authorization of [undefined, mallory]) {
      const rival = { ...rig.source(authorization), registry: 'rival.lab' }
      assert.notEqual((await rig.manifests.admit(rival, layer, false, rig.signal)).key, kept)
      rig.client.tags.set(digest, { mediaType: 'x/y', body: Buffer.from('made up') })
      const told = await rig.manifests.get({ source: rival, reference: digest, accept: [] }, rig.signal)
      assert.equal(Buffer.from(told.body).toString(), 'made up')
    }
  }))

test('what a registry gives to anyone is the same task whoever asks, and is fetched without credentials', () =>
  ManifestsRig.run(async rig => {
    rig.client.lengths.set(layer, 10)
    rig.client.put('v1', image)
    await rig.get('v1', 'Bearer of anyone')
    const hub = await rig.admit(layer, 'Bearer of anyone')
    const other = await rig.manifests.admit(
      { registry: 'other.lab', repository: 'copy', authorization: alice },
      layer,
      false,
      rig.signal,
    )
    assert.deepEqual([hub.key, other.key], [layer, layer])
    assert.deepEqual(hub.source, { registry: 'reg.lab', repository: 'a/b' })
  }))

test('with credentials of the host’s own nothing counts as public', () =>
  ManifestsRig.run(async rig => {
    rig.access.hasOwnCredentials = () => true
    await rig.restart()
    rig.client.lengths.set(layer, 10)
    for (const authorization of [undefined, alice])
      assert.equal((await rig.admit(layer, authorization)).key, kept)
  }))

test('a withdrawn right ends within the time it is fresh, also through the supernode', () =>
  withPrivateImage(async (rig, digest) => {
    await rig.get('v1', alice)
    await rig.admit(layer, alice)
    rig.client.accepted = 'nobody'
    for (let second = 0; second < 60; second += 20) {
      await rig.admit(layer, alice)
      await rig.get(digest, alice)
      rig.clock.skip(20_000)
    }
    await assert.rejects(rig.admit(layer, alice), refused)
    await assert.rejects(rig.get(digest, alice), refused)
    // What the supernode remembered is as old here as there.
    rig.scheduler.connected = true
    rig.scheduler.relayAnswer = () => ({
      type: 'relayed',
      id: 1,
      mediaType: '',
      length: 10,
      stale: false,
      ageMs: 50_000,
    })
    await rig.admit(layer, alice)
    rig.scheduler.connected = false
    rig.clock.skip(9_000)
    await rig.admit(layer, alice)
    rig.clock.skip(2_000)
    await assert.rejects(rig.admit(layer, alice), refused)
  }))

test('a refusal is remembered at once, with the source away as well', () =>
  withPrivateImage(async (rig, digest) => {
    await rig.get('v1', alice)
    await rig.admit(layer, alice)
    rig.client.accepted = 'nobody'
    rig.clock.skip(61_000)
    await assert.rejects(rig.get('v1', alice), refused)
    rig.client.failure = new PantalaError('SOURCE_AWAY')
    for (const reference of ['v1', digest]) await assert.rejects(rig.get(reference, alice), away)
    await assert.rejects(rig.admit(layer, alice), away)
  }))

test('with the source away its yes of the last hour holds, and no longer', () =>
  withPrivateImage(async (rig, digest) => {
    await rig.get('v1', alice)
    await rig.admit(layer, alice)
    rig.client.failure = new PantalaError('SOURCE_AWAY')
    rig.clock.skip(30 * 60_000)
    assert.equal((await rig.admit(layer, alice)).key, kept)
    assert.equal((await rig.get('v1', alice)).stale, true)
    assert.equal((await rig.get(digest, alice)).digest, digest)
    await assert.rejects(rig.get('v1', mallory), away)
    await assert.rejects(rig.admit(layer, mallory), away)
    // Listed by the manifest, but the source never answered for it.
    await assert.rejects(rig.admit(config, alice), away)
    // Being served meanwhile is no acceptance by the source.
    rig.clock.skip(31 * 60_000)
    await assert.rejects(rig.admit(layer, alice), away)
    await assert.rejects(rig.get('v1', alice), away)
    await assert.rejects(rig.get(digest, alice), away)
  }))

test('with awayMs 0 a private image needs its source', () =>
  withPrivateImage(async (rig, digest) => {
    rig.access.awayMs = 0
    await rig.restart()
    await rig.get('v1', alice)
    await rig.admit(layer, alice)
    rig.clock.skip(61_000)
    rig.client.failure = new PantalaError('SOURCE_AWAY')
    for (const reference of ['v1', digest]) await assert.rejects(rig.get(reference, alice), away)
    await assert.rejects(rig.admit(layer, alice), away)
  }))

test('with freshMs 0 the source is asked each time', () =>
  withPrivateImage(async rig => {
    rig.access.freshMs = 0
    await rig.restart()
    for (let pull = 0; pull < 3; pull++) {
      await rig.get('v1', alice)
      await rig.admit(layer, alice)
    }
    const own = rig.client.sources.filter(source => source.authorization === alice)
    assert.equal(own.length, 6)
    rig.client.accepted = 'nobody'
    await assert.rejects(rig.admit(layer, alice), refused)
  }))

test('a stale answer through the supernode is no acceptance by the source', () =>
  withPrivateImage(async (rig, digest) => {
    const first = await rig.get('v1', alice)
    await rig.admit(layer, alice)
    rig.scheduler.connected = true
    rig.scheduler.relayAnswer = ({ kind }) => ({
      type: 'relayed',
      id: 1,
      mediaType: kind === 'manifest' ? first.mediaType : '',
      length: kind === 'manifest' ? first.body.byteLength : 10,
      stale: true,
      ...(kind === 'manifest' ? { digest, body: first.body } : {}),
    })
    rig.clock.skip(30 * 60_000)
    await rig.admit(layer, alice)
    assert.equal((await rig.get('v1', alice)).stale, true)
    assert.equal((await rig.get(digest, alice)).digest, digest)
    rig.clock.skip(31 * 60_000)
    await assert.rejects(rig.admit(layer, alice), away)
    for (const reference of ['v1', digest]) await assert.rejects(rig.get(reference, alice), away)
    // What anyone may see needs nobody's word.
    assert.equal((await rig.get('v1')).stale, true)
  }))

test('no credential is logged or written, and tags seen with one are not written at all', () =>
  withPrivateImage(async rig => {
    await rig.get('v1', alice)
    await rig.admit(layer, alice)
    await assert.rejects(rig.get('v1', mallory), refused)
    rig.clock.skip(6_000)
    rig.client.failure = new PantalaError('SOURCE_AWAY')
    await rig.get('v1', alice)
    const told = `${rig.lines.join('\n')}\n${await rig.readDisk()}`
    assert.match(told, /layers/)
    for (const secret of [alice, mallory, 'YWxpY2U6', 'wonderland', 'bWFsbG9yeTp'])
      assert(!told.includes(secret))
    await rig.restart()
    await assert.rejects(rig.get('v1', alice), away)
  }))

test('what is known is said without a question, and nothing else', () =>
  withPrivateImage(async rig => {
    await rig.get('v1', alice)
    // Its manifest names it: for private content that is not enough.
    assert.equal(rig.known(layer, alice), undefined)
    await rig.admit(layer, alice)
    rig.client.asked.length = 0
    assert.equal(rig.known(layer, alice), kept)
    for (const other of [undefined, mallory]) assert.equal(rig.known(layer, other), undefined)
    assert.equal(rig.known(config, alice), undefined)
    rig.manifests.noteWrite(rig.source(alice), layer)
    assert.equal(rig.known(layer, alice), undefined)
    await rig.admit(layer, alice)
    rig.clock.skip(61_000)
    assert.equal(rig.known(layer, alice), undefined)
    assert.deepEqual(rig.client.asked, ['length'])
  }))

test('what anyone may have is known from the manifest that names it', () =>
  ManifestsRig.run(async rig => {
    rig.client.put('v1', image)
    assert.equal(rig.known(layer), undefined)
    await rig.get('v1')
    assert.equal(rig.known(layer), layer)
    assert.equal(rig.known(`sha256:${'3'.repeat(64)}`), undefined)
    rig.clock.skip(61_000)
    assert.equal(rig.known(layer), undefined)
  }))
