// Sets a runtime up, or takes a set-up back: reads what is there without Pantala, plans, and changes all files together.
import { posix } from 'node:path'
import { PantalaError } from '../../shared/errors.ts'
import { BaseFiles } from './base-files.ts'
import { changeFiles, type FileChange, isSame, reasonOf, removeDirectories } from './change-files.ts'
import {
  type Activation,
  activations,
  type Plan,
  type PlannedFile,
  type RuntimeName,
  type SetupOptions,
} from './plan.ts'
import type { FoundFile, RootedFiles } from './rooted-files.ts'
import { planContainerd } from './runtimes/containerd.ts'
import { planDocker } from './runtimes/docker.ts'
import { planRegistriesUsers } from './runtimes/registries.ts'
import {
  emptyRecord,
  type FileRecord,
  hashOf,
  RecordStore,
  type SetupRecord,
  supersede,
} from './setup-record.ts'
import { applyEdits } from './text/text-edits.ts'

/** Permission bits of new files under /etc. */
const fileMode = 0o644

export interface SetupRun {
  readonly runtime: RuntimeName
  /** Under the directory that stands for /. */
  readonly files: RootedFiles
  /** Undefined: take the set-up back. */
  readonly options: SetupOptions | undefined
  readonly dryRun: boolean
  /** Where others changed Pantala's part of a file, put back the bytes of before. */
  readonly force: boolean
}

export interface SetupResult {
  /** Files that change, or would. Record and copies are not among them. */
  readonly changes: readonly FileChange[]
  readonly notes: readonly string[]
  /** What makes the changes count. */
  readonly activation: Activation
  /** Runtimes whose set-up stands afterwards in the files concerned. */
  readonly standing: readonly RuntimeName[]
  /** True if the runtime was set up before. */
  readonly wasSetUp: boolean
}

/** @throws PantalaError SETUP_CONFIG_INVALID | SETUP_CONFLICT | SETUP_CHANGED_SINCE | SETUP_UNWRITABLE */
export function runSetup({ runtime, files, options, dryRun, force }: SetupRun): SetupResult {
  const store = new RecordStore(files, runtime)
  const record = store.read()
  const wasSetUp = record.uses[runtime] !== undefined
  if (options === undefined && !wasSetUp)
    return { changes: [], notes: [], activation: 'nothing', standing: namesOf(record.uses), wasSetUp }
  const base = new BaseFiles(files, store, record, force)
  const uses = { ...record.uses }
  if (options === undefined) delete uses[runtime]
  else uses[runtime] = options
  const standing = namesOf(uses)
  const plan = standing.length === 0 ? { files: [], notes: [] } : planUses(base, uses)
  const next = makeNext(base, record, plan)
  refuseStuck(base.stuck, plan, options !== undefined)

  const changes = listChanges(files, record, next.wanted)
  const activation = maxActivation([
    ...changes.map(
      ({ path }) =>
        plan.files.find(file => file.path === path)?.activation ??
        record.files.find(file => file.path === path)?.undoActivation ??
        'nothing',
    ),
    // podman may have written the same files before; only now does it matter that CRI-O reads them.
    runtime === 'crio' && !wasSetUp ? 'reload' : 'nothing',
  ])
  const notes = options === undefined ? [] : plan.notes
  const result = { changes, notes, activation, standing, wasSetUp }
  if (dryRun) return result
  const nextRecord: SetupRecord = { version: 1, uses, files: next.files, directories: record.directories }
  if (standing.length === 0) takeBack(files, store, record, changes)
  else if (changes.length > 0 || JSON.stringify(nextRecord) !== JSON.stringify(record))
    put(files, store, record, nextRecord, next.backups, changes)
  return result
}

function namesOf(uses: SetupRecord['uses']): RuntimeName[] {
  return Object.keys(uses) as RuntimeName[]
}

function planUses(base: BaseFiles, uses: SetupRecord['uses']): Plan {
  const { docker, containerd } = uses
  if (docker !== undefined) return planDocker(base, docker)
  if (containerd !== undefined) return planContainerd(base, containerd)
  const users = (['podman', 'crio'] as const).flatMap(runtime => {
    const options = uses[runtime]
    return options === undefined ? [] : [{ runtime, options }]
  })
  return planRegistriesUsers(base, users)
}

interface NextState {
  /** What each file that Pantala has or had a part in should be. */
  readonly wanted: ReadonlyMap<string, FoundFile | undefined>
  readonly files: readonly FileRecord[]
  readonly backups: ReadonlyMap<string, Uint8Array>
}

function makeNext(base: BaseFiles, record: SetupRecord, plan: Plan): NextState {
  const wanted = new Map<string, FoundFile | undefined>()
  const backups = new Map<string, Uint8Array>()
  const stuck = new Set(base.stuck)
  for (const { path } of record.files) wanted.set(path, base.find(path))
  const files: FileRecord[] = record.files.filter(({ path }) => stuck.has(path))
  for (const file of plan.files) {
    const before = base.find(file.path)
    const bytes = Buffer.from(applyEdits(file.before ?? '', file.edits))
    const old = record.files.find(one => one.path === file.path)
    const mode = before?.mode ?? fileMode
    const owner = before?.owner ?? { uid: process.geteuid!(), gid: process.getegid!() }
    wanted.set(file.path, { bytes, mode, owner })
    files.push(recordOf(file, before, hashOf(bytes), mode, old))
    const backup = files.at(-1)!.before?.backup
    if (backup !== undefined) backups.set(backup, before!.bytes)
  }
  return { wanted, files, backups }
}

function recordOf(
  { path, format, edits, activation, undoActivation }: PlannedFile,
  before: FoundFile | undefined,
  after: string,
  mode: number,
  old: FileRecord | undefined,
): FileRecord {
  const sha256 = before === undefined ? '' : hashOf(before.bytes)
  const same = old?.after.sha256 === after && old.before?.sha256 === (before && sha256)
  const backup = `${hashOf(Buffer.from(path)).slice(0, 16)}-${sha256.slice(0, 16)}`
  return {
    path,
    existed: before !== undefined,
    ...(before === undefined ? {} : { before: { sha256, mode: before.mode, owner: before.owner, backup } }),
    after: { sha256: after, mode },
    superseded: same ? old.superseded : supersede(old),
    format,
    edits,
    undoActivation: undoActivation ?? activation,
  }
}

/** A file that others changed so that ours can't be told apart is left alone if nothing is wanted of it, and refused else. */
function refuseStuck(stuck: readonly string[], plan: Plan, isSetup: boolean): void {
  const concerned = isSetup ? stuck.filter(path => plan.files.some(file => file.path === path)) : stuck
  if (concerned.length > 0) throw new PantalaError('SETUP_CHANGED_SINCE', { detail: concerned.join(', ') })
}

function listChanges(
  files: RootedFiles,
  record: SetupRecord,
  wanted: ReadonlyMap<string, FoundFile | undefined>,
): FileChange[] {
  return [...wanted].flatMap(([path, to]) => {
    const from = files.read(path)
    if (isSame(from, to)) return []
    const ours = record.files.find(file => file.path === path && !file.existed)
    // A file of our own keeps the rights and owner that somebody gave it since.
    const kept =
      ours !== undefined && from !== undefined && to !== undefined ? { ...from, bytes: to.bytes } : to
    return isSame(from, kept) ? [] : [{ path, from, to: kept }]
  })
}

function maxActivation(all: readonly Activation[]): Activation {
  return activations[Math.max(0, ...all.map(one => activations.indexOf(one)))]!
}

/** The record is on disk before the first file changes, so that a run that is cut off can be taken back. */
function put(
  files: RootedFiles,
  store: RecordStore,
  old: SetupRecord,
  next: SetupRecord,
  backups: NextState['backups'],
  changes: readonly FileChange[],
): void {
  const made: string[] = []
  let directories: readonly string[] = []
  // Files that Pantala has a part in no longer are known until they are as before.
  const dropped = old.files.filter(file => !next.files.some(({ path }) => path === file.path))
  try {
    const missing = changes.flatMap(({ path, to }) =>
      to === undefined ? [] : files.missingDirectories(posix.dirname(path)),
    )
    store.prepare(made)
    directories = [...new Set([...old.directories, ...made, ...missing])]
    store.write({ ...next, files: [...next.files, ...dropped], directories }, backups)
    changeFiles(files, changes)
  } catch (error) {
    restoreRecord(files, store, old, made)
    throw toUnwritable(error, store.directory)
  }
  removeDirectories(files, old.directories)
  try {
    if (dropped.length > 0) store.write({ ...next, directories }, new Map())
    store.dropBackups(next)
  } catch {
    // All that was wanted is done; a record that knows more than it must does no harm.
  }
}

function restoreRecord(
  files: RootedFiles,
  store: RecordStore,
  old: SetupRecord,
  made: readonly string[],
): void {
  try {
    if (old === emptyRecord) store.drop()
    else {
      store.write(old, new Map())
      store.dropBackups(old)
    }
    removeDirectories(files, made)
  } catch {
    // The error that led here is the one to tell; the record names what it did, and undo copes with files that are as before.
  }
}

function takeBack(
  files: RootedFiles,
  store: RecordStore,
  record: SetupRecord,
  changes: readonly FileChange[],
): void {
  changeFiles(files, changes)
  removeDirectories(files, record.directories)
  // From here on there is nothing to take back, whatever happens to the record.
  try {
    store.drop()
  } catch (error) {
    throw toUnwritable(error, store.directory)
  }
  removeDirectories(files, record.directories)
  try {
    store.handOver(record.directories)
  } catch {
    // Then an empty directory may stay for ever; the undo itself is done.
  }
}

function toUnwritable(error: unknown, path: string): PantalaError {
  if (error instanceof PantalaError) return error
  return new PantalaError('SETUP_UNWRITABLE', { detail: `${path}: ${reasonOf(error)}`, cause: error })
}
