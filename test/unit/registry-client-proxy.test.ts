// Registries behind an HTTP proxy: tunnels with TLS to the end, whole URLs for plain ones, credentials for the proxy alone.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { makeAuthority, makeLeaf } from '../../dfdaemon/intercept/authority/authority-certificate.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { FakeRegistry, sendBytes } from '../harness/fake-registry.ts'
import { ForwardProxy } from '../harness/forward-proxy.ts'
import { makeClient, recordingLogger } from '../harness/source-client.ts'

const body = Buffer.from('{"schemaVersion":2,"config":{}}')
const signal = AbortSignal.timeout(20_000)
const token = `Basic ${Buffer.from('corp:proxy-secret').toString('base64')}`
const caller = `Basic ${Buffer.from('alice:wonderland').toString('base64')}`
const seen: Record<string, unknown>[] = []
const secure = createServer()
let plain: FakeRegistry
let proxy: ForwardProxy
let directory = ''
let caFile = ''

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pantala-proxy-'))
  caFile = join(directory, 'ca.pem')
  const authority = await makeAuthority(['reg.lab'], 'test', Date.now())
  await writeFile(caFile, authority.certificate)
  const leaf = await makeLeaf(authority, 'reg.lab', Date.now())
  secure.setSecureContext({ cert: leaf.certificate, key: leaf.key })
  secure.on('request', (request, response) => {
    seen.push(request.headers)
    sendBytes(body)(request, response)
  })
  await new Promise<void>(resolve => secure.listen(0, '127.0.0.1', resolve))
  plain = (await FakeRegistry.start()).on('/v2/*', sendBytes(body))
  const { port } = secure.address() as AddressInfo
  const plainPort = Number(plain.name.split(':')[1])
  const routes = { 'reg.lab:443': port, 'other.lab:443': port, 'plain.lab:80': plainPort }
  proxy = await new ForwardProxy({ routes, authorization: token }).start()
})

after(async () => {
  secure.close()
  secure.closeAllConnections()
  await Promise.all([plain.stop(), proxy.stop(), rm(directory, { recursive: true })])
})

test('HTTPS registries are reached by CONNECT and verified to the end; the proxy’s credentials stay with it', async t => {
  const { logger, lines } = recordingLogger()
  const env = { HTTPS_PROXY: `http://corp:proxy-secret@${proxy.host}` }
  const client = makeClient({ 'reg.lab': { caFile }, 'other.lab': { caFile } }, { env }, logger)
  t.after(() => client.close())
  const source = { registry: 'reg.lab', repository: 'a/b', authorization: caller }
  proxy.asked.length = 0
  assert.deepEqual((await client.manifest(source, 'v1', [], undefined, signal)).body, body)
  await client.manifest(source, 'v2', [], undefined, signal)
  assert.deepEqual([...new Set(proxy.asked)], ['CONNECT reg.lab:443'])
  assert.deepEqual(
    seen
      .splice(0)
      .map(headers => [headers['authorization'], headers['proxy-authorization'], headers['host']]),
    [
      [caller, undefined, 'reg.lab'],
      [caller, undefined, 'reg.lab'],
    ],
  )
  // Whoever the proxy leads to must be the registry.
  const other = { ...source, registry: 'other.lab' }
  await assert.rejects(client.manifest(other, 'v1', [], undefined, signal), error => {
    assert(isPantalaError(error, 'SOURCE_AWAY'))
    assert.match(error.message, /through the HTTP proxy failed \(ERR_TLS_CERT_ALTNAME_INVALID\)/)
    return true
  })
  assert.deepEqual(seen, [])
  assert.match(lines.join(), /reached through a proxy/)
  assert.doesNotMatch(lines.join(), /proxy-secret|wonderland/)
})

test('plain registries are asked by whole URL', async t => {
  const client = makeClient(
    { 'plain.lab': { insecure: true } },
    { upstreams: { proxy: `http://corp:proxy-secret@${proxy.host}` } },
  )
  t.after(() => client.close())
  proxy.asked.length = 0
  const source = { registry: 'plain.lab', repository: 'a/b' }
  assert.deepEqual((await client.manifest(source, 'v1', [], undefined, signal)).body, body)
  assert.deepEqual(proxy.asked, ['GET http://plain.lab/v2/a/b/manifests/v1'])
  assert.equal(plain.asked.at(-1)!.headers.host, 'plain.lab')
  assert.equal(plain.asked.at(-1)!.headers['proxy-authorization'], undefined)
})

test('loopback and NO_PROXY go past it', async t => {
  const client = makeClient(
    { [plain.name]: { insecure: true } },
    { env: { HTTP_PROXY: 'http://127.0.0.1:1' } },
  )
  t.after(() => client.close())
  const source = { registry: plain.name, repository: 'a/b' }
  assert.deepEqual((await client.manifest(source, 'v1', [], undefined, signal)).body, body)
})

test('a proxy that refuses, is dead or knows no way is told as such, and stops nobody for long', async t => {
  const lost = await new ForwardProxy({ routes: {} }).start()
  t.after(() => lost.stop())
  const wrong: [string, RegExp][] = [
    [`http://corp:wrong@${proxy.host}`, /through the HTTP proxy failed \(it answered 407\)/],
    ['http://127.0.0.1:1', /through the HTTP proxy failed \(ECONNREFUSED\)/],
    [`http://${lost.host}`, /through the HTTP proxy failed \(it answered 502\)/],
  ]
  for (const [url, told] of wrong) {
    const client = makeClient({ 'reg.lab': { caFile } }, { upstreams: { proxy: url } })
    const begun = performance.now()
    const source = { registry: 'reg.lab', repository: 'a/b' }
    await assert.rejects(client.manifest(source, 'v1', [], undefined, signal), error => {
      assert(isPantalaError(error, 'SOURCE_AWAY'), String(error))
      assert.match(error.message, told)
      return true
    })
    assert(performance.now() - begun < 5_000)
    await client.close()
  }
})

test('what may not be contacted is not asked of a proxy either', async t => {
  const client = makeClient(
    {},
    { upstreams: { proxy: `http://corp:proxy-secret@${proxy.host}`, allow: ['*'] } },
  )
  t.after(() => client.close())
  proxy.asked.length = 0
  for (const registry of ['169.254.169.254', 'metadata.google.internal', '[::ffff:a9fe:a9fe]'])
    await assert.rejects(
      client.manifest({ registry, repository: 'a/b' }, 'v1', [], undefined, signal),
      error => isPantalaError(error, 'UPSTREAM_FORBIDDEN'),
      registry,
    )
  assert.deepEqual(proxy.asked, [])
})
