// Chooses what the demo's image holds: the Node runtime with its libraries, the project's dependencies split by size, its own sources. Reads no file's content.
import { existsSync, type Stats } from 'node:fs'
import { lstat, readdir, readFile, readlink, realpath, stat } from 'node:fs/promises'
import { join, sep } from 'node:path'
import type { LayerEntry } from './layout-writer.ts'

/** A layer to be made: its entries, and how many bytes they hold before gzip. */
export interface LayerPlan {
  readonly title: string
  readonly bytes: number
  readonly entries: readonly LayerEntry[]
  /** True if its files run on any processor, so that other platforms' manifests can share it. */
  readonly portable: boolean
}

/** Packages at least this large, in bytes, have a layer of their own. */
const ownLayerBytesMin = 8 * 1024 * 1024
/** How much of the system's programs goes in, and the largest one taken, in bytes. */
const systemBytesMax = 48 * 1024 * 1024
const systemFileBytesMax = 4 * 1024 * 1024
/** The other packages are spread over so many layers. */
const sharedLayers = 3

/** Plans the layers, smallest base first as images have it. `root` is the checkout or the installed package. */
export async function planLayers(root: string): Promise<LayerPlan[]> {
  const modules = join(root, 'node_modules')
  const [base, system, runtime, packages, sources] = await Promise.all([
    planBase(),
    planSystem(),
    planRuntime(),
    existsSync(modules) ? planPackages(modules) : [],
    planSources(root),
  ])
  return [base, ...system, runtime, ...packages, sources]
}

/** The dynamic loader and libraries that this process itself has loaded, under the names it knows them by. */
async function planBase(): Promise<LayerPlan> {
  const report = process.report.getReport() as unknown as { readonly sharedObjects: readonly string[] }
  const libraries = report.sharedObjects.filter(path => path.startsWith('/lib') && existsSync(path))
  const files = await Promise.all(
    libraries.map(async path => ({ name: path.slice(1), path: await realpath(path) })),
  )
  const loader = files.map(file => planFile(file.name, file.path, 0o755))
  const text = (name: string, content: string) => ({ name, content: Buffer.from(content) })
  const entries: LayerEntry[] = [
    { name: 'tmp/', mode: 0o1777 },
    text('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n'),
    text('etc/group', 'root:x:0:\nnode:x:1000:\n'),
    text('etc/os-release', 'ID=pantala-demo\nPRETTY_NAME="Pantala demo image"\n'),
    ...loader,
  ]
  return finishPlan('libraries', entries, await sumBytes(files.map(file => file.path)), false)
}

/** Some of the system's programs, as a distribution's base image brings them; nothing where there is no /usr/bin. */
async function planSystem(): Promise<LayerPlan[]> {
  const names = await readdir('/usr/bin').catch(() => [])
  const files = await Promise.all(
    names.map(async name => ({ name, file: await lstat(join('/usr/bin', name)).catch(() => undefined) })),
  )
  const entries: LayerEntry[] = []
  let bytes = 0
  for (const { name, file } of files.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const readable =
      file?.isFile() === true && (file.mode & 0o444) === 0o444 && file.size <= systemFileBytesMax
    if (!readable || bytes + file.size > systemBytesMax) continue
    bytes += file.size
    entries.push(planFile(`usr/bin/${name}`, join('/usr/bin', name), 0o755))
  }
  return entries.length === 0 ? [] : [finishPlan('system', entries, bytes, false)]
}

async function planRuntime(): Promise<LayerPlan> {
  const path = await realpath(process.execPath)
  return finishPlan('node', [planFile('usr/local/bin/node', path, 0o755)], (await stat(path)).size, false)
}

/** Packages large enough get a layer each; the rest is spread so that the layers come out alike. */
async function planPackages(modules: string): Promise<LayerPlan[]> {
  const names = await listPackages(modules)
  const packages = await Promise.all(
    // The runtime has a layer of its own; its package would bring it a second time.
    names
      .filter(name => name !== 'node')
      .map(name => planTree(join(modules, name), `app/node_modules/${name}`, name)),
  )
  packages.sort((a, b) => b.bytes - a.bytes || (a.title < b.title ? -1 : 1))
  const own = packages.filter(plan => plan.bytes >= ownLayerBytesMin)
  const shared: LayerPlan[][] = Array.from({ length: sharedLayers }, () => [])
  const load = (bin: readonly LayerPlan[]) => bin.reduce((sum, plan) => sum + plan.bytes, 0)
  for (const plan of packages.slice(own.length)) {
    shared.reduce((least, bin) => (load(bin) < load(least) ? bin : least)).push(plan)
  }
  const merged = shared
    .filter(bin => bin.length > 0)
    .map((bin, number) => {
      const sorted = bin.sort((a, b) => (a.title < b.title ? -1 : 1))
      const entries = sorted.flatMap(plan => plan.entries)
      return finishPlan(`${bin.length} packages (${number + 1})`, entries, load(bin), true)
    })
  return [...merged, ...own.map(plan => ({ ...plan, portable: false }))]
}

async function planSources(root: string): Promise<LayerPlan> {
  const parts = ['shared', 'supernode', 'dfdaemon', 'cli', 'dist'].filter(name =>
    existsSync(join(root, name)),
  )
  const trees = await Promise.all(parts.map(name => planTree(join(root, name), `app/${name}`, name)))
  const entries = trees.flatMap(tree => tree.entries)
  const manifest = join(root, 'package.json')
  if (existsSync(manifest)) entries.push(planFile('app/package.json', manifest, 0o644))
  const bytes = trees.reduce((sum, tree) => sum + tree.bytes, 0)
  return finishPlan('pantala', entries, bytes, true)
}

async function listPackages(modules: string): Promise<string[]> {
  const top = (await readdir(modules)).filter(name => !name.startsWith('.'))
  const nested = await Promise.all(
    top
      .filter(name => name.startsWith('@'))
      .map(async scope => (await readdir(join(modules, scope))).map(name => `${scope}/${name}`)),
  )
  return [...top.filter(name => !name.startsWith('@')), ...nested.flat()].sort()
}

async function planTree(directory: string, prefix: string, title: string): Promise<LayerPlan> {
  const found = await readdir(directory, { recursive: true, withFileTypes: true })
  found.sort((a, b) => (join(a.parentPath, a.name) < join(b.parentPath, b.name) ? -1 : 1))
  const entries: LayerEntry[] = []
  let bytes = 0
  for (const item of found) {
    const path = join(item.parentPath, item.name)
    const name = prefix + path.slice(directory.length).split(sep).join('/')
    if (item.isSymbolicLink()) entries.push({ name, linkTo: await readlink(path) })
    if (!item.isFile()) continue
    const file: Stats = await stat(path)
    bytes += file.size
    entries.push(planFile(name, path, (file.mode & 0o111) === 0 ? 0o644 : 0o755))
  }
  return finishPlan(title, entries, bytes, true)
}

function planFile(name: string, path: string, mode: number): LayerEntry {
  return { name, mode, content: () => readFile(path) }
}

function finishPlan(
  title: string,
  entries: readonly LayerEntry[],
  bytes: number,
  portable: boolean,
): LayerPlan {
  return { title, entries, bytes, portable }
}

async function sumBytes(paths: readonly string[]): Promise<number> {
  const sizes = await Promise.all(paths.map(async path => (await stat(path)).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}
