// containerd's hosts.toml, which dockerd reads as well: Pantala's block first, the others and `server` kept, certificates beside it not lost.
import { PantalaError } from '../../../shared/errors.ts'
import type { ConfigView, NamedRegistry, PlannedFile } from '../plan.ts'
import { byteOrderMark, insertLines, type TextEdit } from '../text/text-edits.ts'
import { quoteToml, type TomlTree, treeAt } from '../text/toml-text.ts'
import { checkEdits, placeOf, readTomlFile, type TomlFile } from './toml-file.ts'

export interface HostsWish {
  /** Directory of directories, as /etc/containerd/certs.d. */
  readonly directory: string
  /** Undefined: `_default`. */
  readonly registry: NamedRegistry | undefined
  readonly dfdaemon: string
  readonly runtime: 'docker' | 'containerd'
  /** Paths of certificates to trust besides those in the directory. */
  readonly newCertificates?: readonly string[]
}

/** The file that makes a registry's pulls come by; undefined if it does so already. @throws PantalaError SETUP_CONFIG_INVALID | SETUP_CONFLICT */
export function planHosts(view: ConfigView, wish: HostsWish): PlannedFile | undefined {
  const directory = findHostDirectory(view, wish.directory, wish.registry?.name ?? '_default')
  const path = `${directory}/hosts.toml`
  const before = view.read(path)
  const file = readTomlFile(path, before ?? '')
  const certificates =
    before === undefined || before === ''
      ? listCertificates(view.list(directory), wish.newCertificates ?? [])
      : noCertificates
  const edits = file.statements.length === 0 ? fillHosts(file, wish, certificates) : addHost(file, wish)
  return edits.length === 0 ? undefined : { path, format: 'toml', before, edits, activation: 'nothing' }
}

/** The directory that is read for a registry: `reg_5000_` counts before `reg:5000`, as containerd looks for them. */
function findHostDirectory(view: ConfigView, parent: string, name: string): string {
  const colon = name.lastIndexOf(':')
  const underscored = `${name.slice(0, colon)}_${name.slice(colon + 1)}_`
  return colon > 0 && view.list(parent).includes(underscored)
    ? `${parent}/${underscored}`
    : `${parent}/${name}`
}

function describe(runtime: HostsWish['runtime']): string {
  return `# The Pantala dfdaemon of this host; put here by \`pantala setup ${runtime}\`, taken out by its --undo.`
}

function blockOf({ dfdaemon, runtime }: HostsWish): string[] {
  return [describe(runtime), `[host.${quoteToml(dfdaemon)}]`, '  capabilities = ["pull", "resolve"]']
}

interface Certificates {
  readonly ca: readonly string[]
  readonly client: readonly (readonly string[])[]
}

const noCertificates: Certificates = { ca: [], client: [] }

/** Certificates in Docker's layout. They are not looked at once a hosts.toml is there, so it must name them. */
function listCertificates(names: readonly string[], more: readonly string[]): Certificates {
  const client = names
    .filter(name => name.endsWith('.cert') && names.includes(`${name.slice(0, -5)}.key`))
    .map(name => [name, `${name.slice(0, -5)}.key`])
  return { ca: [...names.filter(name => name.endsWith('.crt')), ...more], client }
}

/** A file with no statement in it yet. */
function fillHosts(file: TomlFile, wish: HostsWish, { ca, client }: Certificates): TextEdit[] {
  const { registry } = wish
  // Plain HTTP must be said here; without it the runtime would fall back to TLS.
  const server = registry?.scheme === undefined ? undefined : `${registry.scheme}://${registry.name}`
  const list = (names: readonly string[]): string => `[${names.map(quoteToml).join(', ')}]`
  const top = [
    ...(server === undefined ? [] : [`server = ${quoteToml(server)}`]),
    ...(ca.length === 0 ? [] : [`ca = ${list(ca)}`]),
    ...(client.length === 0 ? [] : [`client = [${client.map(list).join(', ')}]`]),
  ]
  const edits = [
    insertLines(file.text, file.text.length, [...top, ...(top.length > 0 ? [''] : []), ...blockOf(wish)]),
  ]
  checkEdits(file, edits, {
    ...(server === undefined ? {} : { server }),
    ca,
    client,
    host: { [wish.dfdaemon]: ourHost },
  })
  return edits
}

const ourHost = { capabilities: ['pull', 'resolve'] }

/** A file that others wrote: the block goes before the first table, below what is said of `server`. */
function addHost(file: TomlFile, wish: HostsWish): TextEdit[] {
  const hosts = treeAt(file.tree, ['host'])
  const names = typeof hosts === 'object' && hosts !== null ? Object.keys(hosts) : []
  const index = names.findIndex(name => name.replace(/\/+$/, '') === wish.dfdaemon)
  if (index >= 0) {
    if (index === 0 && servesPulls((hosts as TomlTree)[names[0]!])) return []
    throw new PantalaError('SETUP_CONFLICT', {
      detail: `${file.path} names ${wish.dfdaemon} already, but ${index > 0 ? 'behind others' : 'not for both pull and resolve'}; take that block out or mend it`,
    })
  }
  const table = file.statements.find(statement => statement.kind !== 'pair')
  const offset = table === undefined ? file.text.length : startOfComment(file.text, table.start)
  const lines = blockOf(wish)
  const edit = insertLines(
    file.text,
    offset,
    table === undefined ? (file.text.trim() === '' ? lines : ['', ...lines]) : [...lines, ''],
  )
  const after = checkEdits(file, [edit], {
    ...file.tree,
    host: { ...(hosts as object | undefined), [wish.dfdaemon]: ourHost },
  })
  if (Object.keys(after['host'] as object)[0] !== wish.dfdaemon) {
    const first = file.statements.find(statement => statement.path[0] === 'host')!
    throw new PantalaError('SETUP_CONFLICT', {
      detail: `${placeOf(file, first.start)}: hosts that are not tables of their own come first whatever follows; write them as [host."…"]`,
    })
  }
  return [edit]
}

function servesPulls(host: unknown): boolean {
  const capabilities = treeAt(host, ['capabilities'])
  if (capabilities === undefined) return true
  return Array.isArray(capabilities) && ['pull', 'resolve'].every(one => capabilities.includes(one))
}

/** Where the comment lines begin that stand right above a line. */
function startOfComment(text: string, start: number): number {
  const top = byteOrderMark(text).length
  let offset = start
  while (offset > top) {
    const lineStart = Math.max(top, text.lastIndexOf('\n', offset - 2) + 1)
    if (!/^[ \t]*#/.test(text.slice(lineStart, offset))) return offset
    offset = lineStart
  }
  return offset
}
