// Credentials of a host's own, over the wire: lent to callers without any where that was said, and to nobody else, here or on the next host.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { RegistryConfig } from '../../shared/source/registry-config.ts'
import { PrivateRegistry, readSocket } from '../harness/private-registry.ts'
import { Swarm } from '../harness/swarm.ts'

const alice = `Basic ${Buffer.from('alice:wonderland').toString('base64')}`
const mallory = `Basic ${Buffer.from('mallory:guess').toString('base64')}`
const layer = randomBytes(300_000)

interface Stage {
  /** Settings of the private registry at each host, and at the supernode and its seed. */
  readonly hosts: readonly Partial<RegistryConfig>[]
  readonly supernode?: Partial<RegistryConfig>
  readonly seed: 'inside' | 'none'
}

async function startStage(t: TestContext, stage: (file: string) => Stage) {
  const directory = await mkdtemp(join(tmpdir(), 'pantala-lent-'))
  const own = await PrivateRegistry.start()
  t.after(() => Promise.all([own.stop(), rm(directory, { recursive: true })]))
  own.judge = authorization => (authorization === alice ? 200 : 401)
  const image = own.push('team/app', 'v1', layer)
  const file = join(directory, 'config.json')
  await writeFile(
    file,
    JSON.stringify({ auths: { [own.name]: { username: 'alice', password: 'wonderland' } } }),
  )
  const { hosts, supernode = {}, seed } = stage(file)
  const settings = (registry: Partial<RegistryConfig>) => ({
    'upstreams.default': own.name,
    'upstreams.registries': JSON.stringify({ [own.name]: { insecure: true, ...registry } }),
  })
  const swarm = await Swarm.start(t, {
    hosts: hosts.length,
    seed,
    layerBytes: [1_000],
    supernode: settings(supernode),
    seedSettings: settings(supernode),
    perHost: number => settings(hosts[number]!),
  })
  return {
    own,
    image,
    swarm,
    urls: swarm.hosts.toSorted((a, b) => a.number - b.number).map(host => host.daemon.proxyUrl),
  }
}

async function read(url: string, path: string, authorization?: string) {
  const sent = await readSocket(url, path, authorization === undefined ? {} : { authorization })
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(sent.toString('latin1', 0, 32))?.[1])
  return { status, hasContent: sent.includes(layer.subarray(0, 16)) || sent.includes(layer.subarray(-16)) }
}

for (const seed of ['none', 'inside'] as const)
  test(`a host lends its credentials to its own callers alone, ${seed === 'none' ? 'without a seed' : 'the supernode and its seed having none'}`, async t => {
    const { image, urls, swarm } = await startStage(t, file => ({
      hosts: [{ credentialsFile: file, useForClients: true }, { credentialsFile: file }, {}],
      seed,
    }))
    const blob = `/v2/team/app/blobs/${image.layer}`
    const [lending, keeping, without] = urls as [string, string, string]
    assert.equal((await read(lending, '/v2/')).status, 200)
    assert.equal((await read(lending, '/v2/team/app/manifests/v1')).status, 200)
    assert.deepEqual(await read(lending, blob), { status: 200, hasContent: true })
    assert.deepEqual(await read(lending, blob), { status: 200, hasContent: true })
    // Whoever brings credentials is judged by these.
    assert.deepEqual(await read(lending, blob, mallory), { status: 401, hasContent: false })
    for (const url of [keeping, without]) {
      assert.equal((await read(url, '/v2/')).status, 401)
      assert.equal((await read(url, '/v2/team/app/manifests/v1')).status, 401)
      assert.deepEqual(await read(url, blob), { status: 401, hasContent: false })
      assert.deepEqual(await read(url, blob, alice), { status: 200, hasContent: true })
      assert.deepEqual(await read(url, blob), { status: 401, hasContent: false })
    }
    assert.doesNotMatch(swarm.log.lines().join('\n'), /wonderland|YWxpY2U/)
  })

test('with the same at the supernode, its seed fetches for all hosts that lend', async t => {
  const { own, image, urls } = await startStage(t, file => {
    const lends = { credentialsFile: file, useForClients: true }
    return { hosts: [lends, lends], supernode: lends, seed: 'inside' }
  })
  for (const url of urls) {
    assert.equal((await read(url, '/v2/team/app/manifests/v1')).status, 200)
    assert.deepEqual(await read(url, `/v2/team/app/blobs/${image.layer}`), { status: 200, hasContent: true })
  }
  const fetched = own.asked.filter(asked => asked === `GET blobs ${alice}`)
  assert.equal(fetched.length, 1, own.asked.join('\n'))
})
