// What every runtime test stands on: docker-registry with an image in it, and a cluster of real processes that pulls from it.
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { type ClusterHost, LocalCluster } from '../../cli/demo/cluster.ts'
import { findPlatformImage, type PlatformImage } from '../../cli/demo/oci-layout.ts'
import { type AccessLine, DockerRegistry } from '../harness/docker-registry.ts'
import { makeSmallImage } from '../harness/small-image.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'

export const repository = 'library/app'

export interface Rig {
  readonly registry: DockerRegistry
  readonly hosts: readonly ClusterHost[]
  readonly image: PlatformImage
  /** `host:port` of a host's proxy. */
  proxy(host: number): string
}

export interface RigOptions {
  readonly hosts?: number
  /** What names without a registry mean: Docker Hub, whose mirror is the test's own registry (default), or that registry itself. */
  readonly unnamed?: 'docker-hub' | 'registry'
}

/** Starts all of it and takes it down after the test. */
export async function startRig(t: TestContext, options: RigOptions = {}): Promise<Rig> {
  const directory = await makeTestDirectory(t, 'rig')
  const registry = new DockerRegistry()
  const layout = await makeSmallImage({ directory, seed: t.name })
  const cluster = new LocalCluster({
    hosts: options.hosts ?? 1,
    upstreams: () => ({
      default: options.unnamed === 'registry' ? registry.address : 'docker.io',
      registries: { 'docker.io': { mirrors: [registry.url] }, [registry.address]: { insecure: true } },
    }),
  })
  t.after(async () => {
    if (!t.passed)
      for (const host of cluster.hosts) process.stderr.write(`${host.process.explain(host.name).message}\n`)
    await cluster.stop()
    await registry.stop()
  })
  await registry.start()
  await registry.push(layout, repository)
  await cluster.start(AbortSignal.timeout(60_000))
  return {
    registry,
    hosts: cluster.hosts,
    image: findPlatformImage(layout, 'v1', 'amd64')!,
    proxy: host => new URL(cluster.hosts[host]!.proxyUrl).host,
  }
}

/** What the registry was asked since the last look, once it is quiet; the log is empty afterwards. */
export async function takeLog(rig: Rig): Promise<AccessLine[]> {
  await rig.registry.settle()
  const lines = [...rig.registry.log]
  rig.registry.forget()
  return lines
}

/** Fails unless the registry sent each blob once, in whole or in parts, and to nobody but Pantala. */
export function assertColdThroughPantala(log: readonly AccessLine[], rig: Rig): void {
  assertOnlyPantala(log)
  for (const blob of [rig.image.config, ...rig.image.layers]) {
    const sent = log.filter(line => line.method === 'GET' && line.path.includes(`/blobs/${blob.digest}`))
    const bytes = sent.reduce((sum, line) => sum + line.bytes, 0)
    assert.equal(
      bytes,
      blob.size,
      `the registry sent ${bytes} bytes of ${blob.digest}, which has ${blob.size}`,
    )
  }
  assert.ok(rig.image.index !== undefined)
  for (const manifest of [rig.image.index, rig.image.manifest]) {
    const { digest } = manifest.descriptor
    const bodies = log.filter(line => line.method === 'GET' && line.path.includes(`/manifests/${digest}`))
    assert.ok(bodies.length <= 1, `manifest ${digest} was sent ${bodies.length} times`)
  }
}

/** Fails if the registry sent any blob, or if a client went to it by itself. */
export function assertWarm(log: readonly AccessLine[]): void {
  assertOnlyPantala(log)
  assert.deepEqual(
    log.filter(line => line.path.includes('/blobs/')),
    [],
  )
}

/** Runtimes quietly go to the registry when their mirror fails; their names in its log give that away. */
function assertOnlyPantala(log: readonly AccessLine[]): void {
  const others = log.filter(line => /docker\/|containerd\/|skopeo\/|containers\//.test(line.userAgent))
  assert.deepEqual(others, [], 'a client went past Pantala')
}
