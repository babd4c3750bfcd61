// Layout writer and reader: a small image is deterministic, whole, and its digests are those of its bytes.
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { extract } from 'tar-stream'
import { blobPath, findPlatformImage, hasAllLengths } from '../../cli/demo/oci-layout.ts'
import { digestOf } from '../../shared/digest.ts'
import { makeSmallImage } from '../harness/small-image.ts'

test('a small image has the same digests on every run, and every blob has its digest', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'pantala-layout-'))
  t.after(() => rm(directory, { recursive: true }))
  const first = await makeSmallImage({ directory: join(directory, 'a'), layerBytes: [100, 300_000] })
  const second = await makeSmallImage({ directory: join(directory, 'b'), layerBytes: [100, 300_000] })
  assert.deepEqual([...first.tags], [...second.tags])
  for (const [digest, blob] of first.blobs) {
    const bytes = await readFile(blobPath(first.directory, digest))
    assert.equal(digestOf(bytes), digest)
    assert.equal(bytes.byteLength, blob.size)
  }
  assert.ok(await hasAllLengths(first))
  await rm(blobPath(first.directory, [...first.blobs.keys()][0]!))
  assert.ok(!(await hasAllLengths(first)))
})

test('the image of a platform counts its manifests and each blob once', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'pantala-layout-'))
  t.after(() => rm(directory, { recursive: true }))
  const layout = await makeSmallImage({ directory, layerBytes: [100, 20_000] })
  const image = findPlatformImage(layout, 'v1', 'amd64')
  assert.ok(image?.index !== undefined)
  const parts = [image.index.body.byteLength, image.manifest.body.byteLength, image.config.size]
  assert.equal(
    image.bytes,
    [...parts, ...image.layers.map(layer => layer.size)].reduce((a, b) => a + b),
  )
  assert.equal(findPlatformImage(layout, 'v1', 's390x'), undefined)
  assert.equal(findPlatformImage(layout, 'none', 'amd64'), undefined)
})

test('diff ids name the unpacked tar, and the tar holds the file', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'pantala-layout-'))
  t.after(() => rm(directory, { recursive: true }))
  const layout = await makeSmallImage({ directory, layerBytes: [70_000], index: false })
  const image = findPlatformImage(layout, 'v1', 'amd64')
  const config = JSON.parse(await readFile(blobPath(directory, image!.config.digest), 'utf8'))
  const tar = gunzipSync(await readFile(blobPath(directory, image!.layers[0]!.digest)))
  assert.deepEqual(config.rootfs.diff_ids, [digestOf(tar)])
  const reader = extract()
  reader.end(tar)
  const names: string[] = []
  for await (const entry of reader) {
    names.push(`${entry.header.name} ${entry.header.size}`)
    entry.resume()
  }
  assert.deepEqual(names, ['layer-0.bin 70000'])
})
