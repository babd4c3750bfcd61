// The record of a set-up under /var/lib/pantala/setup: which files it changed, what they were before, and how to take that back.
import { createHash } from 'node:crypto'
import { posix } from 'node:path'
import { PantalaError } from '../../shared/errors.ts'
import { type Activation, activations, type RuntimeName, runtimeNames, type SetupOptions } from './plan.ts'
import type { Owner, RootedFiles } from './rooted-files.ts'
import type { TextEdit } from './text/text-edits.ts'

const setupDirectory = '/var/lib/pantala/setup'

/** Hashes of earlier versions kept per file. */
const SUPERSEDED_MAX = 16

/** podman and CRI-O read the same files, so they share a record. */
export function recordNameOf(runtime: RuntimeName): string {
  return runtime === 'crio' || runtime === 'podman' ? 'registries' : runtime
}

export interface FileRecord {
  readonly path: string
  /** False: the file is Pantala's. */
  readonly existed: boolean
  /** Of the file as it was; absent if there was none. */
  readonly before?: {
    readonly sha256: string
    readonly mode: number
    readonly owner: Owner
    /** Name of the copy beside the record. */
    readonly backup: string
  }
  readonly after: { readonly sha256: string; readonly mode: number }
  /** Hashes of what earlier set-ups wrote, newest first: a run that was cut off may have left those. */
  readonly superseded: readonly string[]
  readonly format: 'json' | 'toml' | 'whole'
  readonly edits: readonly TextEdit[]
  /** What makes its undo count. */
  readonly undoActivation: Activation
}

export interface SetupRecord {
  readonly version: 1
  /** What was asked for, by runtime. */
  readonly uses: Readonly<Partial<Record<RuntimeName, SetupOptions>>>
  readonly files: readonly FileRecord[]
  /** Directories that were made, outermost first. */
  readonly directories: readonly string[]
}

export const emptyRecord: SetupRecord = { version: 1, uses: {}, files: [], directories: [] }

/** Keeps one record and the copies that go with it. */
export class RecordStore {
  readonly #files: RootedFiles
  readonly directory: string
  readonly #manifest: string

  constructor(files: RootedFiles, runtime: RuntimeName) {
    this.#files = files
    this.directory = `${setupDirectory}/${recordNameOf(runtime)}`
    this.#manifest = `${this.directory}/manifest.json`
  }

  /** @throws PantalaError SETUP_CONFIG_INVALID if it is damaged */
  read(): SetupRecord {
    const found = this.#files.read(this.#manifest)
    if (found === undefined) return emptyRecord
    try {
      return checkRecord(JSON.parse(found.bytes.toString()))
    } catch (error) {
      throw new PantalaError('SETUP_CONFIG_INVALID', {
        detail: `${this.#manifest}: ${(error as Error).message}`,
        cause: error,
      })
    }
  }

  /** The bytes of before. @throws PantalaError SETUP_CONFIG_INVALID if the copy is missing or not what was copied */
  readBackup(record: FileRecord): Buffer | undefined {
    if (record.before === undefined) return undefined
    const path = `${this.directory}/${record.before.backup}`
    const found = this.#files.read(path)
    if (found === undefined || hashOf(found.bytes) !== record.before.sha256)
      throw new PantalaError('SETUP_CONFIG_INVALID', {
        detail: `${path} is not the copy of ${record.path} that was kept there`,
      })
    return found.bytes
  }

  /** Makes its directory, and adds what was missing to `made`. */
  prepare(made: string[]): void {
    this.#files.makeDirectory(posix.dirname(posix.dirname(this.directory)), 0o755, made)
    this.#files.makeDirectory(this.directory, 0o700, made)
  }

  /** Writes the copies, then the record. */
  write(record: SetupRecord, backups: ReadonlyMap<string, Uint8Array>): void {
    for (const [name, bytes] of backups)
      this.#files.write(`${this.directory}/${name}`, { bytes, mode: 0o600 })
    const bytes = Buffer.from(`${JSON.stringify(record, undefined, 2)}\n`)
    this.#files.write(this.#manifest, { bytes, mode: 0o600 })
  }

  /** Removes copies that a record no longer names. */
  dropBackups(keep: SetupRecord): void {
    const kept = new Set(keep.files.map(file => file.before?.backup))
    for (const name of this.#files.list(this.directory)) {
      if (name !== 'manifest.json' && !kept.has(name)) this.#files.remove(`${this.directory}/${name}`)
    }
  }

  /** Removes the copies, then the record, then its directory: the record must not go before what it knows of. */
  drop(): void {
    const names = this.#files.list(this.directory).filter(name => name !== 'manifest.json')
    for (const name of [...names, 'manifest.json']) {
      const path = `${this.directory}/${name}`
      if (this.#files.read(path) !== undefined) this.#files.remove(path)
    }
    this.#files.removeEmptyDirectory(this.directory)
  }

  /** Directories that were made and still hold something are left to another record, if there is one. */
  handOver(directories: readonly string[]): void {
    const left = directories.filter(directory => this.#files.hasDirectory(directory))
    const other = runtimeNames
      .map(runtime => new RecordStore(this.#files, runtime))
      .find(store => store.directory !== this.directory && store.read() !== emptyRecord)
    if (other === undefined || left.length === 0) return
    const record = other.read()
    other.write({ ...record, directories: [...new Set([...left, ...record.directories])] }, new Map())
  }
}

export function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Hashes that Pantala left in this place before, for the record that replaces `old`. */
export function supersede(old: FileRecord | undefined): string[] {
  return old === undefined ? [] : [old.after.sha256, ...old.superseded].slice(0, SUPERSEDED_MAX)
}

function checkRecord(value: unknown): SetupRecord {
  const record = value as SetupRecord
  if (record?.version !== 1) throw new Error('it is of a version that this Pantala does not know')
  const isWhole =
    typeof record.uses === 'object' &&
    Array.isArray(record.directories) &&
    record.directories.every(isPath) &&
    Array.isArray(record.files) &&
    record.files.every(
      file =>
        isPath(file?.path) &&
        /^[0-9a-f]{64}$/.test(file.after?.sha256) &&
        Array.isArray(file.superseded) &&
        Array.isArray(file.edits) &&
        activations.includes(file.undoActivation) &&
        file.existed === (file.before !== undefined) &&
        (file.before === undefined || /^[a-z0-9-]+$/.test(file.before.backup)),
    )
  if (!isWhole) throw new Error('it is damaged')
  return record
}

function isPath(value: unknown): boolean {
  return typeof value === 'string' && value.startsWith('/')
}
