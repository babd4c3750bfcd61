// Files under a root directory: symbolic links are followed as if the root were /, and writes are whole or not at all.
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  type Stats,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join, posix } from 'node:path'
import { PantalaError } from '../../shared/errors.ts'

/** Largest configuration file that is read. */
const FILE_BYTES_MAX = 4 * 1024 * 1024

/** Symbolic links followed for one path; as many as Linux does. */
const LINKS_MAX = 40

export interface Owner {
  readonly uid: number
  readonly gid: number
}

export interface FoundFile {
  readonly bytes: Buffer
  /** Permission bits. */
  readonly mode: number
  readonly owner: Owner
}

export interface FileToWrite {
  readonly bytes: Uint8Array
  readonly mode: number
  /** Undefined: whoever runs this. */
  readonly owner?: Owner
}

export class RootedFiles {
  readonly #root: string

  constructor(root: string) {
    this.#root = root
  }

  /**
   * Where a path lies on this machine. Links lead where they would inside the root, so none leads out of it.
   * @throws PantalaError SETUP_CONFIG_INVALID for a link that leads nowhere or in a circle
   */
  locate(path: string): string {
    return join(this.#root, this.#resolve(path))
  }

  /** @throws PantalaError SETUP_CONFIG_INVALID if it is no plain file, is too large or can't be read */
  read(path: string): FoundFile | undefined {
    const place = this.locate(path)
    let handle: number
    try {
      // A pipe would make this wait for somebody at its other end.
      handle = openSync(place, constants.O_RDONLY | constants.O_NONBLOCK)
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw refuseToRead(path, error)
    }
    try {
      const stats = fstatSync(handle)
      if (!stats.isFile()) throw new Error('it is no plain file')
      if (stats.size > FILE_BYTES_MAX) throw new Error(`it is larger than ${FILE_BYTES_MAX} bytes`)
      return {
        bytes: readFileSync(handle),
        mode: stats.mode & 0o7777,
        owner: { uid: stats.uid, gid: stats.gid },
      }
    } catch (error) {
      throw refuseToRead(path, error)
    } finally {
      closeSync(handle)
    }
  }

  /** Names in a directory, sorted; none if it is not there. */
  list(path: string): string[] {
    try {
      return readdirSync(this.locate(path)).sort()
    } catch (error) {
      if (isAbsent(error)) return []
      throw error instanceof PantalaError ? error : refuseToRead(path, error)
    }
  }

  /** Puts a file in place in one step: until then the old one stands, afterwards the new one is on disk. */
  write(path: string, { bytes, mode, owner }: FileToWrite): void {
    const place = this.locate(path)
    const draft = join(dirname(place), `.${basename(place)}.pantala-${randomBytes(6).toString('hex')}`)
    const handle = openSync(draft, 'wx', 0o600)
    try {
      try {
        for (let done = 0; done < bytes.length; ) done += writeSync(handle, bytes, done)
        if (owner !== undefined) changeOwner(handle, owner)
        fchmodSync(handle, mode)
        fsyncSync(handle)
      } finally {
        closeSync(handle)
      }
      renameSync(draft, place)
    } catch (error) {
      unlinkSync(draft)
      throw error
    }
    syncDirectory(dirname(place))
  }

  remove(path: string): void {
    const place = this.locate(path)
    unlinkSync(place)
    syncDirectory(dirname(place))
  }

  /** Makes a directory and those above it, and adds those that were missing to `made`, outermost first. */
  makeDirectory(path: string, mode: number, made: string[]): void {
    const place = this.locate(path)
    const found = statOf(place)
    if (found?.isDirectory()) return
    if (found !== undefined) throw new Error(`${path} is no directory`)
    if (path !== '/') this.makeDirectory(posix.dirname(path), mode, made)
    mkdirSync(place, { mode })
    made.push(path)
  }

  /** This directory and those above it that are not there, outermost first. */
  missingDirectories(path: string): string[] {
    return this.hasDirectory(path) ? [] : [...this.missingDirectories(posix.dirname(path)), path]
  }

  hasDirectory(path: string): boolean {
    return statOf(this.locate(path))?.isDirectory() === true
  }

  /** Removes a directory if it is there and empty. */
  removeEmptyDirectory(path: string): void {
    try {
      rmdirSync(this.locate(path))
    } catch (error) {
      if (!isAbsent(error) && !['ENOTEMPTY', 'EEXIST'].includes(codeOf(error))) throw error
    }
  }

  #resolve(path: string): string {
    let rest = path.split('/').filter(isPart)
    let found = '/'
    let links = 0
    /** The link followed last, and how many parts are left behind its target. */
    let link: { readonly path: string; readonly behind: number } | undefined
    while (rest.length > 0) {
      const [part, ...others] = rest as [string, ...string[]]
      rest = others
      if (part === '..') {
        found = posix.dirname(found)
        continue
      }
      const next = posix.join(found, part)
      const stats = statOf(join(this.#root, next))
      if (stats?.isSymbolicLink()) {
        if (++links > LINKS_MAX) throw refuseToRead(path, new Error('symbolic links lead in a circle'))
        link = { path: next, behind: others.length }
        const target = readlinkSync(join(this.#root, next))
        if (target.startsWith('/')) found = '/'
        rest = [...target.split('/').filter(isPart), ...others]
        continue
      }
      // What lies beyond a link's target may be new; the target itself may not.
      if (stats === undefined && link !== undefined && others.length >= link.behind)
        throw refuseToRead(path, new Error(`${link.path} is a symbolic link to what is not there`))
      found = next
    }
    return found
  }
}

function isPart(part: string): boolean {
  return part !== '' && part !== '.'
}

function statOf(place: string): Stats | undefined {
  try {
    return lstatSync(place)
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}

function changeOwner(handle: number, { uid, gid }: Owner): void {
  const stats = fstatSync(handle)
  if (stats.uid !== uid || stats.gid !== gid) fchownSync(handle, uid, gid)
}

function syncDirectory(place: string): void {
  const handle = openSync(place, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

function refuseToRead(path: string, error: unknown): PantalaError {
  if (error instanceof PantalaError) return error
  return new PantalaError('SETUP_CONFIG_INVALID', {
    detail: `${path}: ${(error as Error).message}`,
    cause: error,
  })
}

function isAbsent(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(codeOf(error))
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? ''
}
