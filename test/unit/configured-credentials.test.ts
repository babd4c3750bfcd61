// Credentials from a file: whose requests get them, where they go, and that a changed file counts.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { digestOf } from '../../shared/digest.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { RegistryClient } from '../../shared/source/registry-client.ts'
import type { RegistryConfig } from '../../shared/source/registry-config.ts'
import { FakeRegistry, sendBytes } from '../harness/fake-registry.ts'
import { SkippingClock } from '../harness/manifests-rig.ts'
import { recordingLogger } from '../harness/source-client.ts'

const body = Buffer.from('{"schemaVersion":2,"config":{}}')
const path = '/v2/a/b/manifests/v1'
const signal = AbortSignal.timeout(20_000)
const b64 = (text: string) => Buffer.from(text).toString('base64')
const alice = `Basic ${b64('alice:wonderland')}`
let directory = ''
let file = ''

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pantala-credentials-'))
  file = join(directory, 'config.json')
})
after(() => rm(directory, { recursive: true }))

const writeAuths = (auths: object) => writeFile(file, JSON.stringify({ auths }))

/** A registry that lets in who has `alice` and is asked Basic. */
async function basicRegistry(): Promise<FakeRegistry> {
  const registry = await FakeRegistry.start()
  return registry.on('/v2/*', (request, response) => {
    if (request.headers.authorization === alice) return sendBytes(body)(request, response)
    response.writeHead(401, { 'www-authenticate': 'Basic realm="lab"' }).end()
  })
}

function makeClient(registries: Record<string, RegistryConfig>) {
  const { logger, lines } = recordingLogger()
  const clock = new SkippingClock()
  const client = new RegistryClient(
    { logger, clock, random: () => 0.5 },
    {
      upstreams: { default: 'docker.io', registries, allow: [], failoverMs: 300 },
      stallTimeoutMs: 1_000,
      retryPauseMs: 5,
    },
  )
  return { client, clock, lines }
}

const refused = (error: unknown) => isPantalaError(error, 'SOURCE_UNAUTHORIZED')

test('serve this service’s own requests; clients that send none only where useForClients says so', async t => {
  const registry = await basicRegistry()
  t.after(() => registry.stop())
  await writeAuths({ [registry.name]: { auth: b64('alice:wonderland') } })
  const source = { registry: registry.name, repository: 'a/b' }
  const kept = makeClient({ [registry.name]: { insecure: true, credentialsFile: file } })
  t.after(() => kept.client.close())
  await assert.rejects(kept.client.manifest(source, 'v1', [], undefined, signal), refused)
  assert.equal(kept.client.usesConfigured(source), false)
  assert.equal((await kept.client.own.manifest(source, 'v1', [], undefined, signal)).digest, digestOf(body))
  // And having asked for itself opens nothing to others.
  await assert.rejects(kept.client.manifest(source, 'v1', [], undefined, signal), refused)

  const shared = makeClient({
    [registry.name]: { insecure: true, credentialsFile: file, useForClients: true },
  })
  t.after(() => shared.client.close())
  await shared.client.manifest(source, 'v1', [], undefined, signal)
  assert.equal(shared.client.usesConfigured(source), true)
  // A client's own credentials are never exchanged for better ones.
  const mallory = { ...source, authorization: `Basic ${b64('mallory:x')}` }
  assert.equal(shared.client.usesConfigured(mallory), false)
  await assert.rejects(shared.client.manifest(mallory, 'v1', [], undefined, signal), refused)
  await assert.rejects(shared.client.own.manifest(mallory, 'v1', [], undefined, signal), refused)
  assert.doesNotMatch([...kept.lines, ...shared.lines].join('\n'), /wonderland|YWxpY2U|alice/)
})

test('are used for a token; where clients share them, GET /v2/ sends nobody for a token of its own', async t => {
  const registry = await FakeRegistry.start()
  t.after(() => registry.stop())
  registry
    .on('/token', (request, response) => {
      const token = request.headers.authorization === alice ? 'for-alice' : 'for-anyone'
      sendBytes(Buffer.from(JSON.stringify({ token })))(request, response)
    })
    .on('/v2/*', (request, response) => {
      if (request.headers.authorization === 'Bearer for-alice') return sendBytes(body)(request, response)
      const challenge = `Bearer realm="${registry.url}/token",service="reg"`
      response.writeHead(401, { 'www-authenticate': challenge }).end()
    })
  await writeAuths({
    [`${registry.name}/a`]: { auth: b64('alice:wonderland') },
    [registry.name]: { auth: b64('alice:wonderland') },
  })
  const { client } = makeClient({
    [registry.name]: { insecure: true, credentialsFile: file, useForClients: true },
  })
  t.after(() => client.close())
  const source = { registry: registry.name, repository: 'a/b' }
  await client.manifest(source, 'v1', [], undefined, signal)
  const root = await client.forward({ registry: registry.name, repository: '' }, 'GET', '/v2/', {}, signal)
  root.body.resume()
  assert.equal(root.status, 200)
  assert.deepEqual(
    registry.askedFor('/token').map(asked => new URL(asked.path, registry.url).searchParams.get('scope')),
    ['repository:a/b:pull', null],
  )
})

test('an identity token is exchanged at the token server, and sent nowhere else', async t => {
  const registry = await FakeRegistry.start()
  t.after(() => registry.stop())
  const forms: string[] = []
  registry
    .on('/token', (request, response) => {
      const chunks: Buffer[] = []
      request.on('data', chunk => chunks.push(chunk))
      request.on('end', () => {
        forms.push(`${request.method} ${Buffer.concat(chunks)}`)
        sendBytes(Buffer.from('{"access_token":"exchanged","expires_in":300}'))(request, response)
      })
    })
    .on('/v2/*', (request, response) => {
      if (request.headers.authorization === 'Bearer exchanged') return sendBytes(body)(request, response)
      const challenge = `Bearer realm="${registry.url}/token?x=1",service="reg"`
      response.writeHead(401, { 'www-authenticate': challenge }).end()
    })
  await writeAuths({ [registry.name]: { identitytoken: 'refresh-me' } })
  const { client } = makeClient({ [registry.name]: { insecure: true, credentialsFile: file } })
  t.after(() => client.close())
  const source = { registry: registry.name, repository: 'a/b' }
  await client.own.manifest(source, 'v1', [], undefined, signal)
  assert.deepEqual(forms, [
    'POST grant_type=refresh_token&client_id=pantala&refresh_token=refresh-me&service=reg&scope=repository%3Aa%2Fb%3Apull',
  ])
  assert.equal(registry.askedFor(path)[0]!.headers.authorization, undefined)
  assert.equal(registry.askedFor('/token')[0]!.path, '/token?x=1')
})

test('go to the host they are for: the registry’s not to its mirrors, nor to where it redirects', async t => {
  const [registry, mirror, storage] = [
    await basicRegistry(),
    await basicRegistry(),
    await FakeRegistry.start(),
  ]
  t.after(() => Promise.all([registry.stop(), mirror.stop(), storage.stop()]))
  await writeAuths({ [registry.name]: { auth: b64('alice:wonderland') } })
  registry.on('/v2/*', (_request, response) => {
    response.writeHead(307, { location: `${storage.url}/stored` }).end()
  })
  storage.on('/stored', sendBytes(body))
  const { client } = makeClient({
    [registry.name]: { insecure: true, mirrors: [mirror.url], credentialsFile: file },
  })
  t.after(() => client.close())
  const source = { registry: registry.name, repository: 'a/b' }
  registry.on(path, sendBytes(body))
  await client.own.manifest(source, 'v1', [], undefined, signal)
  assert.deepEqual(
    mirror.asked.map(asked => asked.headers.authorization),
    [undefined],
  )
  assert.equal(storage.askedFor('/stored')[0]?.headers.authorization, undefined)
  assert.equal(registry.asked.at(-1)!.headers.authorization, alice)
})

test('a changed file is read again, a broken one changes nothing, one taken away is taken back', async t => {
  const registry = await basicRegistry()
  t.after(() => registry.stop())
  await writeAuths({ [registry.name]: { auth: b64('alice:old-password') } })
  const { client, clock, lines } = makeClient({ [registry.name]: { insecure: true, credentialsFile: file } })
  t.after(() => client.close())
  const source = { registry: registry.name, repository: 'a/b' }
  const pull = () => client.own.manifest(source, 'v1', [], undefined, signal)
  await assert.rejects(pull(), refused)
  await writeAuths({ [registry.name]: { auth: b64('alice:wonderland') } })
  clock.skip(3_000)
  await pull()
  await writeFile(file, '{"auths": {')
  clock.skip(3_000)
  await pull()
  await rm(file)
  clock.skip(3_000)
  await assert.rejects(pull(), refused)
  const told = lines.join('\n')
  assert.match(told, /changed: read again/)
  assert.match(told, /cannot be read/)
  assert.doesNotMatch(told, /wonderland|old-password|YWxpY2U/)
})

test('a file that cannot be used stops the start', async () => {
  await writeFile(file, '{"credsStore":"desktop"}')
  for (const [name, told] of [
    [file, /credsStore/],
    [join(directory, 'absent'), /ENOENT/],
  ] as const)
    assert.throws(
      () => makeClient({ 'reg.lab': { credentialsFile: name } }),
      error => isPantalaError(error, 'CONFIG_INVALID') && told.test(error.message),
    )
})
