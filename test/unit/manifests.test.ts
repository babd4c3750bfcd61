// Manifests of a host: what costs the source a question, what is shared, what is served stale, and what survives a restart.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Digest } from '../../shared/digest.ts'
import { digestOf } from '../../shared/digest.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import { ManifestsRig } from '../harness/manifests-rig.ts'
import { until } from '../harness/until.ts'

const layer: Digest = `sha256:${'1'.repeat(64)}`
const config: Digest = `sha256:${'2'.repeat(64)}`
const image = {
  schemaVersion: 2,
  config: { digest: config, size: 7 },
  layers: [{ digest: layer, size: 1234 }],
}

test('callers at the same moment cost one question, a fresh tag none, an old one a question without body', () =>
  ManifestsRig.run(async rig => {
    const digest = rig.client.put('v1', image)
    const gate = Promise.withResolvers<void>()
    rig.client.gate = gate.promise
    const all = Promise.all([1, 2, 3].map(() => rig.get('v1')))
    await until(() => rig.client.asked.length > 0)
    gate.resolve()
    for (const manifest of await all) assert.equal(manifest.digest, digest)
    await rig.get('v1')
    await rig.get(digest)
    assert.deepEqual(rig.client.asked, ['tag v1'])
    rig.clock.skip(5_001)
    const again = await rig.get('v1')
    assert.deepEqual(
      [again.digest, again.stale, Buffer.from(again.body).toString()],
      [digest, false, JSON.stringify(image)],
    )
    assert.deepEqual(rig.client.asked, ['tag v1', 'tag v1'])
  }))

test('a moved tag is seen once it is no longer fresh', () =>
  ManifestsRig.run(async rig => {
    const first = rig.client.put('v1', image)
    await rig.get('v1')
    const second = rig.client.put('v1', { ...image, annotations: {} })
    assert.equal((await rig.get('v1')).digest, first)
    rig.clock.skip(6_000)
    assert.equal((await rig.get('v1')).digest, second)
  }))

test('with the source away the last answer is served, marked, logged and counted; also after a restart', () =>
  ManifestsRig.run(async rig => {
    const digest = rig.client.put('v1', image)
    await rig.get('v1')
    await rig.restart()
    rig.clock.skip(6_000)
    rig.client.failure = new PantalaError('SOURCE_AWAY', { detail: 'refused' })
    const manifest = await rig.get('v1')
    assert.deepEqual([manifest.digest, manifest.stale], [digest, true])
    assert.equal(rig.staleCount, 1)
    assert(rig.lines.some(line => line.includes('the source is away: serving the last known manifest')))
    // What the stale manifest leads to can be had as well.
    assert.equal((await rig.get(digest)).digest, digest)
    assert.equal((await rig.admit(layer)).key, layer)
    await assert.rejects(rig.get('v2'), error => isPantalaError(error, 'SOURCE_AWAY'))
  }))

test('what the source refuses is not served from memory', () =>
  ManifestsRig.run(async rig => {
    rig.client.put('v1', image)
    await rig.get('v1')
    rig.clock.skip(6_000)
    rig.client.failure = new PantalaError('SOURCE_MANIFEST_UNKNOWN')
    await assert.rejects(rig.get('v1'), error => isPantalaError(error, 'SOURCE_MANIFEST_UNKNOWN'))
    rig.client.failure = new PantalaError('SOURCE_AWAY')
    await assert.rejects(rig.get('v1'), error => isPantalaError(error, 'SOURCE_AWAY'))
  }))

test('questions go through the supernode while it is there, and to the source when it is not or sends rubbish', () =>
  ManifestsRig.run(async rig => {
    const digest = rig.client.put('v1', image)
    const body = Buffer.from(JSON.stringify(image))
    const asked: string[] = []
    let relayed = { body, digest }
    rig.scheduler.connected = true
    rig.scheduler.relayAnswer = request => {
      asked.push(`${request.kind} ${request.known ?? '-'}`)
      const unchanged = request.known === relayed.digest
      return {
        type: 'relayed',
        id: 1,
        mediaType: 'x/y',
        digest: relayed.digest,
        length: 5,
        body: unchanged ? undefined : relayed.body,
        stale: false,
      }
    }
    assert.equal((await rig.get('v1')).mediaType, 'x/y')
    rig.clock.skip(6_000)
    assert.equal(Buffer.from((await rig.get('v1')).body).toString(), body.toString())
    assert.deepEqual(asked, ['manifest -', `manifest ${digest}`])
    assert.deepEqual(rig.client.asked, [])
    relayed = { body: Buffer.from('{}'), digest: `sha256:${'3'.repeat(64)}` }
    rig.clock.skip(6_000)
    assert.equal((await rig.get('v1')).digest, digest)
    rig.scheduler.relayAnswer = () => new PantalaError('SUPERNODE_AWAY')
    rig.clock.skip(6_000)
    assert.equal((await rig.get('v1')).digest, digest)
    assert.deepEqual(rig.client.asked, ['tag v1', 'tag v1'])
    rig.scheduler.relayAnswer = () => new PantalaError('SOURCE_DENIED')
    rig.clock.skip(6_000)
    await assert.rejects(rig.get('v1'), error => isPantalaError(error, 'SOURCE_DENIED'))
  }))

test('callers that take other types are answered apart, order and repetition aside', () =>
  ManifestsRig.run(async rig => {
    const digest = rig.client.put('v1', image)
    const docker = 'application/vnd.docker.distribution.manifest.v2+json'
    const list = 'application/vnd.docker.distribution.manifest.list.v2+json'
    await rig.get('v1', undefined, [docker, list])
    await rig.get('v1', undefined, [`${list}, ${docker};q=0.5`])
    assert.deepEqual(rig.client.asked, ['tag v1'])
    await rig.get('v1', undefined, ['application/vnd.oci.image.index.v1+json', '*/*'])
    await rig.get('v1')
    assert.deepEqual(rig.client.asked, ['tag v1', 'tag v1'])
    // Held, but not of a type this caller takes: the source is to say what it makes of that.
    await rig.get(digest, undefined, [docker])
    assert.equal(rig.client.asked.at(-1), 'digest')
  }))

test('lengths come from manifests; claims that differ are not believed until the source is asked', () =>
  ManifestsRig.run(async rig => {
    rig.client.put('v1', image)
    rig.client.put('lie', { ...image, layers: [{ digest: layer, size: 5 }] })
    rig.client.put('odd', {
      layers: [{ digest: 'x', size: 1 }, { digest: `sha256:${'4'.repeat(64)}`, size: -1 }, null, 7],
    })
    await rig.get('v1')
    assert.equal(rig.sizeOf(layer), 1234)
    await rig.get('odd')
    await rig.get('lie')
    assert.equal(rig.sizeOf(layer), undefined)
    assert.equal(rig.sizeOf(config), 7)
    rig.client.lengths.set(layer, 1234)
    await rig.admit(layer, 'Bearer other')
    assert.equal(rig.sizeOf(layer), 1234)
    await rig.get('lie')
    assert.equal(rig.sizeOf(layer), 1234)
  }))

test('what one registry says of a blob’s length is not believed of another’s', () =>
  ManifestsRig.run(async rig => {
    rig.client.put('v1', image)
    rig.client.put('lie', { ...image, layers: [{ digest: layer, size: 5 }] })
    const evil = { registry: 'evil.lab', repository: 'a/b', authorization: 'Bearer own' }
    await rig.manifests.get({ source: evil, reference: 'lie', accept: [] }, rig.signal)
    rig.client.lengths.set(layer, 5)
    await rig.manifests.admit(evil, layer, true, rig.signal)
    assert.equal(rig.manifests.sizeOf(evil, layer), 5)
    assert.equal(rig.sizeOf(layer), undefined)
    await rig.get('v1')
    assert.equal(rig.sizeOf(layer), 1234)
  }))

test('bodies on disk stay within their bytes', () =>
  ManifestsRig.run(async rig => {
    for (let number = 0; number < 40; number++) {
      rig.client.put(`v${number}`, { ...image, annotations: { number, text: 'x'.repeat(1_000) } })
      await rig.get(`v${number}`)
    }
    await rig.restart()
    rig.client.asked.length = 0
    await rig.get('v39')
    await rig.get('v0')
    assert.deepEqual(rig.client.asked, ['tag v0'])
  }, 10_000))

test('a body that the disk corrupted is fetched anew', () =>
  ManifestsRig.run(async rig => {
    const digest = rig.client.put('v1', image)
    await rig.get('v1')
    await rig.corruptBody(digest)
    assert.equal(digestOf((await rig.get('v1')).body), digest)
    assert.deepEqual(rig.client.asked, ['tag v1', 'tag v1'])
  }))

test('an abort frees the caller and not the others', () =>
  ManifestsRig.run(async rig => {
    const digest = rig.client.put('v1', image)
    const gate = Promise.withResolvers<void>()
    rig.client.gate = gate.promise
    const stop = new AbortController()
    const request = { source: rig.source(), reference: 'v1', accept: [] }
    const leaving = rig.manifests.get(request, stop.signal)
    const staying = rig.manifests.get(request, rig.signal)
    await until(() => rig.client.asked.length > 0)
    stop.abort(new Error('gone'))
    await assert.rejects(leaving, /gone/)
    gate.resolve()
    assert.equal((await staying).digest, digest)
    assert.equal(digestOf((await staying).body), digest)
  }))
