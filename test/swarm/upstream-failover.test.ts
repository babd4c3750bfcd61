// A mirror that takes connections and says nothing, before a whole cluster: pulls go on from the registry, as the options come.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { PrivateRegistry, readSocket } from '../harness/private-registry.ts'
import { Swarm } from '../harness/swarm.ts'

const layer = randomBytes(2_000_000)
const FAILOVER_MS = 1_500

test('a silent mirror costs each who asks less than two seconds, once', async t => {
  const registry = await PrivateRegistry.start()
  const sockets = new Set<Socket>()
  let requests = 0
  const hole = createServer(socket => {
    sockets.add(socket.on('error', () => {}).resume())
    socket.once('data', () => requests++)
  })
  await new Promise<void>(resolve => hole.listen(0, '127.0.0.1', resolve))
  t.after(async () => {
    for (const socket of sockets) socket.destroy()
    hole.close()
    await registry.stop()
  })
  const image = registry.push('team/app', 'v1', layer)
  const other = registry.push('team/other', 'v1', randomBytes(1_000_000))
  const mirrors = [`http://127.0.0.1:${(hole.address() as { port: number }).port}`]
  const settings = {
    'upstreams.default': registry.name,
    'upstreams.registries': JSON.stringify({ [registry.name]: { insecure: true, mirrors } }),
  }
  const swarm = await Swarm.start(t, {
    hosts: 2,
    seed: 'none',
    layerBytes: [1_000],
    supernode: settings,
    dfdaemon: settings,
  })
  const read = async (path: string): Promise<number> => {
    const begun = performance.now()
    const answers = await Promise.all(swarm.hosts.map(host => readSocket(host.daemon.proxyUrl, path)))
    for (const answer of answers) assert.match(answer.toString('latin1', 0, 32), /^HTTP\/1\.1 200/)
    return performance.now() - begun
  }
  // The supernode asks for the manifest, a host for the layer: each finds out for itself.
  const times = [
    await read('/v2/team/app/manifests/v1'),
    await read(`/v2/team/app/blobs/${image.layer}`),
    await read('/v2/team/other/manifests/v1'),
    await read(`/v2/team/other/blobs/${other.layer}`),
  ]
  t.diagnostic(`manifest, layer, and again of another image: ${times.map(Math.round).join(', ')} ms`)
  assert(Math.max(...times) < FAILOVER_MS * 2.5)
  assert(times[2]! < FAILOVER_MS)
  // The supernode and two hosts learn it once each; a connection may be opened in place of one that was cut, and stay unused.
  assert(requests <= 3, `${requests} requests`)
  assert(sockets.size <= 6, `${sockets.size} connections`)
  const metrics = await (await fetch(`${swarm.hosts[0]!.daemon.adminUrl}/metrics`)).text()
  assert.match(metrics, /^pantala_dfdaemon_upstream_up\{endpoint="http:\/\/127\.0\.0\.1:\d+"\} [01]$/m)
})
