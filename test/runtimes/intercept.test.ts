// skopeo and curl through the dfdaemon as HTTPS proxy: intercepted, over HTTP/1.1 and HTTP/2; Go's and OpenSSL's reading of the authority's constraints.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { authorityPaths } from '../../dfdaemon/intercept/authority/authority-files.ts'
import { digestOf } from '../../shared/digest.ts'
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

test('skopeo and an HTTP/2 client push through intercepted connections', async t => {
  const rig = await startLab(t, ['skopeo', 'curl'])
  if (rig === undefined) return
  const { lab, proxyUrl, ca } = rig
  const image = await lab.addImage(registry, 'public/source')
  const { tool, certDir } = await makeSkopeo(t, proxyUrl, ca)
  const to = `docker://${registry}/public/pushed:v1`
  await tool.run(
    'copy',
    '--override-arch=amd64',
    certDir,
    certDir.replace('src', 'dest'),
    `docker://${image.name}`,
    to,
  )
  await tool.copy(image.name, 'source', certDir)
  await tool.copy(`${registry}/public/pushed:v1`, 'pushed', certDir)
  assert.deepEqual(await tool.digestsOf('pushed'), await tool.digestsOf('source'))

  const directory = await makeTestDirectory(t, 'push')
  const body = randomBytes(3_000_000)
  const file = join(directory, 'blob')
  await writeFile(file, body)
  const digest = digestOf(body)
  const curl = async (...args: string[]): Promise<string> => {
    const common = ['--http2', '--fail', '--silent', '--proxy', proxyUrl, '--noproxy', '', '--cacert', ca]
    return (await runCommand('curl', [...common, ...args])).stdout
  }
  const begun = await curl(
    '--request',
    'POST',
    '--include',
    `https://${registry}/v2/public/pushed/blobs/uploads/`,
  )
  const location = /^location: (\S+)/im.exec(begun)![1]!
  const at = new URL(location, `https://${registry}`)
  assert.equal(at.host, registry)
  at.searchParams.set('digest', digest)
  const put = [
    '--upload-file',
    file,
    '--header',
    'content-type: application/octet-stream',
    '--header',
    'expect: 100-continue',
  ]
  await curl(...put, '--write-out', '%{http_version} %{http_code}', at.href)
  const back = join(directory, 'back')
  await curl('--output', back, `https://${registry}/v2/public/pushed/blobs/${digest}`)
  assert.ok(body.equals(await readFile(back)))
})
