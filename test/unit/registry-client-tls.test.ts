// Whom the registry client trusts: the authorities of caFile for that registry, never a registry that merely answers.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer as createPlainServer } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { isPantalaError } from '../../shared/errors.ts'
import { makeClient } from '../harness/source-client.ts'
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
