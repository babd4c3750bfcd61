// The demo's image: made once, kept, checked byte by byte before it is used again.
import assert from 'node:assert/strict'
import { mkdtemp, open, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { demoTag, findRoot, type ImageOptions, prepareImage } from '../../cli/demo/image.ts'
import { planLayers } from '../../cli/demo/image-content.ts'
import { blobPath, findPlatformImage } from '../../cli/demo/oci-layout.ts'

async function makeOptions(t: TestContext): Promise<ImageOptions> {
  const root = await mkdtemp(join(tmpdir(), 'pantala-image-'))
  t.after(() => rm(root, { recursive: true }))
  const entries = [{ name: 'app/a.txt', content: Buffer.from('a') }]
  const plan = { title: 'app', bytes: 1, entries, portable: true }
  return { root, cacheDir: join(root, 'kept'), plan: async () => [plan], bytesMin: 300_000 }
}

test('an image is made once and found again', async t => {
  const options = await makeOptions(t)
  const made = await prepareImage(options)
  const kept = await prepareImage(options)
  assert.deepEqual([made.kept, kept.kept], [false, true])
  assert.deepEqual([...made.layout.tags], [...kept.layout.tags])
  const image = findPlatformImage(kept.layout, demoTag, kept.architecture)
  assert.ok(image !== undefined && image.bytes >= 300_000, 'noise makes up for what real files lack')
  const others = image.index?.manifest.manifests?.map(entry => entry.platform?.architecture)
  assert.deepEqual(others?.toSorted(), ['amd64', 'arm64'])
})

test('a kept image with a wrong byte is made anew', async t => {
  const options = await makeOptions(t)
  const made = await prepareImage(options)
  const layer = findPlatformImage(made.layout, demoTag, made.architecture)!.layers.at(-1)!
  const file = await open(blobPath(made.layout.directory, layer.digest), 'r+')
  await file.write(Buffer.from('x'), 0, 1, 1000)
  await file.close()
  assert.equal((await prepareImage(options)).kept, false)
  assert.equal((await prepareImage(options)).kept, true)
})

test('two runs at once end up with one image', async t => {
  const options = await makeOptions(t)
  const [first, second] = await Promise.all([prepareImage(options), prepareImage(options)])
  assert.deepEqual([...first.layout.tags], [...second.layout.tags])
  assert.deepEqual(await readdir(options.cacheDir!), [first.layout.directory.split('/').at(-1)])
})

test('a run that is stopped half-way leaves nothing', async t => {
  const options = await makeOptions(t)
  const stop = new Error('stopped')
  const onPacked = () => {
    throw stop
  }
  await assert.rejects(prepareImage(options, { onPacked }), stop)
  assert.deepEqual(await readdir(options.cacheDir!), [])
})

test('the real content has six layers or more, with the runtime in one of its own', async () => {
  const plans = await planLayers(findRoot())
  assert.ok(plans.length >= 6, `${plans.length} layers`)
  assert.ok(plans.some(plan => plan.title === 'node' && plan.entries.length === 1))
  assert.ok(plans.some(plan => plan.portable))
})
