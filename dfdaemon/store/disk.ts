// The few file operations the store is made of, as an interface, so that tests can fail each one or stop the world between two.
import fs from 'node:fs'
import { toPantalaError } from '../../shared/errors.ts'

/** Paths are absolute; errors are Node's own, with their `code`. */
export interface Disk {
  /** Makes a directory and those above it. */
  makeDirectory(path: string): Promise<void>
  /** Names in a directory; none if it is not there. */
  listDirectory(path: string): Promise<string[]>
  /** Makes a sparse file of `size` bytes, or empties the one that is there, open for reading and writing. */
  createFile(path: string, size: number): Promise<number>
  /** Opens a file that is there for reading and writing. */
  openFile(path: string): Promise<number>
  closeFile(fd: number): Promise<void>
  /** Fills `into` from `position`; rejects if the file ends before. */
  read(fd: number, into: Uint8Array, position: number): Promise<void>
  /** Writes all of `bytes` at `position`. */
  write(fd: number, bytes: Uint8Array, position: number): Promise<void>
  /** Data, and what is needed to read it back, are on the disk on return. */
  sync(fd: number): Promise<void>
  /** Names made or changed in a directory are on the disk on return. */
  syncDirectory(path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  /** Removes a file; does no harm if it is not there. */
  removeFile(path: string): Promise<void>
  /** Length in bytes and when it was last changed, in ms since 1970. */
  fileStat(path: string): Promise<{ size: number; changedAt: number }>
  /** Bytes that an unprivileged process may still write. */
  freeBytes(path: string): Promise<number>
}

/** The machine's disk. Callback calls on bare descriptors: half the cost of FileHandle for small reads. */
export const nodeDisk: Disk = {
  makeDirectory: async path => void (await fs.promises.mkdir(path, { recursive: true })),

  listDirectory: path =>
    fs.promises.readdir(path).catch(error => {
      if (error.code === 'ENOENT') return []
      throw error
    }),

  async createFile(path, size) {
    const fd = await openFd(path, 'w+')
    await settle(done => fs.ftruncate(fd, size, done)).catch(error => {
      fs.close(fd)
      throw error
    })
    return fd
  },

  openFile: path => openFd(path, 'r+'),

  closeFile: fd => settle(done => fs.close(fd, done)),

  read: (fd, into, position) =>
    new Promise((resolve, reject) => {
      let filled = 0
      const readOn = (): void =>
        fs.read(fd, into, filled, into.byteLength - filled, position + filled, (error, count) => {
          if (error) return reject(error)
          filled += count
          if (filled === into.byteLength) return resolve()
          if (count === 0)
            return reject(new Error(`the file ends ${into.byteLength - filled} bytes too soon`))
          readOn()
        })
      readOn()
    }),

  write: (fd, bytes, position) =>
    new Promise((resolve, reject) => {
      let written = 0
      const writeOn = (): void =>
        fs.write(fd, bytes, written, bytes.byteLength - written, position + written, (error, count) => {
          if (error) return reject(error)
          written += count
          if (written === bytes.byteLength) return resolve()
          writeOn()
        })
      writeOn()
    }),

  sync: fd => settle(done => fs.fdatasync(fd, done)),

  async syncDirectory(path) {
    const fd = await openFd(path, 'r')
    try {
      await settle(done => fs.fsync(fd, done))
    } finally {
      fs.close(fd)
    }
  },

  rename: (from, to) => fs.promises.rename(from, to),

  removeFile: path => fs.promises.rm(path, { force: true }),

  async fileStat(path) {
    const stat = await fs.promises.stat(path)
    return { size: stat.size, changedAt: Math.floor(stat.mtimeMs) }
  },

  async freeBytes(path) {
    const stat = await fs.promises.statfs(path)
    return stat.bavail * stat.bsize
  },
}

function openFd(path: string, flags: string): Promise<number> {
  return new Promise((resolve, reject) =>
    fs.open(path, flags, 0o600, (error, fd) => (error ? reject(error) : resolve(fd))),
  )
}

function settle(run: (done: (error?: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => run(error => (error ? reject(error) : resolve())))
}

/** Runs disk work. @throws PantalaError STORE_FULL | STORE_FAILED instead of Node's own errors */
export async function guardDisk<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw toPantalaError(error, code === 'ENOSPC' || code === 'EDQUOT' ? 'STORE_FULL' : 'STORE_FAILED')
  }
}
