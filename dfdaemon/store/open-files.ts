// A bounded number of open descriptors for any number of blobs; the least recently used idle one is closed first.
import type { Disk } from './disk.ts'

/** A blob's file: where it is now, and its descriptor while it has one. Only OpenFiles writes to it, but for `path`. */
export class BlobFile {
  path: string
  fd = -1
  /** Reads and writes under way. */
  users = 0
  /** The file has no name any more: its descriptor is all there is and stays open. */
  unnamed = false
  opening: Promise<number> | undefined
  /** Those who wait for the last user to be done. */
  readonly idle: (() => void)[] = []

  constructor(path: string) {
    this.path = path
  }
}

export class OpenFiles {
  readonly #disk: Disk
  readonly #openFilesMax: number
  /** In order of use, oldest first. */
  readonly #open = new Set<BlobFile>()

  constructor(components: { disk: Disk }, init: { openFilesMax: number }) {
    this.#disk = components.disk
    this.#openFilesMax = init.openFilesMax
  }

  get count(): number {
    return this.#open.size
  }

  /** The descriptor, for one read or write; `release` when done. */
  use(file: BlobFile): number | Promise<number> {
    file.users++
    if (file.fd < 0) return this.#openFile(file)
    this.#open.delete(file)
    this.#open.add(file)
    return file.fd
  }

  release(file: BlobFile): void {
    file.users--
    if (file.users === 0) for (const wake of file.idle.splice(0)) wake()
  }

  async read(file: BlobFile, into: Uint8Array, position: number): Promise<void> {
    const fd = this.use(file)
    const opened = typeof fd === 'number' ? fd : await fd
    try {
      await this.#disk.read(opened, into, position)
    } finally {
      this.release(file)
    }
  }

  async write(file: BlobFile, bytes: Uint8Array, position: number): Promise<void> {
    const fd = this.use(file)
    const opened = typeof fd === 'number' ? fd : await fd
    try {
      await this.#disk.write(opened, bytes, position)
    } finally {
      this.release(file)
    }
  }

  async sync(file: BlobFile): Promise<void> {
    const fd = await this.use(file)
    try {
      await this.#disk.sync(fd)
    } finally {
      this.release(file)
    }
  }

  /** Takes over a descriptor that was just made. */
  adopt(file: BlobFile, fd: number): void {
    file.fd = fd
    this.#open.add(file)
    this.#closeSpare()
  }

  /** Closes the descriptor once nobody uses it; it is opened again on the next use. */
  async close(file: BlobFile): Promise<void> {
    if (file.users > 0) await new Promise<void>(resolve => file.idle.push(resolve))
    if (file.fd < 0 || file.users > 0) return
    const fd = file.fd
    file.fd = -1
    this.#open.delete(file)
    await this.#disk.closeFile(fd)
  }

  async closeAll(): Promise<void> {
    await Promise.allSettled([...this.#open].map(file => this.close(file)))
  }

  #openFile(file: BlobFile): Promise<number> {
    file.opening ??= this.#disk
      .openFile(file.path)
      .then(fd => {
        this.adopt(file, fd)
        return fd
      })
      .finally(() => {
        file.opening = undefined
      })
    return file.opening.catch(error => {
      this.release(file)
      throw error
    })
  }

  #closeSpare(): void {
    if (this.#open.size <= this.#openFilesMax) return
    for (const file of this.#open) {
      if (file.users > 0 || file.unnamed) continue
      this.close(file).catch(() => {})
      if (this.#open.size <= this.#openFilesMax) return
    }
  }
}
