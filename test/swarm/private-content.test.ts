// Private stays private, over the wire: a real supernode, real hosts, registries that decide who reads what, and every byte of each answer.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { Agent, get } from 'node:http'
import { type TestContext, test } from 'node:test'
import type { Digest } from '../../shared/digest.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { challenge, PrivateRegistry, readSocket } from '../harness/private-registry.ts'
import type { Settings } from '../harness/start-services.ts'
import { Swarm } from '../harness/swarm.ts'

const alice = `Basic ${Buffer.from('alice:wonderland').toString('base64')}`
const mallory = `Basic ${Buffer.from('mallory:guess').toString('base64')}`

async function startStage(t: TestContext, more: Settings = {}, moreOf?: (own: PrivateRegistry) => Settings) {
  const own = await PrivateRegistry.start()
  const rival = await PrivateRegistry.start()
  t.after(() => Promise.all([own.stop(), rival.stop()]))
  const registries = JSON.stringify({ [own.name]: { insecure: true }, [rival.name]: { insecure: true } })
  const settings = { 'upstreams.registries': registries, 'upstreams.default': own.name, ...more }
  const swarm = await Swarm.start(t, {
    hosts: 2,
    seed: 'none',
    layerBytes: [1_000],
    supernode: settings,
    dfdaemon: { ...settings, ...moreOf?.(own) },
  })
  return { own, rival, swarm, urls: swarm.hosts.map(host => host.daemon.proxyUrl) as [string, string] }
}

interface Pulled {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: Buffer
}

function pull(url: string, path: string, authorization?: string, agent?: Agent): Promise<Pulled> {
  const headers = authorization === undefined ? {} : { authorization }
  return new Promise((resolve, reject) => {
    get(`${url}${path}`, { headers, agent: agent ?? false }, response => {
      const chunks: Buffer[] = []
      response.on('data', chunk => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () =>
        resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) }),
      )
    }).on('error', reject)
  })
}

const digestOfBody = ({ body }: Pulled) => `sha256:${createHash('sha256').update(body).digest('hex')}`

/** The answer's status; fails if 16 bytes of the content, from any of its pages, are among what the socket sent. */
function assertNothingOf(content: Buffer, sent: Buffer): number {
  for (let at = 0; at + 16 <= content.byteLength; at += 4096)
    assert(!sent.includes(content.subarray(at, at + 16)), `content from byte ${at} on left the daemon`)
  assert(!sent.includes(content.subarray(-16)), 'the last bytes left the daemon')
  return Number(/^HTTP\/1\.1 (\d+)/.exec(sent.toString('latin1', 0, 32))?.[1])
}

const onlyAlice = (authorization: string | undefined) => (authorization === alice ? 200 : 401)

test('1,000 pulls of a private cached blob cost a handful of checks; who is refused gets the source’s word and no byte', async t => {
  const { own, urls } = await startStage(t)
  const layer = randomBytes(300_000)
  own.judge = onlyAlice
  const image = own.push('team/app', 'v1', layer)
  const path = `/v2/team/app/blobs/${image.layer}`
  for (const url of urls) {
    assert.equal((await pull(url, '/v2/team/app/manifests/v1', alice)).status, 200)
    assert.equal(digestOfBody(await pull(url, path, alice)), image.layer)
  }
  const cold = own.asked.length
  own.forget()
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  t.after(() => agent.destroy())
  const answers = await Promise.all(Array.from({ length: 1_000 }, () => pull(urls[0], path, alice, agent)))
  assert(answers.every(({ status, body }) => status === 200 && body.byteLength === layer.byteLength))
  t.diagnostic(
    `1,000 pulls of a cached private blob: ${own.asked.length} requests at the source; before, two hosts cold: ${cold}`,
  )
  assert(own.asked.length <= 4, own.asked.join('\n'))
  for (const url of urls)
    for (const authorization of [undefined, mallory]) {
      const headers: Record<string, string> = authorization === undefined ? {} : { authorization }
      const sent = await readSocket(url, path, headers)
      assert.equal(assertNothingOf(layer, sent), 401)
      assert(sent.toString('latin1').toLowerCase().includes(`www-authenticate: ${challenge.toLowerCase()}`))
      const manifest = await pull(url, `/v2/team/app/manifests/${image.manifest}`, authorization)
      assert.deepEqual([manifest.status, manifest.headers['www-authenticate']], [401, challenge])
    }
  own.judge = authorization => (authorization === alice ? 200 : 403)
  assert.equal(assertNothingOf(layer, await readSocket(urls[0], path, { authorization: mallory })), 403)
})

test('a repository opens what it holds itself, and nothing of the next one', async t => {
  const { own, urls } = await startStage(t)
  const secret = randomBytes(200_000)
  own.judge = (authorization, repository) =>
    authorization === alice || (authorization === mallory && repository === 'mallory/own') ? 200 : 401
  const image = own.push('team/secret', 'v1', secret)
  own.push('mallory/own', 'v1', randomBytes(1_000))
  own.pushManifest('mallory/own', 'claim', [
    [image.config, 50],
    [image.layer, secret.byteLength],
  ])
  for (const url of urls)
    assert.equal((await pull(url, `/v2/team/secret/blobs/${image.layer}`, alice)).status, 200)
  for (const url of urls) {
    for (const tag of ['v1', 'claim'])
      assert.equal((await pull(url, `/v2/mallory/own/manifests/${tag}`, mallory)).status, 200)
    const headers = { authorization: mallory }
    const path = `/v2/mallory/own/blobs/${image.layer}`
    assert.equal(assertNothingOf(secret, await readSocket(url, path, headers)), 404)
    assert.equal(
      assertNothingOf(secret, await readSocket(url, `/v2/team/secret/blobs/${image.layer}`, headers)),
      401,
    )
  }
})

test('a rival registry that says it holds a private digest opens nothing, on hosts that hold it or have it from others', async t => {
  const { own, rival, urls } = await startStage(t)
  const secrets = [randomBytes(200_000), randomBytes(20_000)]
  own.judge = onlyAlice
  for (const [number, secret] of secrets.entries()) {
    const image = own.push('team/secret', `v${number}`, secret)
    // The first host holds it; the second could have it from there, and small ones from the supernode's memory.
    assert.equal((await pull(urls[0], `/v2/team/secret/manifests/v${number}`, alice)).status, 200)
    const held = await pull(urls[0], `/v2/team/secret/blobs/${image.layer}`, alice)
    assert.equal(digestOfBody(held), image.layer)
    rival.pretended.set(image.layer, secret.byteLength)
    rival.pretended.set(image.config, 40)
    rival.pushManifest('x/y', `v${number}`, [
      [image.config, 40],
      [image.layer, secret.byteLength],
    ])
    for (const url of urls)
      for (const authorization of [undefined, mallory]) {
        const headers: Record<string, string> = authorization === undefined ? {} : { authorization }
        const query = `?ns=${rival.name}`
        assert.equal((await pull(url, `/v2/x/y/manifests/v${number}${query}`, authorization)).status, 200)
        const sent = await readSocket(url, `/v2/x/y/blobs/${image.layer}${query}`, headers)
        assert.notEqual(assertNothingOf(secret, sent), 200)
        const manifest = await pull(url, `/v2/x/y/manifests/${image.manifest}${query}`, authorization)
        assert.equal(manifest.status, 404)
      }
    // What the rival tried does no harm to those who may.
    const again = await pull(urls[1], `/v2/team/secret/blobs/${image.layer}`, alice)
    assert.equal(digestOfBody(again), image.layer)
  }
})

test('a public layer is one task in all registries, also for callers with a token', async t => {
  const { own, rival: second, swarm, urls } = await startStage(t)
  const layer = randomBytes(200_000)
  const image = own.push('library/base', 'v1', layer)
  second.push('copy/base', 'v1', layer)
  const wanted = [
    [urls[0], `/v2/library/base/blobs/${image.layer}`, 'Bearer of-anyone'],
    [urls[0], `/v2/copy/base/blobs/${image.layer}?ns=${second.name}`, undefined],
    [urls[1], `/v2/copy/base/blobs/${image.layer}?ns=${second.name}`, alice],
    [urls[1], `/v2/library/base/blobs/${image.layer}`, undefined],
  ] as const
  for (const [url, path, authorization] of wanted)
    assert.equal(digestOfBody(await pull(url, path, authorization)), image.layer)
  const bodies = [...own.asked, ...second.asked].filter(asked => asked.startsWith('GET blobs'))
  assert.deepEqual(bodies, ['GET blobs anonymous'])
  assert.equal((await swarm.counts(swarm.hosts[1]!)).fromSource, 0)
})

test('a withdrawn right ends within access.freshMs, and the source’s absence does not bring it back', async t => {
  const { own, urls } = await startStage(t, { 'access.freshMs': '300ms' })
  const layer = randomBytes(150_000)
  own.judge = onlyAlice
  const image = own.push('team/app', 'v1', layer)
  const path = `/v2/team/app/blobs/${image.layer}`
  assert.equal((await pull(urls[0], path, alice)).status, 200)
  own.judge = () => 401
  const withdrawn = performance.now()
  let last: Buffer
  do last = await readSocket(urls[0], path, { authorization: alice })
  while (!last.toString('latin1').startsWith('HTTP/1.1 401') && performance.now() - withdrawn < 5_000)
  const tookMs = performance.now() - withdrawn
  assert.equal(assertNothingOf(layer, last), 401)
  t.diagnostic(`withdrawn with access.freshMs 300: over after ${Math.round(tookMs)} ms`)
  assert(tookMs < 2_000)
  await own.stop()
  assert.notEqual(assertNothingOf(layer, await readSocket(urls[0], path, { authorization: alice })), 200)
})

test('with the source away who was accepted still reads what is cached, others nothing', async t => {
  const { own, urls } = await startStage(t, { 'access.freshMs': '0' })
  const layer = randomBytes(150_000)
  own.judge = onlyAlice
  const image = own.push('team/app', 'v1', layer)
  const path = `/v2/team/app/blobs/${image.layer}`
  assert.equal((await pull(urls[0], path, alice)).status, 200)
  await own.stop()
  assert.equal(digestOfBody(await pull(urls[0], path, alice)), image.layer)
  for (const authorization of [undefined, mallory]) {
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization }
    assert.equal(assertNothingOf(layer, await readSocket(urls[0], path, headers)), 502)
  }
})

test('a port of its own stands for one registry: docker login and logged-in pulls', async t => {
  const stage = await startStage(t, {}, own => ({
    'proxy.registries': JSON.stringify({ '127.0.0.1:0': own.name }),
    'upstreams.default': 'docker.io',
  }))
  const { own, rival, swarm } = stage
  own.judge = onlyAlice
  const image = own.push('team/app', 'v1', randomBytes(150_000))
  const url = swarm.hosts[0]!.daemon.registryUrls[0]!
  const without = await pull(url, '/v2/')
  assert.deepEqual([without.status, without.headers['www-authenticate']], [401, challenge])
  const wrong = await pull(url, '/v2/', mallory)
  assert.deepEqual([wrong.status, wrong.headers['www-authenticate']], [401, challenge])
  assert.equal((await pull(url, '/v2/', alice)).status, 200)
  const manifest = await pull(url, '/v2/team/app/manifests/v1', alice)
  assert.equal(manifest.headers['docker-content-digest'], image.manifest)
  assert.equal(digestOfBody(await pull(url, `/v2/team/app/blobs/${image.layer}`, alice)), image.layer)
  assert.equal((await pull(url, '/v2/team/app/manifests/v1', mallory)).status, 401)
  // It stands for that registry alone.
  const named = await pull(url, `/v2/team/app/manifests/v1?ns=${rival.name}`, alice)
  assert.equal(named.headers['docker-content-digest'], image.manifest)
  assert.deepEqual(rival.asked, [])
  const blob: Digest = image.config
  assert.equal((await pull(url, `/v2/${rival.name}/x/blobs/${blob}`, alice)).status, 400)
  await swarm.hosts[0]!.daemon.stop()
  await assert.rejects(pull(url, '/v2/'), /ECONNREFUSED/)
  const faults: readonly (readonly [Settings, RegExp])[] = [
    [{ 'proxy.registries': '{"0.0.0.0:0":"reg.lab"}' }, /proxy\.registries 0\.0\.0\.0/],
    [{ 'proxy.registries': '{"127.0.0.1:0":"else.lab"}', 'upstreams.allow': 'reg.lab' }, /else\.lab is not/],
  ]
  for (const [settings, message] of faults) {
    await assert.rejects(swarm.startHost(swarm.hosts[0]!, settings), error => {
      assert(isPantalaError(error, 'CONFIG_INVALID'))
      assert.match(error.detail!, message)
      return true
    })
  }
})
