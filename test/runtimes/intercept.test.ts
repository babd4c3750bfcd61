// skopeo and curl through the dfdaemon as HTTPS proxy: intercepted, over HTTP/1.1 and HTTP/2; Go's and OpenSSL's reading of the authority's constraints.
import assert from 'node:assert/strict'
import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { authorityPaths } from '../../dfdaemon/intercept/authority-files.ts'
import { runCommand } from '../harness/container-engines.ts'
import { ImageTool } from '../harness/image-tools.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { Lab } from './lab.ts'
import { assertAllToRuntime, assertNoBlob, assertOnceToPantala } from './source-log.ts'

const registry = 'anonymous-tls.lab'

async function startLab(t: TestContext, commands: readonly string[], hosts: readonly string[] = [registry]) {
  const lab = await Lab.start(t, { commands, dfdaemonSettings: () => ({ intercept: { hosts } }) })
  if (lab === undefined) return undefined
  const { proxyUrl, dataDir } = lab.host()
  return { lab, proxyUrl, ca: authorityPaths(dataDir).certificate }
}

async function makeSkopeo(t: TestContext, proxyUrl: string, ca: string) {
  const directory = await makeTestDirectory(t, 'skopeo')
  await copyFile(ca, join(directory, 'pantala.crt'))
  const env = { HTTPS_PROXY: proxyUrl, HTTP_PROXY: proxyUrl, NO_PROXY: '' }
  const tool = await ImageTool.make('skopeo', { directory, registries: [], env })
  return { tool, certDir: `--src-cert-dir=${directory}` }
}

test('skopeo pulls through an intercepted connection: the registry sends the image once', async t => {
  const rig = await startLab(t, ['skopeo'])
  if (rig === undefined) return
  const { lab, proxyUrl, ca } = rig
  const image = await lab.addImage(registry, 'public/intercepted')
  const { tool, certDir } = await makeSkopeo(t, proxyUrl, ca)
  await lab.takeLog(registry)
  await tool.copy(image.name, 'cold', certDir)
  assertOnceToPantala(await lab.takeLog(registry), image)
  await tool.copy(image.name, 'warm', certDir)
  assertNoBlob(await lab.takeLog(registry))
  const copied = await tool.digestsOf('cold')
  assert.ok(copied.length > 3)
  assert.deepEqual(await tool.digestsOf('warm'), copied)
})

test('a host that is not listed is tunnelled: skopeo sees its own certificate', async t => {
  const rig = await startLab(t, ['skopeo'], ['other.lab'])
  if (rig === undefined) return
  const { lab, proxyUrl } = rig
  const image = await lab.addImage(registry, 'public/tunnelled')
  const { tool, certDir } = await makeSkopeo(t, proxyUrl, lab.files.ca)
  await lab.takeLog(registry)
  await tool.copy(image.name, 'tunnelled', certDir)
  assertAllToRuntime(await lab.takeLog(registry), image)
})

test('curl gets a manifest over HTTP/2 and over HTTP/1.1', async t => {
  const rig = await startLab(t, ['curl'])
  if (rig === undefined) return
  const { lab, proxyUrl, ca } = rig
  const image = await lab.addImage(registry, 'public/curl')
  const path = `https://${registry}/v2/${image.repository}/manifests/v1`
  const accept = 'accept: application/vnd.oci.image.index.v1+json, */*'
  for (const [flag, version] of [
    ['--http2', '2'],
    ['--http1.1', '1.1'],
  ] as const) {
    const args = [
      '--fail',
      '--silent',
      '--output',
      '/dev/null',
      '--write-out',
      '%{http_version} %{http_code}',
      flag,
    ]
    const { stdout } = await runCommand('curl', [
      ...args,
      '--proxy',
      proxyUrl,
      '--noproxy',
      '',
      '--cacert',
      ca,
      '--header',
      accept,
      path,
    ])
    assert.equal(stdout.trim(), `${version} 200`)
  }
})
