// The runtime's files as they would be without Pantala: those of the record are taken back in memory, all others are read as they are.
import { PantalaError } from '../../shared/errors.ts'
import type { ConfigView } from './plan.ts'
import type { FoundFile, RootedFiles } from './rooted-files.ts'
import { takeBackDaemonJson } from './runtimes/daemon-json.ts'
import { type FileRecord, hashOf, type RecordStore, type SetupRecord } from './setup-record.ts'
import { jsonValue, readJson } from './text/json-text.ts'
import { compareLeaves, isReverse, listLeaves } from './text/leaves.ts'
import { applyEdits, takeBackEdits } from './text/text-edits.ts'
import { parseToml } from './text/toml-text.ts'

/** One file of the record, without Pantala. */
export interface BaseFile {
  /** Undefined: no file. */
  readonly found: FoundFile | undefined
  /** True if Pantala's part could not be taken out; `found` is then the file as it is now. */
  readonly isStuck: boolean
}

export class BaseFiles implements ConfigView {
  readonly #files: RootedFiles
  readonly #bases = new Map<string, BaseFile>()
  readonly #directories: ReadonlySet<string>

  /** With `force`, a file that Pantala's part can't be taken out of is as it was before, without what others changed. */
  constructor(files: RootedFiles, store: RecordStore, record: SetupRecord, force: boolean) {
    this.#files = files
    this.#directories = new Set(record.directories)
    for (const file of record.files) this.#bases.set(file.path, findBase(files, store, file, force))
  }

  find(path: string): FoundFile | undefined {
    const base = this.#bases.get(path)
    return base === undefined ? this.#files.read(path) : base.found
  }

  get stuck(): string[] {
    return [...this.#bases].filter(([, base]) => base.isStuck).map(([path]) => path)
  }

  read(path: string): string | undefined {
    const found = this.find(path)
    return found === undefined ? undefined : decodeText(path, found.bytes)
  }

  list(directory: string): string[] {
    return this.#files.list(directory).filter(name => !this.#isOurs(`${directory}/${name}`))
  }

  #isOurs(path: string): boolean {
    const base = this.#bases.get(path)
    if (base !== undefined) return base.found === undefined
    // A directory that set-up made, and that holds nothing else, is as good as not there.
    return this.#directories.has(path) && this.list(path).length === 0
  }
}

/** @throws PantalaError SETUP_CONFIG_INVALID if it is no UTF-8 */
export function decodeText(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (error) {
    throw new PantalaError('SETUP_CONFIG_INVALID', { detail: `${path}: it is not UTF-8 text`, cause: error })
  }
}

function findBase(files: RootedFiles, store: RecordStore, record: FileRecord, force: boolean): BaseFile {
  const now = files.read(record.path)
  const { before } = record
  const sha256 = now === undefined ? undefined : hashOf(now.bytes)
  const isOurs =
    sha256 === record.after.sha256 || (sha256 !== undefined && record.superseded.includes(sha256))
  // Gone, or what it was before: there is nothing of ours in it.
  if (now === undefined || sha256 === before?.sha256) return { found: now, isStuck: false }
  const text = isOurs ? undefined : takeOut(now.bytes, store, record)
  if (text === undefined && !isOurs && !force) return { found: now, isStuck: true }
  if (text === undefined) {
    if (before === undefined) return { found: undefined, isStuck: false }
    // Somebody may have changed rights and owner since; those stay.
    const mode = now.mode === record.after.mode ? before.mode : now.mode
    return { found: { bytes: store.readBackup(record)!, mode, owner: now.owner }, isStuck: false }
  }
  if (text === '' && before === undefined) return { found: undefined, isStuck: false }
  return { found: { ...now, bytes: Buffer.from(text) }, isStuck: false }
}

/** What others left of a file they changed, without Pantala's part; undefined if that can't be told exactly. */
function takeOut(bytes: Uint8Array, store: RecordStore, record: FileRecord): string | undefined {
  if (record.format === 'whole') return undefined
  try {
    const text = decodeText(record.path, bytes)
    const backup = store.readBackup(record)
    const before = backup === undefined ? undefined : decodeText(record.path, backup)
    const after = applyEdits(before ?? '', record.edits)
    const results = [
      takeBackEdits(text, record.edits),
      record.format === 'json' ? takeBackDaemonJson(text, before, after) : undefined,
    ]
    const parse = record.format === 'json' ? parseJson : parseToml
    const leaves = (one: string) => listLeaves(parse(one))
    const done = compareLeaves(leaves(before ?? ''), leaves(after))
    return results.find(
      result => result !== undefined && isReverse(compareLeaves(leaves(text), leaves(result)), done),
    )
  } catch {
    // It is no longer a document at all, or not one that was kept.
    return undefined
  }
}

function parseJson(text: string): unknown {
  return text.trim() === '' ? {} : jsonValue(readJson(text))
}
