// Pulls the image on every host of the demo at once, watches them while they do, and reads off where each host's bytes came from.
import { pullImage } from '../pull/pull-image.ts'
import { parseReference } from '../pull/reference.ts'
import type { ClusterHost, LocalCluster } from './cluster.ts'
import { parseMetrics, type Samples, sumMetric } from './metrics-text.ts'
import type { PlatformImage } from './oci-layout.ts'
import type { SourceRegistry } from './registry.ts'
import { type DemoResult, formatSeconds, type HostResult } from './report.ts'
import type { DemoState, DemoView, HostState } from './view.ts'

const watchEveryMs = 200

/** What a demo has once its cluster is up. */
export interface Running {
  readonly cluster: LocalCluster
  readonly registry: SourceRegistry
  readonly image: PlatformImage & { readonly architecture: string }
  /** `repository:tag` at the registry. */
  readonly name: string
  readonly state: DemoState
  readonly view: DemoView
}

/** @throws Error that shows the last words of the services involved, or the signal's reason */
export async function pullEverywhere(running: Running, signal: AbortSignal): Promise<DemoResult> {
  const { cluster, registry, image, state, view } = running
  state.stage = `${countHosts(state.hosts.length)} pull the same image at once`
  const started = performance.now()
  const watching = watchHosts(running, started)
  const giveUp = new AbortController()
  const pulls = cluster.hosts.map((host, number) =>
    pullOnHost(host, state.hosts[number]!, running, started, AbortSignal.any([signal, giveUp.signal])),
  )
  try {
    await Promise.race([Promise.all(pulls), cluster.failed])
    signal.throwIfAborted()
  } catch (error) {
    giveUp.abort()
    await Promise.allSettled(pulls)
    signal.throwIfAborted()
    throw explainPull(error, cluster, state)
  } finally {
    await watching.stop()
  }
  const hosts = await Promise.all(cluster.hosts.map((host, number) => readResult(host, state.hosts[number]!)))
  state.sourceBytes = countSourceBytes(registry)
  const slowest = Math.max(...hosts.map(host => host.ms))
  state.stage = `${countHosts(hosts.length)} pulled the image in ${formatSeconds(slowest)}`
  view.update(state)
  return {
    imageBytes: image.bytes,
    sourceBytes: state.sourceBytes,
    sourceRatio: Math.round((state.sourceBytes / image.bytes) * 10_000) / 10_000,
    hosts,
    ok: hosts.every(host => host.verified),
  }
}

async function pullOnHost(
  host: ClusterHost,
  shown: HostState,
  { image, registry, name }: Running,
  started: number,
  signal: AbortSignal,
): Promise<void> {
  shown.phase = 'pulling'
  try {
    const pulled = await pullImage(
      {
        registryUrl: host.proxyUrl,
        image: parseReference(`${new URL(registry.url).host}/${name}`),
        platform: { os: 'linux', architecture: image.architecture },
      },
      {
        onBytes(bytes) {
          shown.bytes += bytes
        },
      },
      signal,
    )
    shown.ms = performance.now() - started
    const whole = pulled.bytes === image.bytes
    if (!whole) throw new Error(`${host.name} got ${pulled.bytes} bytes of an image of ${image.bytes}`)
    shown.bytes = image.bytes
    shown.phase = 'verified'
  } catch (error) {
    shown.ms = performance.now() - started
    shown.phase = 'failed'
    if (!signal.aborted) throw new PullFailure(host, error)
  }
}

/** Which host's pull failed, so that its log can be shown. */
class PullFailure extends Error {
  readonly host: ClusterHost

  constructor(host: ClusterHost, cause: unknown) {
    super(`the pull on ${host.name} failed: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    })
    this.host = host
  }
}

function explainPull(error: unknown, cluster: LocalCluster, state: DemoState): unknown {
  for (const host of state.hosts) if (host.phase === 'pulling') host.phase = 'failed'
  if (!(error instanceof PullFailure)) return error
  const theirs = error.host.process.explain(error.message)
  theirs.message += `\n${cluster.supernode.explain('The supernode').message}`
  return theirs
}

/** Asks every host for its metrics now and then, to show rates. */
function watchHosts(running: Running, started: number): { stop(): Promise<void> } {
  const { cluster, registry, image, state } = running
  const before = new Map<string, { readonly atMs: number; readonly down: number; readonly up: number }>()
  const look = async () => {
    state.elapsedMs = performance.now() - started
    state.sourceBytes = countSourceBytes(registry)
    await Promise.all(
      cluster.hosts.map(async (host, number) => {
        const samples = await readMetrics(host).catch(() => undefined)
        if (samples === undefined) return
        const now = {
          atMs: performance.now(),
          down: receivedBytes(samples, 'peer') + receivedBytes(samples, 'source'),
          up: sumMetric(samples, 'pantala_dfdaemon_upload_bytes_total'),
        }
        const last = before.get(host.name)
        before.set(host.name, now)
        const seconds = last === undefined ? 0 : (now.atMs - last.atMs) / 1000
        if (last === undefined || seconds <= 0) return
        const shown = state.hosts[number]!
        const stored = sumMetric(samples, 'pantala_dfdaemon_store_bytes')
        shown.pieces = Math.min(state.imagePieces, Math.floor((stored / image.bytes) * state.imagePieces))
        shown.downRate = Math.max(0, now.down - last.down) / seconds
        shown.upRate = Math.max(0, now.up - last.up) / seconds
      }),
    )
  }
  let stopped = false
  const loop = (async () => {
    while (!stopped) {
      await look()
      await new Promise(resolve => setTimeout(resolve, watchEveryMs * Math.ceil(cluster.hosts.length / 8)))
    }
  })()
  return {
    async stop() {
      stopped = true
      await loop
    },
  }
}

async function readResult(host: ClusterHost, shown: HostState): Promise<HostResult> {
  const samples = await readMetrics(host)
  return {
    host: host.name,
    ms: Math.round(shown.ms),
    bytesFromPeers: receivedBytes(samples, 'peer'),
    bytesFromSource: receivedBytes(samples, 'source'),
    verified: shown.phase === 'verified',
  }
}

async function readMetrics(host: ClusterHost): Promise<Samples> {
  const answer = await fetch(`${host.adminUrl}/metrics`, { signal: AbortSignal.timeout(5_000) })
  return parseMetrics(await answer.text())
}

function receivedBytes(samples: Samples, from: 'peer' | 'source'): number {
  return sumMetric(samples, 'pantala_dfdaemon_blob_bytes_total', { from })
}

function countSourceBytes(registry: SourceRegistry): number {
  return registry.log.reduce(
    (sum, entry) => (entry.kind === 'blob' || entry.kind === 'manifest' ? sum + entry.bytes : sum),
    0,
  )
}

export function countHosts(count: number): string {
  return count === 1 ? '1 host' : `${count} hosts`
}
