// containerd's config.toml and what it imports: where CRI looks for hosts.toml files, said in one line under the right table.
import { posix } from 'node:path'
import { PantalaError } from '../../../shared/errors.ts'
import type { ConfigView, PlannedFile } from '../plan.ts'
import { insertLines, type TextEdit } from '../text/text-edits.ts'
import {
  isSamePath,
  quoteToml,
  startsWithPath,
  type TomlPair,
  type TomlTree,
  treeAt,
} from '../text/toml-text.ts'
import { checkEdits, placeOf, readTomlFile, type TomlFile } from './toml-file.ts'

const defaultHosts = '/etc/containerd/certs.d'

/** What containerd 2.2 and later imports where a file names no imports. */
const defaultImports = '/etc/containerd/conf.d/*.toml'

/** Files that an imports list may lead to. */
const IMPORTS_MAX = 256

export interface ContainerdConfigPlan {
  /** Undefined: CRI looks for hosts.toml files already. */
  readonly file: PlannedFile | undefined
  /** Directories that CRI looks in, in order. */
  readonly hostDirectories: readonly string[]
  readonly notes: readonly string[]
}

/** @throws PantalaError SETUP_CONFIG_INVALID | SETUP_CONFLICT */
export function planContainerdConfig(view: ConfigView, path: string): ContainerdConfigPlan {
  const files = readWithImports(view, path, [])
  const newer = readWithImports(view, path, [defaultImports])
  for (const file of newer) refuseOldMirrors(file)
  // Older containerd takes a plugin's whole section from the file read last that has one; newer ones merge. Writing there suits both.
  const file = findLastCri(files) ?? files[0]!
  const set = configPathOf(file)
  const hostDirectories = splitDirectories(set ?? configPathOf(findLastCri(newer)) ?? defaultHosts)
  const notes = noteOf(file, hostDirectories)
  if (set !== undefined) return { file: undefined, hostDirectories, notes }
  const before = view.read(file.path)
  const edits = setConfigPath(file, hostDirectories.join(':'), before === undefined)
  return {
    file: { path: file.path, format: 'toml', before, edits, activation: 'restart' },
    hostDirectories,
    notes,
  }
}

function findLastCri(files: readonly ContainerdFile[]): ContainerdFile | undefined {
  return files.findLast(file => treeAt(file.tree, file.plugin) !== undefined)
}

/** Undefined if it is not set, or empty as in containerd's own default file. */
function configPathOf(file: ContainerdFile | undefined): string | undefined {
  const set = file && treeAt(file.tree, [...file.registry, 'config_path'])
  if (set !== undefined && typeof set !== 'string')
    throw new PantalaError('SETUP_CONFIG_INVALID', { detail: `${file!.path}: config_path must be a string` })
  return set === '' ? undefined : set
}

function splitDirectories(list: string): string[] {
  return list.split(':').filter(directory => directory !== '')
}

function noteOf({ path, tree }: TomlFile, hostDirectories: readonly string[]): string[] {
  const disabled = tree['disabled_plugins']
  return [
    ...(hostDirectories.length > 1
      ? [
          `${path} has a list of directories as config_path; containerd 2.1 to 2.2.0 may take such a list for one directory and then use no mirror. If so, leave only ${hostDirectories[0]} there.`,
        ]
      : []),
    ...(Array.isArray(disabled) && disabled.some(name => /(^|\.)cri$/.test(String(name)))
      ? [
          `CRI is off in ${path} (disabled_plugins); ctr takes --hosts-dir, nerdctl reads the files as they are.`,
        ]
      : []),
  ]
}

interface ContainerdFile extends TomlFile {
  /** Paths of the tables that count in this file. */
  readonly plugin: readonly string[]
  readonly registry: readonly string[]
}

/** The file and those it imports, in the order that containerd reads them. `otherwise` is imported where the file names no imports. */
function readWithImports(view: ConfigView, path: string, otherwise: readonly string[]): ContainerdFile[] {
  const files: ContainerdFile[] = []
  const waiting = [path]
  const seen = new Set<string>()
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    if (seen.has(next)) continue
    seen.add(next)
    if (seen.size > IMPORTS_MAX)
      throw new PantalaError('SETUP_CONFIG_INVALID', {
        detail: `${path} imports more than ${IMPORTS_MAX} files`,
      })
    const text = view.read(next)
    if (text === undefined && next !== path) continue
    const read = readTomlFile(next, text ?? '')
    // An imported file without a version has that of the main file.
    const file = { ...read, ...tablesOf(read, files[0]) }
    files.push(file)
    const imports = file.tree['imports'] ?? (next === path ? otherwise : [])
    if (!Array.isArray(imports)) continue
    for (const one of imports) waiting.push(...expandImport(view, posix.dirname(next), String(one)))
  }
  return files
}

function expandImport(view: ConfigView, from: string, pattern: string): string[] {
  const full = posix.resolve(from, pattern)
  const directory = posix.dirname(full)
  const name = posix.basename(full)
  if (!/[*?]/.test(name)) return [full]
  const matcher = new RegExp(
    `^${name
      .replace(/[.+^${}()|[\]\\]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.')}$`,
  )
  return view
    .list(directory)
    .filter(one => matcher.test(one))
    .map(one => `${directory}/${one}`)
}

const pluginNames: Readonly<Record<string, string>> = {
  0: 'cri',
  1: 'cri',
  2: 'io.containerd.grpc.v1.cri',
  3: 'io.containerd.cri.v1.images',
}

/** Which table it is depends on the version that the file says; without one it is 1. A file with nothing in it is begun with 2. */
function tablesOf(
  { tree, statements, path }: TomlFile,
  main: TomlFile | undefined,
): Pick<ContainerdFile, 'plugin' | 'registry'> {
  const version =
    tree['version'] ?? main?.tree['version'] ?? ((main ?? { statements }).statements.length === 0 ? 2n : 1n)
  if (typeof version !== 'bigint')
    throw new PantalaError('SETUP_CONFIG_INVALID', { detail: `${path}: version must be a whole number` })
  // Versions after 3 keep the name until it is known better.
  const plugin = ['plugins', pluginNames[`${version}`] ?? pluginNames[3]!]
  return { plugin, registry: [...plugin, 'registry'] }
}

/** containerd refuses config_path beside mirrors, and then leaves CRI out altogether. */
function refuseOldMirrors(file: ContainerdFile): void {
  const { registry } = file
  const refuse = (path: readonly string[], what: string): never => {
    const statement =
      file.statements.find(one => startsWithPath(one.path, path)) ??
      // In an inline table: the line of the table.
      file.statements.findLast(one => startsWithPath(path, one.path))
    throw new PantalaError('SETUP_CONFLICT', {
      detail: `${placeOf(file, statement?.start ?? 0)}: ${what}, which is deprecated, and containerd starts without CRI if config_path stands beside it; move it to ${defaultHosts}/<registry>/hosts.toml`,
    })
  }
  const mirrors = treeAt(file.tree, [...registry, 'mirrors'])
  if (hasEntries(mirrors))
    refuse([...registry, 'mirrors', Object.keys(mirrors)[0]!], 'registry.mirrors is set')
  const configs = treeAt(file.tree, [...registry, 'configs'])
  for (const [host, config] of hasEntries(configs) ? Object.entries(configs) : []) {
    if (treeAt(config, ['tls']) !== undefined)
      refuse([...registry, 'configs', host, 'tls'], 'registry.configs has tls settings')
  }
}

function hasEntries(value: unknown): value is TomlTree {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0
}

function setConfigPath(file: ContainerdFile, value: string, isNew: boolean): TextEdit[] {
  const { text, statements, plugin, registry } = file
  const line = `config_path = ${quoteToml(value)}`
  const fresh = isNew || statements.length === 0
  const table = [headerOf(registry), `  ${line}`]
  const edits = fresh
    ? [insertLines(text, text.length, ['version = 2', '', ...table])]
    : [
        replaceEmpty(file, quoteToml(value)) ??
          insertUnderHeader(file, line) ??
          insertBesideDotted(file, quoteToml(value)) ??
          insertLines(text, text.length, [...(text.endsWith('\n\n') ? [] : ['']), ...table]),
      ]
  const old = treeAt(file.tree, plugin) as TomlTree | undefined
  const oldRegistry = treeAt(file.tree, registry) as TomlTree | undefined
  checkEdits(file, edits, {
    ...file.tree,
    ...(fresh ? { version: 2n } : {}),
    plugins: {
      ...(file.tree['plugins'] as TomlTree | undefined),
      [plugin[1]!]: { ...old, registry: { ...oldRegistry, config_path: value } },
    },
  })
  return edits
}

function headerOf(path: readonly string[]): string {
  return `[${path.map(part => (/^[A-Za-z0-9_-]+$/.test(part) ? part : quoteToml(part))).join('.')}]`
}

/** `config_path = ""`, as containerd's own default file has it: the line is replaced, so that it can be found again. */
function replaceEmpty({ text, statements, registry }: ContainerdFile, value: string): TextEdit | undefined {
  const wanted = [...registry, 'config_path']
  const pair = statements.find((one): one is TomlPair => one.kind === 'pair' && isSamePath(one.path, wanted))
  if (pair === undefined) return undefined
  return {
    offset: pair.keyStart,
    removed: text.slice(pair.keyStart, pair.valueEnd),
    inserted: text.slice(pair.keyStart, pair.valueStart) + value,
  }
}

function insertUnderHeader(
  { text, statements, registry }: ContainerdFile,
  line: string,
): TextEdit | undefined {
  const index = statements.findIndex(one => one.kind === 'table' && isSamePath(one.path, registry))
  const header = statements[index]
  if (header === undefined) return undefined
  const next = statements[index + 1]
  const indent = next?.kind === 'pair' ? next.indent : `${header.indent}  `
  return insertLines(text, header.end, [indent + line])
}

/** `registry.x = …` under another header: a header of its own would be an error beside it. */
function insertBesideDotted(
  { text, statements, registry }: ContainerdFile,
  value: string,
): TextEdit | undefined {
  const beside = statements.find(
    (one): one is TomlPair =>
      one.kind === 'pair' &&
      one.path.length > registry.length &&
      startsWithPath(one.path, registry) &&
      one.path.length - one.key.length < registry.length,
  )
  if (beside === undefined) return undefined
  const own = [...registry.slice(beside.path.length - beside.key.length), 'config_path']
  const key = headerOf(own).slice(1, -1)
  return insertLines(text, beside.end, [`${beside.indent}${key} = ${value}`])
}
