// Credentials through the registry client: token flows, redirects, and that nothing secret goes where it must not.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { digestOf } from '../../shared/digest.ts'
import { isPantalaError, type PantalaError } from '../../shared/errors.ts'
import { type Answer, FakeRegistry, sendBytes, sendRanged } from '../harness/fake-registry.ts'
import { makeClient, readAll, recordingLogger } from '../harness/source-client.ts'

const body = Buffer.from('{"schemaVersion":2,"config":{}}')
const path = '/v2/a/b/manifests/v1'
const signal = AbortSignal.timeout(20_000)
const basic = `Basic ${Buffer.from('alice:wonderland-secret').toString('base64')}`

/** A registry that wants `accepted` and names its own token server. */
async function tokenRegistry(
  tokenAnswer: Answer,
): Promise<{ registry: FakeRegistry; accepted: Set<string> }> {
  const registry = await FakeRegistry.start()
  const accepted = new Set<string>()
  registry.on('/token', tokenAnswer).on('/v2/*', (request, response) => {
    if (accepted.has(request.headers.authorization ?? '')) return sendBytes(body)(request, response)
    const challenge = `Bearer realm="${registry.url}/token",service="reg",scope="repository:a/b:pull,push"`
    response.writeHead(401, { 'www-authenticate': challenge }).end()
  })
  return { registry, accepted }
}

const sendToken = (token: string, more: object = {}): Answer =>
  sendBytes(Buffer.from(JSON.stringify({ token, ...more })))

test('gets an anonymous token once and keeps it for the repository', async () => {
  const { registry, accepted } = await tokenRegistry(sendToken('anon-secret', { expires_in: 300 }))
  accepted.add('Bearer anon-secret')
  const client = makeClient({ [registry.name]: { insecure: true } })
  const source = { registry: registry.name, repository: 'a/b' }
  await Promise.all(['v1', 'v2', 'v3'].map(tag => client.manifest(source, tag, [], undefined, signal)))
  await client.manifest(source, 'v4', [], undefined, signal)
  const asked = registry.askedFor('/token')
  assert.equal(asked.length, 1)
  assert.match(asked[0]!.path, /service=reg&scope=repository%3Aa%2Fb%3Apull$/)
  assert.equal(asked[0]!.headers.authorization, undefined)
  assert.equal(registry.askedFor('/v2/a/b/manifests/v4').length, 1)
  await client.close()
  await registry.stop()
})

test('gets a token with the caller’s Basic credentials, and gives it to nobody else', async () => {
  const { registry, accepted } = await tokenRegistry((request, response) =>
    sendToken(request.headers.authorization === basic ? 'alice-secret' : 'anon-secret')(request, response),
  )
  accepted.add('Bearer alice-secret')
  const client = makeClient({ [registry.name]: { insecure: true } })
  const source = { registry: registry.name, repository: 'a/b' }
  await client.manifest({ ...source, authorization: basic }, 'v1', [], undefined, signal)
  await assert.rejects(client.manifest(source, 'v1', [], undefined, signal), error =>
    isPantalaError(error, 'SOURCE_UNAUTHORIZED'),
  )
  await client.close()
  await registry.stop()
})

test('a refused token is renewed; a caller’s own Bearer token never is, and its challenge is passed on', async () => {
  let count = 0
  const { registry, accepted } = await tokenRegistry((request, response) => {
    accepted.clear()
    accepted.add(`Bearer t${++count}`)
    sendToken(`t${count}`)(request, response)
  })
  const client = makeClient({ [registry.name]: { insecure: true } })
  const source = { registry: registry.name, repository: 'a/b' }
  await client.manifest(source, 'v1', [], undefined, signal)
  accepted.clear()
  await client.manifest(source, 'v1', [], undefined, signal)
  assert.equal(count, 2)
  const own = { ...source, authorization: 'Bearer old-secret' }
  await assert.rejects(client.manifest(own, 'v1', [], undefined, signal), (error: PantalaError) => {
    assert.equal(error.code, 'SOURCE_UNAUTHORIZED')
    assert.match(error.challenge ?? '', /^Bearer realm="http:/)
    return true
  })
  assert.equal(count, 2)
  await client.close()
  await registry.stop()
})

test('a token server that sends rubbish is survived', async () => {
  const rubbish = [
    '',
    '[]',
    'null',
    '{"token":7}',
    '{"token":"a b\\n"}',
    `{"token":"${'x'.repeat(20_000)}"}`,
    `"${'x'.repeat(100_000)}"`,
  ]
  for (const text of rubbish) {
    const { registry } = await tokenRegistry(sendBytes(Buffer.from(text)))
    const client = makeClient({ [registry.name]: { insecure: true } })
    const source = { registry: registry.name, repository: 'a/b' }
    await assert.rejects(
      client.manifest(source, 'v1', [], undefined, signal),
      error => isPantalaError(error),
      text.slice(0, 20),
    )
    await client.close()
    await registry.stop()
  }
})

test('a redirect is followed without credentials, and its secrets are not told', async () => {
  const [registry, storage] = [await FakeRegistry.start(), await FakeRegistry.start()]
  const blob = Buffer.from('a blob')
  const digest = digestOf(blob)
  registry.on('/v2/*', (_request, response) => {
    response.writeHead(307, { location: `${storage.url}/blob?signature=signed-secret` }).end('x'.repeat(100))
  })
  storage.on('/blob', sendRanged(blob))
  const { logger, lines } = recordingLogger()
  const client = makeClient({ [registry.name]: { insecure: true } }, {}, logger)
  const source = { registry: registry.name, repository: 'a/b', authorization: basic }
  const answer = await client.openBlob(source, digest, 2, undefined, signal)
  assert.equal(answer.offset, 2)
  assert.equal((await readAll(answer.body)).toString(), 'blob')
  assert.equal(registry.asked[0]!.headers.authorization, basic)
  assert.equal(storage.asked[0]!.headers.authorization, undefined)
  assert.equal(storage.asked[0]!.headers.range, 'bytes=2-')
  storage.on('/blob', sendBytes(Buffer.alloc(0), {}, 500))
  await storage.stop()
  await assert.rejects(client.openBlob(source, digest, 0, undefined, signal), (error: PantalaError) => {
    const told = [error.message, JSON.stringify(error), ...lines].join('\n')
    assert.match(told, /\/blob failed/)
    assert.doesNotMatch(told, /secret|alice|YWxpY2U/)
    return true
  })
  await client.close()
  await registry.stop()
})

test('redirects in a ring, to link-local addresses and from TLS to plain HTTP end at once', async () => {
  const registry = await FakeRegistry.start()
  const to =
    (location: string): Answer =>
    (_request, response) =>
      void response.writeHead(302, { location }).end()
  const client = makeClient({ [registry.name]: { insecure: true } })
  const source = { registry: registry.name, repository: 'a/b' }
  const cases: [string, string][] = [
    [path, 'SOURCE_STATUS'],
    ['http://169.254.169.254/latest/meta-data', 'UPSTREAM_FORBIDDEN'],
    ['http://[::ffff:a9fe:a9fe]/', 'UPSTREAM_FORBIDDEN'],
    ['file:///etc/passwd', 'SOURCE_STATUS'],
    ['http://', 'SOURCE_STATUS'],
  ]
  for (const [location, code] of cases) {
    registry.asked.length = 0
    registry.on(path, to(location))
    await assert.rejects(
      client.manifest(source, 'v1', [], undefined, signal),
      error => isPantalaError(error) && error.code === code,
      location,
    )
    assert(registry.asked.length <= 6)
  }
  await client.close()
  await registry.stop()
})
