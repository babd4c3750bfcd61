// The level index of the store: what is held of each blob, in the records of index-records.ts. Says nothing about files.
import { rename, rm, statfs } from 'node:fs/promises'
import { Level } from 'level'
import type { Digest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { Geometry } from '../../shared/piece.ts'
import {
  blobKeys,
  type IndexedBlob,
  type IndexedPieces,
  keysOf,
  readBlobRecord,
  readPiecesRecord,
  writeRecords,
} from './index-records.ts'
import type { StoredBlob } from './stored-blob.ts'

/** Opening writes what the log holds (4 MiB at most) into a table, in bytes: with less free space it is not tried. */
const REOPEN_FREE_BYTES_MIN = 8 * 1024 * 1024

export class PieceIndex {
  readonly #directory: string
  /** Made by `open`: level begins to open a database, and makes its directory, as soon as there is an object for it. */
  #opened: Level<string, Buffer> | undefined
  /** Writes go one after another: level does not keep the order of batches that are asked for at once. */
  #written: Promise<unknown> = Promise.resolve()
  /** A write failed: what level appends to its log from here on may be unreadable to the next run, or it takes nothing any more. */
  #isTorn = false
  #isClosed = false

  constructor(directory: string) {
    this.#directory = directory
  }

  get #db(): Level<string, Buffer> {
    if (this.#opened === undefined) throw new TypeError('the index is not open')
    return this.#opened
  }

  /**
   * Opens the index and reads which blobs it knows; one that is broken is set aside and a new one begun.
   * @throws PantalaError DATA_DIR_UNUSABLE if another process has it, or it can't be made
   */
  async open(): Promise<{ broken: boolean; blobs: IndexedBlob[] }> {
    try {
      this.#opened = makeDb(this.#directory)
      await this.#db.open()
      return { broken: false, blobs: await this.#readBlobs() }
    } catch (error) {
      if (levelReason(error).code === 'LEVEL_LOCKED')
        throw this.#unusable('is in use by another process', error)
      if (!isBroken(error)) throw this.#unusable(levelReason(error).message, error)
      await this.#beginAnew()
      return { broken: true, blobs: [] }
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#written
    await this.#opened?.close()
  }

  async #readBlobs(): Promise<IndexedBlob[]> {
    const blobs: IndexedBlob[] = []
    for await (const [key, value] of this.#db.iterator(blobKeys)) {
      const blob = readBlobRecord(key, value)
      if (blob !== undefined) blobs.push(blob)
    }
    return blobs
  }

  /** Bits and hashes; undefined if there are none, they are rotten or they don't fit the geometry. */
  async pieces(digest: Digest, geometry: Geometry): Promise<IndexedPieces | undefined> {
    const [, key] = keysOf(digest)
    try {
      const value = await this.#db.get(key)
      return value && readPiecesRecord(key, value, geometry)
    } catch (error) {
      const isReopening = this.#isTorn && levelReason(error).code === 'LEVEL_DATABASE_NOT_OPEN'
      if (isReopening || isBroken(error)) return undefined
      throw error
    }
  }

  /**
   * Records blobs as they are when their turn comes, all or none of them. `sync`: on the disk on return.
   * @throws PantalaError STORE_FULL | STORE_FAILED
   */
  record(blobs: readonly StoredBlob[], sync: boolean): Promise<void> {
    return this.#write(
      () =>
        blobs
          .filter(blob => !blob.forgotten)
          .flatMap(writeRecords)
          .map(record => ({ type: 'put' as const, ...record })),
      sync,
    )
  }

  /** @throws PantalaError STORE_FULL | STORE_FAILED */
  forget(digests: readonly Digest[]): Promise<void> {
    return this.#write(() => digests.flatMap(keysOf).map(key => ({ type: 'del' as const, key })), true)
  }

  #write(makeBatch: () => Change[], sync: boolean): Promise<void> {
    const run = this.#written.then(async () => {
      const batch = makeBatch()
      if (batch.length === 0) return
      try {
        if (this.#isTorn && !this.#isClosed) await this.#reopen()
        await this.#db.batch(batch, { sync })
      } catch (error) {
        this.#isTorn = true
        throw writeFailure(error)
      }
    })
    this.#written = run.catch(() => {})
    return run
  }

  /** Begins a new log, which is the way back from a write that failed. Readers meanwhile find no record. */
  async #reopen(): Promise<void> {
    const { bavail, bsize } = await statfs(this.#directory)
    if (bavail * bsize < REOPEN_FREE_BYTES_MIN)
      throw new PantalaError('STORE_FULL', { detail: 'the disk has no room for the index' })
    await this.#db.close()
    await this.#db.open()
    this.#isTorn = false
  }

  async #beginAnew(): Promise<void> {
    const aside = `${this.#directory}.broken`
    try {
      await this.#db.close().catch(() => {})
      await rm(aside, { recursive: true, force: true })
      await rename(this.#directory, aside)
      this.#opened = makeDb(this.#directory)
      await this.#db.open()
    } catch (error) {
      throw this.#unusable(levelReason(error).message, error)
    }
  }

  #unusable(why: string, cause: unknown): PantalaError {
    return new PantalaError('DATA_DIR_UNUSABLE', { detail: `${this.#directory}: ${why}`, cause })
  }
}

type Change = { type: 'put'; key: string; value: Buffer } | { type: 'del'; key: string }

function makeDb(directory: string): Level<string, Buffer> {
  return new Level(directory, { keyEncoding: 'utf8', valueEncoding: 'buffer', cacheSize: 1024 * 1024 })
}

/** Level wraps the reason of a failure; the innermost error says what it was. */
function levelReason(error: unknown): { code: string | undefined; message: string } {
  let code: string | undefined
  let message = String(error)
  for (let at = error; at instanceof Error; at = at.cause) {
    code = (at as { code?: string }).code ?? code
    message = at.message
  }
  return { code, message }
}

/**
 * True if the index itself is at fault, not the disk or the rights to it. Level calls a file that is missing, or too short to be mapped, an
 * I/O error and has no code for it; the directory around it is known to be there.
 */
function isBroken(error: unknown): boolean {
  const { code, message } = levelReason(error)
  return code === 'LEVEL_CORRUPTION' || /: (Invalid argument|No such file or directory)$/.test(message)
}

function writeFailure(error: unknown): PantalaError {
  if (error instanceof PantalaError) return error
  const { message } = levelReason(error)
  const isFull = /: (No space left on device|Disk quota exceeded)$/.test(message)
  return new PantalaError(isFull ? 'STORE_FULL' : 'STORE_FAILED', { detail: message, cause: error })
}
