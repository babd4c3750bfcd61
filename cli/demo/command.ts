// `pantala demo`: a cluster of processes on this machine, one image, every host pulling it at once, and a table of where the bytes came from.
import { statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { geometryFor, pieceCount } from '../../shared/piece.ts'
import { LocalCluster, plainHttpUpstreams } from './cluster.ts'
import { demoTag, findRoot, prepareImage } from './image.ts'
import { findPlatformImage, type PlatformImage } from './oci-layout.ts'
import { countHosts, pullEverywhere } from './pulling.ts'
import { SourceRegistry } from './registry.ts'
import { type DemoResult, formatBytes, renderResult } from './report.ts'
import { choosePaint, chooseView, type DemoState, type DemoView, type Screen } from './view.ts'

/** What a shell reports of a command ended by Ctrl-C. */
const exitCodeStopped = 130

export interface DemoOptions {
  /** 1 to 64. */
  readonly hosts: number
  /** One JSON object on `out` and nothing else there; progress goes to `err`. */
  readonly json: boolean
}

export interface DemoOutput {
  readonly out: Screen
  readonly err: Screen
}

/** What the image is called in the demo's registry. */
const repository = 'pantala/demo'

/**
 * Runs the demo to its end and cleans up after it, whatever happens.
 * @returns the exit code: 0 if every digest on every host was right, 1 if not, 130 if it was told to stop
 * @throws Error that shows what failed
 */
export async function runDemo(options: DemoOptions, output: DemoOutput, stop: AbortSignal): Promise<number> {
  const signal = AbortSignal.any([stop, whenUnread(output)])
  const screen = options.json ? output.err : output.out
  const state = makeState(options.hosts)
  const view = chooseView(screen)
  const registry = new SourceRegistry()
  const cluster = new LocalCluster({
    hosts: options.hosts,
    upstreams: () => plainHttpUpstreams(new URL(registry.url).host),
  })
  const ticker = setInterval(() => view.update(state), 100)
  const closeView = () => {
    clearInterval(ticker)
    view.close()
  }
  const onExit = () => {
    view.close()
    cluster.kill()
  }
  process.once('exit', onExit)
  try {
    const image = await prepareDemoImage(state, view, signal)
    await checkRoom(image.bytes, options.hosts)
    await registry.start()
    registry.addImage(repository, image.layout)
    await startCluster(cluster, state, view, signal)
    const name = `${repository}:${demoTag}`
    const result = await pullEverywhere({ cluster, registry, image, state, view, name }, signal)
    closeView()
    printResult(result, options, output)
    return result.ok ? 0 : 1
  } catch (error) {
    closeView()
    if (!signal.aborted) throw error
    output.err.write('Stopping, and removing all that was stored …\n')
    return exitCodeStopped
  } finally {
    await cluster.stop()
    await registry.stop().catch(() => {})
    process.off('exit', onExit)
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
  state.imagePieces = image.layers.reduce((sum, layer) => sum + pieceCount(geometryFor(layer.size)), 0)
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

/** Aborts when nobody reads the output any more, as after `pantala demo | head`. */
function whenUnread(output: DemoOutput): AbortSignal {
  const unread = new AbortController()
  for (const screen of [output.out, output.err]) screen.on?.('error', error => unread.abort(error))
  return unread.signal
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
    imagePieces: 0,
    layers: 0,
    sourceBytes: 0,
    elapsedMs: 0,
    hosts: Array.from({ length: hosts }, (_, number) => ({
      name: `host-${number + 1}`,
      phase: 'waiting',
      bytes: 0,
      pieces: 0,
      downRate: 0,
      upRate: 0,
      ms: 0,
    })),
  }
}
