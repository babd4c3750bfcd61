// The level index of the store: per blob its geometry and state, and beside it the bits and hashes of its pieces. Says nothing about files.
import { rename, rm } from 'node:fs/promises'
import { Level } from 'level'
import { Bitfield } from '../../shared/bitfield.ts'
import { type Digest, isDigest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import { type Geometry, PIECE_HASH_BYTES, pieceCount } from '../../shared/piece.ts'
import type { StoredBlob } from './stored-blob.ts'

/** Present in every index this code made; its absence means that the index was lost. */
const FORMAT_KEY = 'format'
const FORMAT = Buffer.from('1')

export interface IndexedBlob extends Geometry {
  readonly digest: Digest
  readonly complete: boolean
  readonly usedAt: number
}

export interface IndexedPieces {
  readonly have: Bitfield
  readonly hashes: Buffer
}

export class PieceIndex {
  readonly #directory: string
  #db: Level<string, Buffer>

  constructor(directory: string) {
    this.#directory = directory
    this.#db = makeDb(directory)
  }

  /**
   * Opens the index; one that is broken is set aside and a new one begun. True if it is new, so that what lies on disk must be found again.
   * @throws PantalaError DATA_DIR_UNUSABLE if another process has it, or it can't be made
   */
  async open(): Promise<boolean> {
    try {
      await this.#db.open()
    } catch (error) {
      if (isLocked(error)) {
        throw new PantalaError('DATA_DIR_UNUSABLE', {
          detail: `${this.#directory} is in use by another process`,
          cause: error,
        })
      }
      await this.#beginAnew(error)
    }
    const isNew = (await this.#db.get(FORMAT_KEY)) === undefined
    if (isNew) await this.#db.put(FORMAT_KEY, FORMAT, { sync: true })
    return isNew
  }

  async close(): Promise<void> {
    await this.#db.close()
  }

  async *blobs(): AsyncGenerator<IndexedBlob> {
    for await (const [key, value] of this.#db.iterator({ gte: 'm:', lt: 'm;' })) {
      const blob = readMeta(key.slice(2), value)
      if (blob !== undefined) yield blob
    }
  }

  /** Bits and hashes; undefined if there are none or they don't fit the geometry. */
  async pieces(digest: Digest, geometry: Geometry): Promise<IndexedPieces | undefined> {
    const value = await this.#db.get(`h:${digest}`)
    const count = pieceCount(geometry)
    const bitBytes = Math.ceil(count / 8)
    if (value === undefined || value.byteLength !== bitBytes + count * PIECE_HASH_BYTES) return undefined
    return {
      have: new Bitfield(count, value.subarray(0, bitBytes)),
      hashes: Buffer.from(value.subarray(bitBytes)),
    }
  }

  /** Records blobs as they are now, all or none of them. `sync`: on the disk on return. */
  async record(blobs: Iterable<StoredBlob>, sync: boolean): Promise<void> {
    const batch = [...blobs].flatMap(blob => [
      { type: 'put' as const, key: `m:${blob.digest}`, value: writeMeta(blob) },
      ...(blob.hashes === undefined
        ? []
        : [{ type: 'put' as const, key: `h:${blob.digest}`, value: writePieces(blob) }]),
    ])
    if (batch.length > 0) await this.#db.batch(batch, { sync })
  }

  /** Records only when blobs were used. */
  async recordUse(blobs: Iterable<StoredBlob>): Promise<void> {
    const batch = [...blobs].map(blob => ({
      type: 'put' as const,
      key: `m:${blob.digest}`,
      value: writeMeta(blob),
    }))
    if (batch.length > 0) await this.#db.batch(batch)
  }

  async forget(digests: Iterable<Digest>): Promise<void> {
    const batch = [...digests].flatMap(digest => [
      { type: 'del' as const, key: `m:${digest}` },
      { type: 'del' as const, key: `h:${digest}` },
    ])
    if (batch.length > 0) await this.#db.batch(batch, { sync: true })
  }

  async #beginAnew(cause: unknown): Promise<void> {
    const aside = `${this.#directory}.broken`
    try {
      await this.#db.close().catch(() => {})
      await rm(aside, { recursive: true, force: true })
      await rename(this.#directory, aside)
      this.#db = makeDb(this.#directory)
      await this.#db.open()
    } catch {
      throw new PantalaError('DATA_DIR_UNUSABLE', {
        detail: `${this.#directory}: ${(cause as Error).message}`,
        cause,
      })
    }
  }
}

function makeDb(directory: string): Level<string, Buffer> {
  return new Level(directory, { keyEncoding: 'utf8', valueEncoding: 'buffer', cacheSize: 1024 * 1024 })
}

function isLocked(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause)
    if ((at as { code?: string }).code === 'LEVEL_LOCKED') return true
  return false
}

function writeMeta({ size, pieceSize, complete, usedAt }: StoredBlob): Buffer {
  return Buffer.from(JSON.stringify({ size, pieceSize, complete, usedAt }))
}

function readMeta(digest: string, value: Buffer): IndexedBlob | undefined {
  try {
    const { size, pieceSize, complete, usedAt } = JSON.parse(value.toString()) as Record<string, unknown>
    const sound = isDigest(digest) && typeof size === 'number' && typeof pieceSize === 'number'
    if (!sound || pieceSize <= 0 || pieceCount({ size, pieceSize }) > 65_536) return undefined
    return { digest, size, pieceSize, complete: complete === true, usedAt: Number(usedAt) || 0 }
  } catch {
    return undefined
  }
}

function writePieces(blob: StoredBlob): Buffer {
  return Buffer.concat([blob.have.bytes, blob.hashes!])
}
