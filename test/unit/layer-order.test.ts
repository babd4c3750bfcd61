// Which layer comes after which: within one repository, by the manifest seen last, and no more of them than are remembered.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LayerOrder } from '../../dfdaemon/manifest/layer-order.ts'
import { readManifest } from '../../dfdaemon/manifest/manifest-content.ts'
import type { Digest } from '../../shared/digest.ts'
import { ManifestsRig } from '../harness/manifests-rig.ts'

const layer = (number: number): Digest => `sha256:${number.toString(16).padStart(64, '0')}`
const [a, b, c, d] = [layer(1), layer(2), layer(3), layer(4)] as const
const app = { registry: 'reg.lab', repository: 'team/app' }

test('layers follow each other, and nothing follows the last', () => {
  const order = new LayerOrder()
  order.note(app, [a, b, c])
  assert.deepEqual(
    [a, b, c, d].map(each => order.nextOf(app, each)),
    [b, c, undefined, undefined],
  )
})

test('of several manifests the last one counts, also where it ends sooner', () => {
  const order = new LayerOrder()
  order.note(app, [a, b, c])
  order.note(app, [a, d])
  assert.deepEqual([order.nextOf(app, a), order.nextOf(app, b)], [d, c])
  order.note(app, [a])
  assert.equal(order.nextOf(app, a), undefined)
})

test('other repositories and registries hear nothing of it', () => {
  const order = new LayerOrder()
  order.note(app, [a, b])
  assert.equal(order.nextOf({ ...app, repository: 'team/other' }, a), undefined)
  assert.equal(order.nextOf({ ...app, registry: 'other.lab' }, a), undefined)
})

test('20,000 layers are remembered; those noted longest ago go', () => {
  const order = new LayerOrder()
  order.note(app, [a, b])
  for (let number = 0; number < 20_000; number++) {
    if (number === 10_000) order.note(app, [c, d])
    order.note(app, [layer(10 + 2 * number), layer(11 + 2 * number)])
  }
  assert.equal(order.nextOf(app, a), undefined)
  assert.equal(order.nextOf(app, c), d)
})

test('a manifest’s layers count once each, without those to be had elsewhere; hostile ones do no harm', () => {
  const read = (manifest: unknown) => readManifest(Buffer.from(JSON.stringify(manifest))).layers
  const layers = [a, b, a, c].map(digest => ({ digest, size: 1 }))
  const foreign = { digest: d, size: 1, urls: ['https://elsewhere.lab/layer'] }
  assert.deepEqual(read({ config: { digest: d }, layers: [...layers, foreign] }), [a, b, c])
  assert.deepEqual(read({ layers: [null, 7, {}, { digest: 'x' }, { digest: [a] }, { digest: b }] }), [b])
  assert.deepEqual(read({ layers: { digest: a } }), [])
  assert.deepEqual(read({ manifests: [{ digest: a }, { digest: b }] }), [])
  assert.equal(read({ layers: Array.from({ length: 5_000 }, (_, n) => ({ digest: layer(n) })) }).length, 4096)
})

test('the order is known once a manifest was served, by tag or digest, and only in its repository', () =>
  ManifestsRig.run(async rig => {
    rig.client.put('v1', { layers: [a, b, c].map(digest => ({ digest, size: 1 })) })
    assert.equal(rig.manifests.nextLayer(rig.source(), a), undefined)
    await rig.get('v1')
    assert.equal(rig.manifests.nextLayer(rig.source(), a), b)
    assert.equal(rig.manifests.nextLayer({ ...rig.source(), repository: 'other/app' }, a), undefined)
  }))
