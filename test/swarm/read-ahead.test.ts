// One layer ahead, over the wire: the next layer is on its way before it is asked for, each byte leaves the source once, and nobody's rights are lent.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { get } from 'node:http'
import { type TestContext, test } from 'node:test'
import { sumMetric } from '../../cli/demo/metrics-text.ts'
import { findPlatformImage } from '../../cli/demo/oci-layout.ts'
import { pullImage } from '../../cli/pull/pull-image.ts'
import { parseReference } from '../../cli/pull/reference.ts'
import { digestOf } from '../../shared/digest.ts'
import { assertAskedOnce } from '../harness/asked-once.ts'
import { PrivateRegistry } from '../harness/private-registry.ts'
import type { Settings } from '../harness/start-services.ts'
import { eventually, repository, Swarm, type SwarmHost } from '../harness/swarm.ts'

const MiB = 1024 * 1024
const alice = `Basic ${Buffer.from('alice:wonderland').toString('base64')}`

async function startStage(t: TestContext, settings: Settings = {}, hosts = 1) {
  const swarm = await Swarm.start(t, {
    hosts,
    layerBytes: [3 * MiB, 3 * MiB, 3 * MiB],
    perHost: () => settings,
  })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const [host] = swarm.hosts as [SwarmHost]
  const { proxyUrl } = host.daemon
  const ask = async (path: string, headers: Record<string, string> = {}) => {
    const response = await fetch(`${proxyUrl}/v2/${repository}/${path}`, { headers })
    return { status: response.status, body: Buffer.from(await response.arrayBuffer()) }
  }
  const pull = async (layer: number) => {
    const { digest } = image.layers[layer]!
    assert.equal(digestOf((await ask(`blobs/${digest}`)).body), digest)
  }
  const ahead = async (outcome: string) => {
    const { samples } = await swarm.counts(host)
    return sumMetric(samples, 'pantala_dfdaemon_layers_ahead_total', { outcome })
  }
  const asked = () => swarm.source.log.filter(({ kind }) => kind === 'blob').map(({ reference }) => reference)
  await ask(`manifests/${image.manifest.descriptor.digest}`)
  return { swarm, image, host, proxyUrl, ask, pull, ahead, asked }
}

test('the second layer is here before it is asked for, and the third is not', async t => {
  const { swarm, image, pull, ahead, asked } = await startStage(t)
  await pull(0)
  await eventually('the second layer is here', async () => (await ahead('whole')) === 1)
  const layers = image.layers.map(({ digest }) => digest)
  assert.deepEqual([...new Set(asked())].sort(), layers.slice(0, 2).sort())
  swarm.source.forget()
  swarm.source.fail({ kind: 'away' })
  await pull(1)
})

test('every byte leaves the source once, with hosts that read ahead of each other', async t => {
  const { swarm, image, host, ahead } = await startStage(t, {}, 3)
  swarm.source.forget()
  const pulls = swarm.hosts.map(({ daemon }) =>
    pullImage(
      {
        registryUrl: daemon.proxyUrl,
        image: parseReference(`${swarm.sourceName}/${repository}:v1`),
        platform: { os: 'linux', architecture: 'amd64' },
        blobsAtOnce: 1,
      },
      {},
      AbortSignal.timeout(30_000),
    ),
  )
  await Promise.all(pulls)
  assertAskedOnce(swarm.source.log, image)
  assert.equal((await ahead('whole')) + (await ahead('joined')), 2, `${host.name} read two layers ahead`)
})

for (const option of ['proxy.readAhead', 'proxy.prefetch'])
  test(`with ${option} off nothing is asked for but what the runtime asks for`, async t => {
    const { image, host, swarm, pull, ahead, asked } = await startStage(t, { [option]: 'false' })
    await pull(0)
    await pull(2)
    const [first, , third] = image.layers
    assert.deepEqual([...new Set(asked())], [first!.digest, third!.digest])
    assert.equal((await swarm.counts(host)).fromPeers, first!.size + third!.size)
    for (const outcome of ['whole', 'joined', 'left', 'failed']) assert.equal(await ahead(outcome), 0)
  })

test('a range causes nothing', async t => {
  const { image, ask, ahead, asked, host, swarm } = await startStage(t)
  const [layer] = image.layers
  assert.equal((await ask(`blobs/${layer!.digest}`, { range: 'bytes=0-9' })).status, 206)
  // The rest of that layer follows; the next one does not.
  await eventually('the layer is here', async () => (await swarm.counts(host)).fromPeers === layer!.size)
  assert.deepEqual([...new Set(asked())], [layer!.digest])
  assert.equal(await ahead('whole'), 0)
})

test('a layer the store has no room for is not read ahead, and the source hears nothing of it', async t => {
  const { image, pull, ahead, asked, proxyUrl } = await startStage(t, { 'store.quotaBytes': String(4 * MiB) })
  // Held open, so that it can't be evicted.
  const { digest } = image.layers[0]!
  const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) =>
    get(`${proxyUrl}/v2/${repository}/blobs/${digest}`, { agent: false }, resolve).on('error', reject),
  )
  await eventually('reading ahead failed', async () => (await ahead('failed')) === 1)
  assert.deepEqual([...new Set(asked())], [digest])
  response.destroy()
  await pull(1)
})

test('a manifest that lists another repository’s private layer does not bring it here', async t => {
  const own = await PrivateRegistry.start()
  t.after(() => own.stop())
  own.judge = (authorization, name) => (authorization === alice || name === 'mallory/own' ? 200 : 401)
  const registries = JSON.stringify({ [own.name]: { insecure: true } })
  const settings = { 'upstreams.registries': registries, 'upstreams.default': own.name }
  const swarm = await Swarm.start(t, {
    hosts: 1,
    seed: 'none',
    layerBytes: [1_000],
    supernode: settings,
    dfdaemon: settings,
  })
  const [host] = swarm.hosts as [SwarmHost]
  const secret = randomBytes(200_000)
  const image = own.push('team/secret', 'v1', secret)
  const decoy = own.push('mallory/own', 'v1', randomBytes(70_000))
  own.pushManifest('mallory/own', 'claim', [
    [decoy.config, 50],
    [decoy.layer, 70_000],
    [image.layer, secret.byteLength],
  ])
  const base = `${host.daemon.proxyUrl}/v2/mallory/own`
  assert.equal((await fetch(`${base}/manifests/claim`)).status, 200)
  assert.equal((await (await fetch(`${base}/blobs/${decoy.layer}`)).arrayBuffer()).byteLength, 70_000)
  const failed = async () =>
    sumMetric((await swarm.counts(host)).samples, 'pantala_dfdaemon_layers_ahead_total', {
      outcome: 'failed',
    })
  await eventually('the right to it was refused', async () => (await failed()) === 1)
  const came = async () => {
    const { fromSource, fromPeers } = await swarm.counts(host)
    return fromSource + fromPeers
  }
  assert.equal(await came(), 70_000)
  // Whoever may read it, under its own repository, brings the next one by the same right.
  own.pushManifest('team/secret', 'v2', [
    [image.config, 50],
    [own.push('team/secret', 'base', randomBytes(80_000)).layer, 80_000],
    [image.layer, secret.byteLength],
  ])
  const headers = { authorization: alice }
  const team = `${host.daemon.proxyUrl}/v2/team/secret`
  const manifest = (await (await fetch(`${team}/manifests/v2`, { headers })).json()) as {
    layers: { digest: string }[]
  }
  assert.equal((await fetch(`${team}/blobs/${manifest.layers[0]!.digest}`, { headers })).status, 200)
  await eventually('the layer is here', async () => (await came()) === 350_000)
  assert.equal((await fetch(`${team}/blobs/${image.layer}`)).status, 401)
})
