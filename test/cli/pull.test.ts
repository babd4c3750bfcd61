// `pantala pull` against a registry that fails as told: resumed, verified, kept as a layout, or refused with exit code 1.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openLayout } from '../../cli/demo/oci-layout.ts'
import { SourceRegistry } from '../../cli/demo/registry.ts'
import { type Digest, digestOf } from '../../shared/digest.ts'
import { makeSmallImage } from '../harness/small-image.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { runPantala } from './run-pantala.ts'

interface PullSummary {
  readonly ref: string
  readonly digest: string
  readonly bytes: number
  readonly ms: number
  readonly blobs: readonly { digest: string; size: number; ms: number; ok: boolean }[]
}

async function startRegistry(t: TestContext) {
  const directory = await makeTestDirectory(t, 'pull')
  const layout = await makeSmallImage({ directory: join(directory, 'source'), layerBytes: [3_000, 700_000] })
  const registry = new SourceRegistry()
  registry.addImage('team/app', layout)
  await registry.start()
  t.after(() => registry.stop())
  const large = [...layout.blobs.values()].sort((a, b) => b.size - a.size)[0]!.digest
  const output = join(directory, 'output')
  const pull = (...words: string[]) =>
    runPantala(['pull', 'team/app:v1', '--dfdaemon', registry.url, '--platform', 'linux/amd64', ...words])
  return { registry, large, output, pull }
}

async function assertBlobsAreTrue(layoutDirectory: string): Promise<number> {
  const directory = join(layoutDirectory, 'blobs', 'sha256')
  const names = await readdir(directory)
  for (const name of names) {
    assert.equal(digestOf(await readFile(join(directory, name))), `sha256:${name}`)
  }
  return names.length
}

test('keeps a valid OCI layout and tells what it pulled', async t => {
  const { pull, output } = await startRegistry(t)
  const { code, out, err } = await pull('--output', output, '--json')
  assert.equal(code, 0, err)
  const summary = JSON.parse(out) as PullSummary
  assert.equal(summary.ref, 'team/app:v1')
  assert.equal(summary.blobs.length, 3)
  assert.ok(summary.blobs.every(blob => blob.ok && blob.size > 0))
  // Config, two layers, the manifest and the index it came from.
  assert.equal(await assertBlobsAreTrue(output), 5)
  assert.deepEqual(JSON.parse(await readFile(join(output, 'oci-layout'), 'utf8')), {
    imageLayoutVersion: '1.0.0',
  })
  const kept = await openLayout(output)
  assert.ok(kept.tags.has('v1'))
  assert.deepEqual((await readdir(output)).sort(), ['blobs', 'index.json', 'oci-layout'])
})

test('a second image in the same layout leaves the first there', async t => {
  const { pull, output, registry } = await startRegistry(t)
  const other = await makeSmallImage({ directory: join(output, '../other'), seed: 'other', tag: 'v2' })
  registry.addImage('team/app', other)
  assert.equal((await pull('--output', output)).code, 0)
  const words = ['team/app:v2', '--dfdaemon', registry.url, '--platform', 'linux/amd64', '--output', output]
  assert.equal((await runPantala(['pull', ...words])).code, 0)
  assert.equal((await pull('--output', output)).code, 0)
  const index = JSON.parse(await readFile(join(output, 'index.json'), 'utf8'))
  assert.equal(index.manifests.length, 2)
})

test('a connection that is cut is resumed where it was cut', async t => {
  const { registry, pull, large, output } = await startRegistry(t)
  registry.fail({ kind: 'reset', afterBytes: 300_000, reference: large, times: 2 })
  const { code, err } = await pull('--output', output)
  assert.equal(code, 0, err)
  const asked = registry.log.filter(entry => entry.reference === large)
  assert.equal(asked.length, 3)
  assert.ok(asked.slice(1).every(entry => /^bytes=[1-9]\d*-$/.test(entry.range!)))
  await assertBlobsAreTrue(output)
})

test('a resumed answer that is the whole blob again is passed over up to the cut', async t => {
  const { registry, pull, large, output } = await startRegistry(t)
  registry.fail({ kind: 'no-range' })
  registry.fail({ kind: 'reset', afterBytes: 300_000, reference: large, times: 1 })
  const { code, err } = await pull('--output', output)
  assert.equal(code, 0, err)
  await assertBlobsAreTrue(output)
})

test('wrong bytes are exit code 1, named by digest, and not kept', async t => {
  const { registry, pull, large, output } = await startRegistry(t)
  registry.fail({ kind: 'corrupt', offset: 5_000, reference: large })
  const { code, err, out } = await pull('--output', output)
  assert.equal(code, 1)
  assert.equal(out, '')
  assert.match(err, new RegExp(`^pantala: blob ${large} came with bytes that do not have its digest\n$`))
  assert.ok(!existsSync(join(output, 'index.json')))
  const left = await readdir(join(output, 'blobs', 'sha256'))
  assert.ok(!left.some(name => name.startsWith(large.slice(7)) || name.endsWith('.partial')), left.join(' '))
})

test('a registry that only ever cuts is given up, and an image it does not know is exit code 1', async t => {
  const { registry, pull, large } = await startRegistry(t)
  const heal = registry.fail({ kind: 'reset', afterBytes: 0, reference: large as Digest })
  const cut = await pull()
  assert.equal(cut.code, 1)
  assert.match(cut.err, /was cut at 0 bytes/)
  heal()
  const unknown = await runPantala(['pull', 'team/none:v1', '--dfdaemon', registry.url])
  assert.equal(unknown.code, 1)
  assert.match(unknown.err, /manifest v1 was answered with 404/)
  const platform = await pull('--platform', 'linux/s390x')
  assert.equal(platform.code, 1)
  assert.match(platform.err, /nothing for linux\/s390x; it has linux\/amd64, linux\/arm64/)
})

test('a dfdaemon that is not there is told in one line', async () => {
  const { code, err } = await runPantala(['pull', 'team/app:v1', '--dfdaemon', 'http://127.0.0.1:9'])
  assert.equal(code, 1)
  assert.match(err, /^pantala: .*127\.0\.0\.1:9/)
  assert.equal(err.trim().split('\n').length, 1)
})
