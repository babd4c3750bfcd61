// `pantala demo`: a cluster of processes on this machine, one image, every host pulling it at once, and a table of where the bytes came from.
import { statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { type ClusterHost, LocalCluster } from './cluster.ts'
import { demoTag, findRoot, prepareImage } from './image.ts'
import { parseMetrics, type Samples, sumMetric } from './metrics-text.ts'
import { findPlatformImage, type PlatformImage } from './oci-layout.ts'
import { pullThrough } from './pull-through.ts'
import { SourceRegistry } from './registry.ts'
import { type DemoResult, formatBytes, formatSeconds, type HostResult, renderResult } from './report.ts'
import {
  choosePaint,
  chooseView,
  type DemoState,
  type DemoView,
  type HostState,
  type Screen,
} from './view.ts'

export const DEMO_HOSTS_MAX = 64

export interface DemoOptions {
  /** 1 to DEMO_HOSTS_MAX. */
  readonly hosts: number
  /** One JSON object on `out` and nothing else there; progress goes to `err`. */
  readonly json: boolean
}

export interface DemoOutput {
  readonly out: Screen
  readonly err: Screen
}

/** What the image is called; the registry of this name exists only in the demo's configuration. */
const upstreamName = 'registry.demo'
const repository = 'pantala/demo'
const watchEveryMs = 200

/**
 * Runs the demo to its end and cleans up after it, whatever happens.
 * @returns the exit code: 0 if every digest on every host was right, 1 if not
 * @throws Error that shows what failed, or the signal's reason
 */
export async function runDemo(
  options: DemoOptions,
  output: DemoOutput,
  signal: AbortSignal,
): Promise<number> {
  const screen = options.json ? output.err : output.out
  const state = makeState(options.hosts)
  const view = chooseView(screen)
  const registry = new SourceRegistry()
  const cluster = new LocalCluster({
    hosts: options.hosts,
    upstream: {
      name: upstreamName,
      get url() {
        return registry.url
      },
    },
  })
  const killAll = () => cluster.kill()
  process.once('exit', killAll)
  const ticker = setInterval(() => view.update(state), 100)
  let failed = true
  try {
    const image = await prepareDemoImage(state, view, signal)
    await checkRoom(image.bytes, options.hosts)
    await registry.start()
    registry.addImage(repository, image.layout)
    await startCluster(cluster, state, view, signal)
    const result = await pullEverywhere({ cluster, registry, image, state, view }, signal)
    failed = false
    clearInterval(ticker)
    view.close(false)
    printResult(result, options, output)
    return result.ok ? 0 : 1
  } finally {
    clearInterval(ticker)
    if (failed) view.close(false)
    await cluster.stop()
    await registry.stop().catch(() => {})
    process.off('exit', killAll)
  }
}

interface LoadedImage extends PlatformImage {
  readonly layout: Awaited<ReturnType<typeof prepareImage>>['layout']
  readonly architecture: string
}

async function prepareDemoImage(state: DemoState, view: DemoView, signal: AbortSignal): Promise<LoadedImage> {
  state.stage = 'Preparing the image'
  view.update(state)
  const made = await prepareImage(
    { root: findRoot() },
    {
      onPacked(packed, all) {
        signal.throwIfAborted()
        state.stage = `Making the image from files of this machine, once (${Math.floor((packed / all) * 100)} %)`
      },
    },
  )
  const image = findPlatformImage(made.layout, demoTag, made.architecture)
  if (image === undefined) throw new Error(`the demo's image has nothing for ${made.architecture}`)
  state.imageBytes = image.bytes
  state.layers = image.layers.length
  state.imageDigests = image.layers.length + 2 + (image.index === undefined ? 0 : 1)
  return { ...image, layout: made.layout, architecture: made.architecture }
}

/** Every host and the seed keep the whole image for as long as the demo runs. */
async function checkRoom(imageBytes: number, hosts: number): Promise<void> {
  const { bavail, bsize } = await statfs(tmpdir())
  const wanted = imageBytes * (hosts + 1) * 1.05
  if (bavail * bsize >= wanted) return
  throw new Error(
    `${hosts} hosts need ${formatBytes(Math.ceil(wanted))} in ${tmpdir()}, which has ${formatBytes(bavail * bsize)} free; ` +
      'choose fewer --hosts, or another directory by TMPDIR',
  )
}

async function startCluster(
  cluster: LocalCluster,
  state: DemoState,
  view: DemoView,
  signal: AbortSignal,
): Promise<void> {
  state.stage = `Starting a supernode and ${countHosts(state.hosts.length)}, each a process of its own`
  for (const host of state.hosts) host.phase = 'starting'
  view.update(state)
  await cluster.start(signal, number => {
    state.hosts[number]!.phase = 'ready'
  })
}

interface Running {
  readonly cluster: LocalCluster
  readonly registry: SourceRegistry
  readonly image: LoadedImage
  readonly state: DemoState
  readonly view: DemoView
}

async function pullEverywhere(running: Running, signal: AbortSignal): Promise<DemoResult> {
  const { cluster, registry, image, state, view } = running
  state.stage = `${countHosts(state.hosts.length)} pull the same image at once`
  const started = performance.now()
  const watching = watchHosts(running, started)
  const giveUp = new AbortController()
  const pulls = cluster.hosts.map((host, number) =>
    pullOnHost(host, state.hosts[number]!, image, started, AbortSignal.any([signal, giveUp.signal])),
  )
  try {
    await Promise.race([Promise.all(pulls), cluster.failed])
  } catch (error) {
    giveUp.abort()
    await Promise.allSettled(pulls)
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
  image: LoadedImage,
  started: number,
  signal: AbortSignal,
): Promise<void> {
  shown.phase = 'pulling'
  try {
    const pulled = await pullThrough(
      {
        proxyUrl: host.proxyUrl,
        ref: `${upstreamName}/${repository}:${demoTag}`,
        architecture: image.architecture,
      },
      {
        onBytes(bytes) {
          shown.bytes += bytes
        },
      },
      signal,
    )
    shown.ms = performance.now() - started
    shown.digests = pulled.digests
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
  const { cluster, registry, state } = running
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

function printResult(result: DemoResult, options: DemoOptions, output: DemoOutput): void {
  if (options.json) {
    output.out.write(`${JSON.stringify(result)}\n`)
    return
  }
  output.out.write(`\n${renderResult(result, choosePaint(output.out)).join('\n')}\n\n`)
}

function makeState(hosts: number): DemoState {
  return {
    stage: '',
    imageBytes: 0,
    imageDigests: 0,
    layers: 0,
    sourceBytes: 0,
    elapsedMs: 0,
    hosts: Array.from({ length: hosts }, (_, number) => ({
      name: `host-${number + 1}`,
      phase: 'waiting',
      bytes: 0,
      digests: 0,
      downRate: 0,
      upRate: 0,
      ms: 0,
    })),
  }
}

function countHosts(count: number): string {
  return count === 1 ? '1 host' : `${count} hosts`
}
