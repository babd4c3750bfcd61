// Whom the registry client trusts: the authorities of caFile for that registry, never a registry that merely answers.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer as createPlainServer } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { isPantalaError } from '../../shared/errors.ts'
import { makeClient, recordingLogger } from '../harness/source-client.ts'
import { testCertificate, testKey } from '../harness/tls-certificate.ts'

const body = Buffer.from('{"schemaVersion":2,"config":{}}')
const signal = AbortSignal.timeout(20_000)
const basic = `Basic ${Buffer.from('alice:wonderland').toString('base64')}`
const seen: (string | undefined)[] = []
const server = createServer({ cert: testCertificate, key: testKey }, (request, response) => {
  seen.push(request.headers.authorization)
  response.writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' }).end(body)
})
let directory = ''
let registry = ''

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pantala-tls-'))
  await writeFile(join(directory, 'ca.pem'), testCertificate)
  await writeFile(join(directory, 'empty.pem'), '')
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  registry = `127.0.0.1:${(server.address() as AddressInfo).port}`
})

after(async () => {
  server.close()
  server.closeAllConnections()
  await rm(directory, { recursive: true })
})

test('a registry with a certificate of its own is believed by its caFile, and only by that', async () => {
  const source = { registry, repository: 'a/b', authorization: basic }
  const trusting = makeClient({ [registry]: { caFile: join(directory, 'ca.pem') } })
  assert.deepEqual((await trusting.manifest(source, 'v1', [], undefined, signal)).body, body)
  assert.deepEqual(seen.splice(0), [basic])
  await trusting.close()
  // Also where another registry's file holds that very authority.
  const other = makeClient({ [registry]: {}, 'other.lab': { caFile: join(directory, 'ca.pem') } })
  await assert.rejects(other.manifest(source, 'v1', [], undefined, signal), error =>
    isPantalaError(error, 'SOURCE_AWAY'),
  )
  assert.deepEqual(seen, [])
  await other.close()
})

/** A registry that lets in holders of the test certificate only, and redirects `redirected` to the one above. */
async function pickyRegistry(): Promise<{ name: string; shown: boolean[]; stop: () => void }> {
  const shown: boolean[] = []
  const options = { cert: testCertificate, key: testKey, ca: testCertificate, requestCert: true }
  const server = createServer({ ...options, rejectUnauthorized: false }, (request, response) => {
    const { authorized } = request.socket as TLSSocket
    shown.push(authorized)
    if (request.url?.endsWith('/redirected')) {
      response.writeHead(307, { location: `https://localhost:${registry.split(':')[1]}/x` }).end()
      return
    }
    response.writeHead(authorized ? 200 : 403).end(body)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const stop = () => {
    server.close()
    server.closeAllConnections()
  }
  return { name: `127.0.0.1:${(server.address() as AddressInfo).port}`, shown, stop }
}

test('a client certificate is shown to the registry, and to nobody it sends to', async t => {
  const picky = await pickyRegistry()
  t.after(picky.stop)
  await writeFile(join(directory, 'key.pem'), testKey)
  const own = { certFile: join(directory, 'ca.pem'), keyFile: join(directory, 'key.pem') }
  const caFile = join(directory, 'ca.pem')
  const source = { registry: picky.name, repository: 'a/b' }
  const bare = makeClient({ [picky.name]: { caFile } })
  t.after(() => bare.close())
  await assert.rejects(bare.manifest(source, 'v1', [], undefined, signal), error =>
    isPantalaError(error, 'SOURCE_DENIED'),
  )
  // The storage is told of as localhost, another host than 127.0.0.1, and listed.
  const client = makeClient({ [picky.name]: { caFile, ...own } }, { upstreams: { allow: ['localhost'] } })
  t.after(() => client.close())
  assert.deepEqual((await client.manifest(source, 'v1', [], undefined, signal)).body, body)
  assert.deepEqual(picky.shown.splice(0), [false, true])
  const certificates: boolean[] = []
  server.on('secureConnection', socket =>
    certificates.push(Object.keys(socket.getPeerCertificate()).length > 0),
  )
  assert.deepEqual((await client.manifest(source, 'redirected', [], undefined, signal)).body, body)
  assert.deepEqual(picky.shown, [true])
  assert.deepEqual(certificates, [false])
  seen.length = 0
})

test('a client certificate is not lent to callers that push', async t => {
  const picky = await pickyRegistry()
  t.after(picky.stop)
  await writeFile(join(directory, 'key.pem'), testKey)
  const files = { certFile: join(directory, 'ca.pem'), keyFile: join(directory, 'key.pem') }
  const client = makeClient({ [picky.name]: { caFile: join(directory, 'ca.pem'), ...files } })
  t.after(() => client.close())
  const push = { method: 'DELETE', path: '/v2/a/b/manifests/v1', headers: {}, body: undefined }
  const answer = await client.write({ registry: picky.name, repository: 'a/b' }, push, signal)
  answer.body.destroy()
  assert.equal(answer.status, 403)
  assert.deepEqual(picky.shown, [false])
})

test('certFile and keyFile must fit each other', async () => {
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  await writeFile(join(directory, 'other.pem'), other.export({ type: 'pkcs8', format: 'pem' }))
  for (const [keyFile, told] of [
    ['other.pem', /is not the key of/],
    ['absent.pem', /ENOENT/],
    ['empty.pem', /no private key/],
    ['ca.pem', /no private key/],
  ] as const)
    assert.throws(
      () =>
        makeClient({
          'reg.lab': { certFile: join(directory, 'ca.pem'), keyFile: join(directory, keyFile) },
        }),
      error => isPantalaError(error, 'CONFIG_INVALID') && told.test(error.message),
      keyFile,
    )
})

test('skipVerify takes whoever answers, with a warning, at the registry’s own host alone', async t => {
  const { logger, lines } = recordingLogger()
  const client = makeClient(
    { [registry]: { skipVerify: true } },
    { upstreams: { allow: ['localhost'] } },
    logger,
  )
  t.after(() => client.close())
  const source = { registry, repository: 'a/b', authorization: basic }
  assert.deepEqual((await client.manifest(source, 'v1', [], undefined, signal)).body, body)
  assert.match(lines.join(), /skipVerify/)
  const picky = await pickyRegistry()
  t.after(picky.stop)
  const lax = makeClient({ [picky.name]: { skipVerify: true } }, { upstreams: { allow: ['localhost'] } })
  t.after(() => lax.close())
  seen.length = 0
  await assert.rejects(
    lax.manifest({ ...source, registry: picky.name }, 'redirected', [], undefined, signal),
    error => isPantalaError(error, 'SOURCE_AWAY') && /localhost.*(SELF_SIGNED|UNABLE_TO)/.test(error.message),
  )
  assert.deepEqual(seen, [])
})

test('the machine’s own authorities count, besides Node’s', async () => {
  const script = `
    const { TrustedRoots } = await import(${JSON.stringify(new URL('../../shared/source/reach/tls-trust.ts', import.meta.url).href)})
    const tls = await import('node:tls')
    const pem = new TrustedRoots().pem
    const ours = (await import('node:fs')).readFileSync(process.env.SSL_CERT_FILE, 'utf8').trim()
    const all = tls.getCACertificates('bundled').every(root => pem.includes(root.trim()))
    console.log(all, pem.includes(ours))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    env: {
      ...process.env,
      NODE_EXTRA_CA_CERTS: '',
      SSL_CERT_FILE: join(directory, 'ca.pem'),
      SSL_CERT_DIR: directory,
    },
  })
  assert.equal(stdout.trim(), 'true true')
})

test('plain HTTP is not tried where TLS fails', async () => {
  let plain = 0
  const plainServer = createPlainServer((_request, response) => {
    plain++
    response.end(body)
  })
  await new Promise<void>(resolve => plainServer.listen(0, '127.0.0.1', resolve))
  const name = `127.0.0.1:${(plainServer.address() as AddressInfo).port}`
  const client = makeClient({ [name]: {} })
  const source = { registry: name, repository: 'a/b', authorization: basic }
  await assert.rejects(client.manifest(source, 'v1', [], undefined, signal), error =>
    isPantalaError(error, 'SOURCE_AWAY'),
  )
  assert.equal(plain, 0)
  await client.close()
  plainServer.close()
  plainServer.closeAllConnections()
})

test('a caFile that is not there, or holds no certificate, is found at start', () => {
  for (const name of ['absent.pem', 'empty.pem'])
    assert.throws(
      () => makeClient({ 'reg.lab': { caFile: join(directory, name) } }),
      error => isPantalaError(error, 'CONFIG_INVALID') && error.message.includes(name),
    )
})

test('nothing is sent any more once the client is closed', async () => {
  const client = makeClient({ [registry]: { caFile: join(directory, 'ca.pem') } })
  await client.close()
  const source = { registry, repository: 'a/b' }
  await assert.rejects(client.manifest(source, 'v1', [], undefined, signal), error =>
    isPantalaError(error, 'SOURCE_AWAY'),
  )
  assert.deepEqual(seen, [])
})
