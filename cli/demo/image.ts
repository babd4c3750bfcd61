// Makes the demo's image on the spot, an OCI layout of 150 MB and more, and keeps it for the next run.
import { createCipheriv, createHash, randomUUID } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { DigestCheck } from '../../shared/digest.ts'
import { type LayerPlan, planLayers } from './image-content.ts'
import { type Layer, LayoutWriter, type Platform } from './layout-writer.ts'
import { blobPath, hasAllLengths, type OciLayout, openLayout } from './oci-layout.ts'

/** Raised when the image's make-up changes, so that a kept one is made anew. */
const contentVersion = 1

/** What the image's own platform holds at least, compressed, in bytes; where real files do not reach it, noise makes up the rest. */
export const imageBytesMin = 152 * 1000 * 1000

/** Kept images of other content are removed once they were not used for this long, in ms. */
const keptForMs = 24 * 60 * 60 * 1000

export const demoTag = 'v1'

export interface MakeProgress {
  /** Bytes of files packed so far, and in all. */
  onPacked?(packed: number, all: number): void
}

export interface DemoImage {
  readonly layout: OciLayout
  /** The platform whose binaries are inside: the one this process runs on. */
  readonly architecture: string
  /** True if it was kept from an earlier run. */
  readonly kept: boolean
}

export interface ImageOptions {
  /** The checkout or installed package whose files go in. */
  readonly root: string
  /** Where images are kept, if not in the place chosen by itself. */
  readonly cacheDir?: string
  /** Chooses the content; the real files of this machine unless told otherwise. */
  readonly plan?: (root: string) => Promise<LayerPlan[]>
  readonly bytesMin?: number
}

/**
 * The kept image if it is there and every byte of it is right; otherwise a new one. Safe against another run at the same time, and against
 * a run that was killed half-way.
 * @throws Error if neither cache directory can be written
 */
export async function prepareImage(options: ImageOptions, progress: MakeProgress = {}): Promise<DemoImage> {
  const cacheDir = options.cacheDir ?? (await chooseCacheDir(options.root))
  const key = await contentKey(options.root)
  const directory = join(cacheDir, key)
  const architecture = ociArchitecture(process.arch)
  const keptLayout = await openKept(directory)
  if (keptLayout !== undefined) return { layout: keptLayout, architecture, kept: true }
  const making = join(cacheDir, `making-${randomUUID()}`)
  try {
    await makeLayout(making, options, architecture, progress)
    await putInPlace(making, directory)
  } finally {
    await rm(making, { recursive: true, force: true })
  }
  await removeOld(cacheDir, key)
  return { layout: await openLayout(directory), architecture, kept: false }
}

/** Another run may have been faster: its image is as good, unless it is the broken one that was found before. */
async function putInPlace(making: string, directory: string): Promise<void> {
  try {
    await rename(making, directory)
  } catch (error) {
    if (!existsSync(directory)) throw error
    if ((await openKept(directory)) !== undefined) return
    await rename(directory, `${making}-broken`)
    await rename(making, directory)
    await rm(`${making}-broken`, { recursive: true, force: true })
  }
}

/** The OCI (Go) name of a processor that Node names its own way. */
export function ociArchitecture(arch: string): string {
  return ({ x64: 'amd64', ia32: '386' } as Record<string, string>)[arch] ?? arch
}

async function makeLayout(
  directory: string,
  options: ImageOptions,
  architecture: string,
  progress: MakeProgress,
): Promise<void> {
  const plans = await (options.plan ?? planLayers)(options.root)
  const bytesMin = options.bytesMin ?? imageBytesMin
  const all = plans.reduce((sum, plan) => sum + plan.bytes, 0)
  const writer = new LayoutWriter(directory)
  let packed = 0
  writer.onPacked = bytes => {
    packed += bytes
    progress.onPacked?.(Math.min(packed, all), all)
  }
  await writer.start()
  const made = await makeLayers(writer, plans)
  const layers = plans.map(plan => made.get(plan)!)
  const bytes = layers.reduce((sum, layer) => sum + layer.descriptor.size, 0)
  if (bytes < bytesMin) {
    const noise = makeNoise(bytesMin - bytes)
    layers.push(await writer.addLayer([{ name: 'usr/share/pantala/noise.bin', content: noise }]))
  }
  const portable = plans.filter(plan => plan.portable).map(plan => made.get(plan)!)
  await writeIndex(writer, architecture, layers, portable)
}

/** Longest first, as many side by side as libuv has threads: gzip is what takes the time, and each layer is one thread's work. */
async function makeLayers(
  writer: LayoutWriter,
  plans: readonly LayerPlan[],
): Promise<ReadonlyMap<LayerPlan, Layer>> {
  const queue = [...plans].sort((a, b) => b.bytes - a.bytes)
  const made = new Map<LayerPlan, Layer>()
  const work = async () => {
    for (let plan = queue.shift(); plan !== undefined; plan = queue.shift()) {
      made.set(plan, await writer.addLayer(plan.entries))
    }
  }
  await Promise.all([work(), work(), work(), work()])
  return made
}

async function writeIndex(
  writer: LayoutWriter,
  architecture: string,
  layers: readonly Layer[],
  portable: readonly Layer[],
): Promise<void> {
  const run = {
    Entrypoint: ['/usr/local/bin/node', '/app/cli/main.ts'],
    Env: ['PATH=/usr/local/bin:/usr/bin:/bin', 'NODE_ENV=production'],
    WorkingDir: '/app',
  }
  const own: Platform = { os: 'linux', architecture }
  const other: Platform = { os: 'linux', architecture: architecture === 'amd64' ? 'arm64' : 'amd64' }
  const manifests = [
    await writer.addManifest(own, layers, run),
    await writer.addManifest(other, portable, run),
  ]
  await writer.finish(new Map([[demoTag, await writer.addIndex(manifests)]]))
}

/** Undefined if there is none or a byte of it is wrong. */
async function openKept(directory: string): Promise<OciLayout | undefined> {
  try {
    const layout = await openLayout(directory)
    if (!(await hasAllLengths(layout))) return undefined
    for (const digest of [...layout.manifests.keys(), ...layout.blobs.keys()]) {
      const check = new DigestCheck(digest)
      const file = createReadStream(blobPath(directory, digest), { highWaterMark: 1024 * 1024 })
      for await (const chunk of file) check.update(chunk as Buffer)
      if (!check.matches()) return undefined
    }
    return layout
  } catch {
    return undefined
  }
}

/** What the content depends on: the runtime and the installed packages, not the sources under work. */
async function contentKey(root: string): Promise<string> {
  const hash = createHash('sha256').update(`${contentVersion} ${process.version} ${process.arch}`)
  for (const name of ['node_modules/.package-lock.json', 'package-lock.json', 'package.json']) {
    const content = await readFile(join(root, name)).catch(() => undefined)
    if (content === undefined) continue
    hash.update(content)
    break
  }
  return `image-${hash.digest('hex').slice(0, 16)}`
}

/** The checkout's own `.cache` where it can be written, else the user's cache directory (XDG Base Directory Specification). */
async function chooseCacheDir(root: string): Promise<string> {
  const user = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache')
  const choices = [join(root, '.cache', 'demo'), join(user, 'pantala', 'demo')]
  for (const choice of existsSync(join(root, 'package.json')) ? choices : choices.slice(1)) {
    try {
      await mkdir(choice, { recursive: true })
      const probe = join(choice, `probe-${randomUUID()}`)
      await mkdir(probe)
      await rm(probe, { recursive: true })
      return choice
    } catch {}
  }
  throw new Error(`no directory to keep the demo's image in: neither of ${choices.join(', ')} can be written`)
}

async function removeOld(cacheDir: string, key: string): Promise<void> {
  for (const name of await readdir(cacheDir)) {
    const path = join(cacheDir, name)
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }))
    if (name !== key && Date.now() - mtimeMs > keptForMs) await rm(path, { recursive: true, force: true })
  }
}

/** Bytes that gzip cannot shrink, the same on every run. */
function makeNoise(length: number): Uint8Array {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 'pantala'), Buffer.alloc(16))
  return cipher.update(Buffer.alloc(length))
}

/** The checkout (or installed package) that this file lies in. */
export function findRoot(): string {
  let directory = import.meta.dirname
  while (!existsSync(join(directory, 'package.json'))) {
    const parent = dirname(directory)
    if (parent === directory) return import.meta.dirname
    directory = parent
  }
  return directory
}
