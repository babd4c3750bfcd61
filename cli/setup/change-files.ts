// Changes several files together: all of them, or none. What fails midway is rolled back.
import { dirname } from 'node:path/posix'
import { PantalaError } from '../../shared/errors.ts'
import type { FoundFile, RootedFiles } from './rooted-files.ts'

/** Permission bits of new directories under /etc. */
const directoryMode = 0o755

export interface FileChange {
  readonly path: string
  /** Undefined: not there now. */
  readonly from: FoundFile | undefined
  /** Undefined: to be removed. */
  readonly to: FoundFile | undefined
}

/**
 * Does the changes in order, with the directories they need.
 * @throws PantalaError SETUP_UNWRITABLE, with everything as it was before
 */
export function changeFiles(files: RootedFiles, changes: readonly FileChange[]): void {
  const made: string[] = []
  const done: FileChange[] = []
  let path = ''
  try {
    for (const change of changes) {
      path = change.path
      if (!isSame(files.read(path), change.from)) throw new Error('somebody else changed it just now')
      if (change.to !== undefined) files.makeDirectory(dirname(path), directoryMode, made)
      done.push(change)
      put(files, path, change.to)
    }
  } catch (error) {
    const left = rollBack(files, done, made)
    throw new PantalaError('SETUP_UNWRITABLE', {
      detail: [`${path}: ${reasonOf(error)}`, ...left].join('; '),
      cause: error,
    })
  }
}

/** Goes back as far as it can; says what it could not put back. */
function rollBack(files: RootedFiles, done: readonly FileChange[], made: readonly string[]): string[] {
  const left: string[] = []
  for (const { path, from } of done.toReversed()) {
    try {
      if (!isSame(files.read(path), from)) put(files, path, from)
    } catch (error) {
      left.push(`${path} could not be put back: ${reasonOf(error)}`)
    }
  }
  removeDirectories(files, made)
  return left
}

function put(files: RootedFiles, path: string, to: FoundFile | undefined): void {
  if (to !== undefined) files.write(path, to)
  else if (files.read(path) !== undefined) files.remove(path)
}

/** Removes those that are empty, innermost first; one that is in use stays. */
export function removeDirectories(files: RootedFiles, directories: readonly string[]): void {
  for (const directory of [...directories].sort((one, other) => other.length - one.length)) {
    try {
      files.removeEmptyDirectory(directory)
    } catch {
      // An empty directory that stays does no harm, and what matters was done.
    }
  }
}

export function isSame(one: FoundFile | undefined, other: FoundFile | undefined): boolean {
  if (one === undefined || other === undefined) return one === other
  return (
    one.bytes.equals(other.bytes) &&
    one.mode === other.mode &&
    one.owner.uid === other.owner.uid &&
    one.owner.gid === other.owner.gid
  )
}

/** Why the system refused, in words. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'EACCES' || code === 'EPERM') return `no permission (${code})`
  if (code === 'EROFS') return 'the file system is read-only (EROFS)'
  return message
}
