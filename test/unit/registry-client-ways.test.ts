// How registries and what stands before them behave: tokens of many kinds, limits of rate, and servers that send elsewhere.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeAuthority, makeLeaf } from '../../dfdaemon/intercept/authority/authority-certificate.ts'
import { systemClock } from '../../shared/clock.ts'
import { digestOf } from '../../shared/digest.ts'
import { isPantalaError, type PantalaError } from '../../shared/errors.ts'
import { RegistryClient } from '../../shared/source/registry-client.ts'
import { type Answer, FakeRegistry, inTurn, sendBytes, sendRanged } from '../harness/fake-registry.ts'
import { makeClient, readAll, recordingLogger } from '../harness/source-client.ts'

const body = Buffer.from('{"schemaVersion":2,"config":{}}')
const path = '/v2/a/b/manifests/v1'
const signal = AbortSignal.timeout(20_000)
const basic = `Basic ${Buffer.from('alice:wonderland').toString('base64')}`
const json = (value: object): Answer => sendBytes(Buffer.from(JSON.stringify(value)))

async function withRegistry(run: (registry: FakeRegistry) => Promise<void>): Promise<void> {
  const registry = await FakeRegistry.start()
  await run(registry).finally(() => registry.stop())
}

/** Lets in who shows the header, others get the challenge or challenges. */
const guarded =
  (header: string, challenge: string | string[], answer = sendBytes(body)): Answer =>
  (request, response) => {
    if (request.headers.authorization === header) return answer(request, response)
    response.writeHead(401, { 'www-authenticate': challenge }).end()
  }

test('tokens come in every form that registries know', () =>
  withRegistry(async registry => {
    const realm = `${registry.url}/service/token`
    const forms: [string, object][] = [
      [
        'Docker Hub',
        { token: 'tok', access_token: 'tok', expires_in: 300, issued_at: '2026-01-01T00:00:00Z' },
      ],
      ['Harbor', { token: 'tok', access_token: '', expires_in: 1800, issued_at: '2026-01-01T00:00:00Z' }],
      ['OAuth 2', { access_token: 'tok', scope: 'x', token_type: 'Bearer' }],
      ['null beside', { token: null, access_token: 'tok', expires_in: null }],
      ['text for a number', { token: 'tok', expires_in: '300' }],
    ]
    const challenges = [
      `Bearer realm="${realm}",service="harbor-registry",scope="repository:a/b:pull"`,
      `bearer  Realm="${realm}" , SERVICE="my \\"own\\" registry", error="invalid_token"`,
      [`Basic realm="lab"`, `Bearer realm="${realm}"`],
      `Negotiate, Digest nonce="x", Bearer realm="${realm}"`,
    ]
    for (const [name, form] of forms)
      for (const challenge of challenges) {
        registry.on('/service/token', json(form)).on('/v2/*', guarded('Bearer tok', challenge))
        const client = makeClient({ [registry.name]: { insecure: true } })
        const source = { registry: registry.name, repository: 'a/b', authorization: basic }
        await client.manifest(source, 'v1', [], undefined, signal)
        assert.equal(registry.askedFor('/service/token').at(-1)!.headers.authorization, basic, name)
        await client.close()
      }
    const scopes = registry
      .askedFor('/service/token')
      .map(asked => new URL(asked.path, registry.url).searchParams.get('scope'))
    assert.deepEqual([...new Set(scopes)], ['repository:a/b:pull'])
  }))

test('a scope that is one word is passed on; one for more than reading is not', () =>
  withRegistry(async registry => {
    registry.on('/token', json({ token: 'tok' }))
    for (const [asked, sent] of [
      ['aws', 'aws'],
      ['repository:a/b:pull,push,delete', 'repository:a/b:pull'],
      ['repository:other/one:pull', 'repository:a/b:pull'],
      ['registry:catalog:*', 'repository:a/b:pull'],
    ] as const) {
      registry.on('/v2/*', guarded('Bearer tok', `Bearer realm="${registry.url}/token",scope="${asked}"`))
      const client = makeClient({ [registry.name]: { insecure: true } })
      await client.manifest({ registry: registry.name, repository: 'a/b' }, 'v1', [], undefined, signal)
      const url = new URL(registry.askedFor('/token').at(-1)!.path, registry.url)
      assert.deepEqual(url.searchParams.getAll('scope'), [sent])
      await client.close()
    }
  }))

test('a token that ends in the middle of a pull is renewed', () =>
  withRegistry(async registry => {
    const blob = Buffer.from('a blob of some length')
    let issued = 0
    registry
      .on('/token', (request, response) => json({ token: `t${++issued}` })(request, response))
      .on('/v2/*', (request, response) => {
        // Each token is good for one request.
        const good = guarded(`Bearer t${issued}`, `Bearer realm="${registry.url}/token"`, sendRanged(blob))
        const spent = registry.asked.filter(
          asked => asked.path.startsWith('/v2/') && asked.headers.authorization === `Bearer t${issued}`,
        )
        if (spent.length > 1)
          return guarded('none', `Bearer realm="${registry.url}/token"`)(request, response)
        good(request, response)
      })
    const client = makeClient({ [registry.name]: { insecure: true } })
    const source = { registry: registry.name, repository: 'a/b' }
    for (let offset = 0; offset < 3; offset++) {
      const answer = await client.openBlob(source, digestOf(blob), offset, undefined, signal)
      assert.equal((await readAll(answer.body)).toString(), blob.subarray(offset).toString())
    }
    assert.equal(issued, 3)
    await client.close()
  }))

test('Basic registries get the caller’s credentials at once, and their refusal is told with its challenge', () =>
  withRegistry(async registry => {
    registry.on('/v2/*', guarded(basic, 'Basic realm="Registry Realm"'))
    const client = makeClient({ [registry.name]: { insecure: true } })
    const source = { registry: registry.name, repository: 'a/b', authorization: basic }
    await client.manifest(source, 'v1', [], undefined, signal)
    assert.equal(registry.asked.length, 1)
    const { authorization: _, ...anonymous } = source
    for (const caller of [anonymous, { ...source, authorization: 'Basic d3Jvbmc6d3Jvbmc=' }])
      await assert.rejects(
        client.manifest(caller, 'v1', [], undefined, signal),
        (error: PantalaError) =>
          error.code === 'SOURCE_UNAUTHORIZED' && error.challenge === 'Basic realm="Registry Realm"',
      )
    await client.close()
  }))

test('too many requests: a short wait is waited for, a long one is told at once, a mirror is asked meanwhile', () =>
  withRegistry(async registry => {
    const after = (value: string): Answer => sendBytes(Buffer.alloc(0), { 'retry-after': value }, 429)
    const source = { registry: registry.name, repository: 'a/b' }
    const client = makeClient({ [registry.name]: { insecure: true } })
    registry.on(path, inTurn(after('1'), sendBytes(body)))
    let begun = performance.now()
    await client.manifest(source, 'v1', [], undefined, signal)
    assert(performance.now() - begun >= 950)
    const inAnHour = new Date(Date.now() + 3_600_000).toUTCString()
    for (const value of ['3600', inAnHour]) {
      registry.on(path, after(value))
      registry.asked.length = 0
      begun = performance.now()
      await assert.rejects(client.manifest(source, 'v1', [], undefined, signal), error =>
        isPantalaError(error, 'SOURCE_STATUS'),
      )
      assert(performance.now() - begun < 900)
      assert.equal(registry.asked.length, 1, value)
    }
    await client.close()
    const limited = await FakeRegistry.start()
    limited.on('/v2/*', after('3600'))
    registry.on(path, sendBytes(body))
    const mirrored = makeClient({ [registry.name]: { insecure: true, mirrors: [limited.url] } })
    for (let pull = 0; pull < 2; pull++) await mirrored.manifest(source, 'v1', [], undefined, signal)
    assert.equal(limited.asked.length, 1)
    await mirrored.close()
    await limited.stop()
  }))

test('token servers may not be where nobody is to be sent, nor be spoken to in plain by a TLS registry', () =>
  withRegistry(async registry => {
    // The registry is known by an address, so these are all elsewhere.
    const realms = [
      'http://169.254.169.254/token',
      'http://2852039166/token',
      'http://[::ffff:169.254.169.254]/token',
      'http://metadata.google.internal/token',
      `http://localhost:${registry.name.split(':')[1]}/token`,
      'http://[::1]:1/token',
      'http://0.0.0.0:1/token',
    ]
    const client = makeClient({ [registry.name]: { insecure: true } })
    const source = { registry: registry.name, repository: 'a/b', authorization: basic }
    registry.on('/token', json({ token: 'tok' }))
    for (const realm of realms) {
      registry.on('/v2/*', guarded('Bearer tok', `Bearer realm="${realm}"`))
      await assert.rejects(
        client.manifest(source, 'v1', [], undefined, signal),
        error => isPantalaError(error),
        realm,
      )
    }
    assert.equal(registry.askedFor('/token').length, 0)
    await client.close()
    const listed = makeClient(
      { [registry.name]: { insecure: true } },
      { upstreams: { allow: ['localhost'] } },
    )
    registry.on('/v2/*', guarded('Bearer tok', `Bearer realm="${realms[4]}"`))
    await listed.manifest(source, 'v1', [], undefined, signal)
    await listed.close()
  }))

test('what a name resolves to is held against the rules when the connection is made', () =>
  withRegistry(async registry => {
    const port = registry.name.split(':')[1]
    const addresses: Record<string, string[]> = {
      'reg.lab': ['127.0.0.1'],
      'storage.lab': ['127.0.0.1'],
      'meta.lab': ['169.254.169.254', 'fd00:ec2::254'],
      'mapped.lab': ['::ffff:169.254.169.254'],
      'mixed.lab': ['169.254.169.254', '127.0.0.1'],
    }
    const { logger } = recordingLogger()
    const makeNamed = (allow: readonly string[], names: readonly string[] = ['reg.lab']) =>
      new RegistryClient(
        {
          logger,
          clock: systemClock,
          lookup: (hostname, _options, callback) =>
            callback(
              null,
              addresses[hostname]!.map(address => ({ address, family: address.includes(':') ? 6 : 4 })),
            ),
        },
        {
          upstreams: {
            default: 'docker.io',
            registries: Object.fromEntries(names.map(name => [`${name}:${port}`, { insecure: true }])),
            allow,
          },
          stallTimeoutMs: 1_000,
          retryPauseMs: 5,
        },
      )
    const sendTo =
      (location: string): Answer =>
      (_request, response) =>
        void response.writeHead(307, { location }).end()
    const source = { registry: `reg.lab:${port}`, repository: 'a/b' }
    const pull = (client: RegistryClient, from = source) => client.manifest(from, 'v1', [], undefined, signal)
    const forbidden = (error: unknown) => isPantalaError(error, 'UPSTREAM_FORBIDDEN')
    registry.on('/stored', sendBytes(body))

    const client = makeNamed([])
    for (const host of ['storage.lab', 'meta.lab', 'mapped.lab', 'mixed.lab']) {
      registry.on(path, sendTo(`http://${host}:${port}/stored`))
      await assert.rejects(pull(client), forbidden, host)
    }
    assert.equal(registry.askedFor('/stored').length, 0)
    // To itself a registry may send, wherever it is; and to what is listed.
    registry.on(path, sendTo(`http://reg.lab:${port}/stored`))
    await pull(client)
    await client.close()
    registry.on(path, sendTo(`http://storage.lab:${port}/stored`))
    const listed = makeNamed(['storage.lab'])
    await pull(listed)
    assert.equal(registry.askedFor('/stored').length, 2)
    await listed.close()
    // A name that anyone may give for a registry reaches no metadata service either.
    const open = makeNamed(['*'], [])
    await assert.rejects(pull(open, { ...source, registry: 'meta.lab' }), forbidden)
    await open.close()
  }))

test('a redirect is followed five times, and never from TLS to plain HTTP', async t => {
  const authority = await makeAuthority(['127.0.0.1'], 'test', Date.now())
  const leaf = await makeLeaf(authority, '127.0.0.1', Date.now())
  const directory = await mkdtemp(join(tmpdir(), 'pantala-ways-'))
  const caFile = join(directory, 'ca.pem')
  await writeFile(caFile, authority.certificate)
  let hops = 0
  const plain = await FakeRegistry.start()
  const secure = createServer({ cert: leaf.certificate, key: leaf.key }, (request, response) => {
    const to = request.url?.endsWith('/down') ? `${plain.url}/stored` : '/v2/a/b/manifests/ring'
    hops++
    response.writeHead(302, { location: to }).end()
  })
  await new Promise<void>(resolve => secure.listen(0, '127.0.0.1', resolve))
  t.after(async () => {
    secure.close()
    secure.closeAllConnections()
    await Promise.all([plain.stop(), rm(directory, { recursive: true })])
  })
  const name = `127.0.0.1:${(secure.address() as AddressInfo).port}`
  const client = makeClient({ [name]: { caFile } })
  const source = { registry: name, repository: 'a/b' }
  await assert.rejects(client.manifest(source, 'down', [], undefined, signal), /redirected to plain HTTP/)
  assert.equal(plain.asked.length, 0)
  hops = 0
  await assert.rejects(client.manifest(source, 'ring', [], undefined, signal), /redirected more than 5 times/)
  assert.equal(hops, 6)
  await client.close()
  // Where a plain registry sends to TLS, there is no way back either.
  const insecure = makeClient({ [plain.name]: { insecure: true, caFile } })
  plain.on(
    path,
    (_request, response) => void response.writeHead(302, { location: `https://${name}/down` }).end(),
  )
  await assert.rejects(
    insecure.manifest({ registry: plain.name, repository: 'a/b' }, 'v1', [], undefined, signal),
    /redirected to plain HTTP/,
  )
  await insecure.close()
})
