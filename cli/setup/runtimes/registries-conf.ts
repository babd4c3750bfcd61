// registries.conf of podman, skopeo, buildah and CRI-O: a file of our own for new registries, and our mirror first in tables that are there.
import { PantalaError } from '../../../shared/errors.ts'
import type { ConfigView, PlannedFile } from '../plan.ts'
import { insertLines, type TextEdit } from '../text/text-edits.ts'
import { quoteToml, type TomlTree } from '../text/toml-text.ts'
import { checkEdits, placeOf, readTomlFile, type TomlFile } from './toml-file.ts'

const mainFile = '/etc/containers/registries.conf'
const dropInDirectory = '/etc/containers/registries.conf.d'
export const ownFile = `${dropInDirectory}/50-pantala.conf`

/** One registry and the place in the dfdaemon that stands for it. */
export interface RegistryMirror {
  readonly registry: string
  /** host:port and perhaps a path. */
  readonly location: string
  /** The mirror is spoken to over plain HTTP. */
  readonly insecure: boolean
  /** The registry itself speaks plain HTTP; undefined: not told. */
  readonly registryInsecure: boolean | undefined
}

/** A [[registry]] table and where it stands. */
interface FoundTable {
  readonly file: TomlFile
  /** Which of the file's [[registry]] tables, counted from 0. */
  readonly index: number
  readonly prefix: string
  readonly table: TomlTree
}

export interface RegistriesPlan {
  readonly files: readonly PlannedFile[]
  readonly notes: readonly string[]
}

/** @throws PantalaError SETUP_CONFIG_INVALID | SETUP_CONFLICT */
export function planRegistries(
  view: ConfigView,
  mirrors: readonly RegistryMirror[],
  activation: PlannedFile['activation'],
): RegistriesPlan {
  const files = readFiles(view)
  const tables = files.flatMap(listTables)
  const edits = new Map<string, TextEdit[]>()
  const fresh: string[][] = []
  const notes: string[] = []
  for (const mirror of mirrors) {
    const own = findEffective(tables, mirror.registry)
    if (own !== undefined) {
      const edit = addMirror(own, mirror)
      if (edit !== undefined) edits.set(own.file.path, [...(edits.get(own.file.path) ?? []), edit])
    } else {
      fresh.push(tableOf(mirror, inheritInsecure(tables, files, mirror)))
    }
    notes.push(...noteNarrower(tables, mirror.registry))
  }
  const changed = [...edits].map(([path, list]): PlannedFile => {
    return { path, format: 'toml', before: view.read(path), edits: list, activation }
  })
  if (fresh.length > 0) changed.push(planOwnFile(view, fresh, activation))
  return { files: changed, notes }
}

/** In the order they are loaded: the main file, then drop-ins by name. */
function readFiles(view: ConfigView): TomlFile[] {
  const dropIns = view
    .list(dropInDirectory)
    .filter(name => name.endsWith('.conf'))
    .map(name => `${dropInDirectory}/${name}`)
  return [mainFile, ...dropIns].flatMap(path => {
    const text = view.read(path)
    return text === undefined ? [] : [readTomlFile(path, text)]
  })
}

function listTables(file: TomlFile): FoundTable[] {
  const registries = file.tree['registry']
  if (registries === undefined) return []
  if (!Array.isArray(registries))
    throw new PantalaError('SETUP_CONFIG_INVALID', {
      detail: `${file.path}: registry must be a list of tables`,
    })
  return registries.map((table: TomlTree, index) => {
    const name = table['prefix'] || table['location']
    return { file, index, table, prefix: typeof name === 'string' ? name.replace(/\/+$/, '') : '' }
  })
}

/** Of tables for the same prefix, the file loaded last wins, and in a file the first table. */
function findEffective(tables: readonly FoundTable[], registry: string): FoundTable | undefined {
  const same = tables.filter(table => table.prefix === registry)
  const last = same.at(-1)
  return same.find(table => table.file === last?.file)
}

function addMirror(found: FoundTable, mirror: RegistryMirror): TextEdit | undefined {
  const { file, table } = found
  const statements = file.statements
  const headers = statements.filter(one => one.kind === 'array-table' && one.path.join('\0') === 'registry')
  const header = headers[found.index]
  if (header === undefined)
    throw new PantalaError('SETUP_CONFLICT', {
      detail: `${file.path}: the table of ${mirror.registry} is not written as [[registry]]; write it so`,
    })
  if (table['blocked'] === true)
    throw new PantalaError('SETUP_CONFLICT', {
      detail: `${placeOf(file, header.start)}: ${mirror.registry} is blocked there`,
    })
  const location = mirrorLocation(found, mirror, header.start)
  const listed = Array.isArray(table['mirror']) ? (table['mirror'] as TomlTree[]) : []
  const place = listed.findIndex(one => one['location'] === location)
  if (place === 0) return undefined
  if (place > 0)
    throw new PantalaError('SETUP_CONFLICT', {
      detail: `${placeOf(file, header.start)}: the mirror ${location} is there already, but behind others; take it out`,
    })
  const next = headers[found.index + 1]?.start ?? file.text.length
  const inside = statements.filter(one => one.start > header.start && one.start < next)
  const firstTable = inside.find(one => one.kind !== 'pair')
  const lastPair = inside.findLast(
    one => one.kind === 'pair' && (firstTable === undefined || one.start < firstTable.start),
  )
  const offset = (lastPair ?? header).end
  const lines = [
    '',
    `${header.indent}# The Pantala dfdaemon of this host.`,
    ...mirrorLines({ ...mirror, location }).map(line => header.indent + line),
  ]
  const edit = insertLines(file.text, offset, lines)
  const ours = { location, ...(mirror.insecure ? { insecure: true } : {}) }
  const wanted = {
    ...file.tree,
    registry: (file.tree['registry'] as TomlTree[]).map(one =>
      one === table ? { ...one, mirror: [ours, ...listed] } : one,
    ),
  }
  const after = checkEdits(file, [edit], wanted)
  const made = (after['registry'] as TomlTree[])[found.index]!['mirror'] as TomlTree[]
  if (made[0]?.['location'] !== location)
    throw new PantalaError('SETUP_CONFLICT', {
      detail: `${placeOf(file, header.start)}: mirrors not written as [[registry.mirror]] come first whatever follows; write them so`,
    })
  return edit
}

/** A table may say that the registry's content lies elsewhere: then the mirror must stand for that place. */
function mirrorLocation({ file, table, prefix }: FoundTable, mirror: RegistryMirror, start: number): string {
  const real = typeof table['location'] === 'string' ? table['location'].replace(/\/+$/, '') : prefix
  if (real === prefix || real === '') return mirror.location
  const path = `/${mirror.registry}`
  if (!mirror.location.endsWith(path) || /:\d/.test(real)) {
    throw new PantalaError('SETUP_CONFLICT', {
      detail: `${placeOf(file, start)}: ${mirror.registry} is fetched from ${real}; name that registry instead`,
    })
  }
  return `${mirror.location.slice(0, -path.length)}/${real}`
}

function mirrorLines({ location, insecure }: RegistryMirror): string[] {
  return [
    '[[registry.mirror]]',
    `location = ${quoteToml(location)}`,
    ...(insecure ? ['insecure = true'] : []),
  ]
}

function tableOf(mirror: RegistryMirror, insecure: boolean): string[] {
  return [
    '',
    '[[registry]]',
    `location = ${quoteToml(mirror.registry)}`,
    ...(insecure ? ['insecure = true'] : []),
    '',
    ...mirrorLines(mirror),
  ]
}

/** A new table hides what a wider one, or a file of version 1, says of the registry; so it is told again. */
function inheritInsecure(
  tables: readonly FoundTable[],
  files: readonly TomlFile[],
  { registry, registryInsecure }: RegistryMirror,
): boolean {
  const wider = tables
    .filter(({ prefix }) => prefix.startsWith('*.') && registry.endsWith(prefix.slice(1)))
    .sort((one, other) => other.prefix.length - one.prefix.length)[0]
  if (wider !== undefined) {
    const { table, file, prefix } = wider
    if (table['blocked'] === true || table['mirror'] !== undefined || (table['location'] ?? '') !== '')
      throw new PantalaError('SETUP_CONFLICT', {
        detail: `${file.path}: ${prefix} has settings that a table for ${registry} would hide; write such a table with them first`,
      })
  }
  const listed = (word: string): boolean =>
    files.some(({ tree }) => {
      const old = (tree['registries'] as TomlTree | undefined)?.[word] as TomlTree | undefined
      return Array.isArray(old?.['registries']) && old['registries'].includes(registry)
    })
  if (listed('block'))
    throw new PantalaError('SETUP_CONFLICT', { detail: `${mainFile}: ${registry} is blocked there` })
  return registryInsecure ?? (wider?.table['insecure'] === true || listed('insecure'))
}

function noteNarrower(tables: readonly FoundTable[], registry: string): string[] {
  const narrower = tables.filter(({ prefix }) => prefix.startsWith(`${registry}/`))
  return narrower.map(
    ({ prefix, file }) =>
      `${prefix} has a table of its own in ${file.path}, so its images are not pulled through Pantala.`,
  )
}

function planOwnFile(
  view: ConfigView,
  tables: readonly (readonly string[])[],
  activation: PlannedFile['activation'],
): PlannedFile {
  const before = view.read(ownFile)
  const head =
    before === undefined
      ? ['# Registries pulled through the Pantala dfdaemon of this host; written by `pantala setup`.']
      : []
  const file = readTomlFile(ownFile, before ?? '')
  const edits = [insertLines(file.text, file.text.length, [...head, ...tables.flat()])]
  // Added tables only add leaves; a file that takes none at its end is refused here.
  checkEdits(file, edits, readTomlFile(ownFile, `${file.text}\n${tables.flat().join('\n')}\n`).tree)
  return { path: ownFile, format: 'toml', before, edits, activation }
}
