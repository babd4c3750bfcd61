// The level index of the store: per blob its geometry and state, and beside it the bits and hashes of its pieces. Says nothing about files.
import { rename, rm } from 'node:fs/promises'
import { Level } from 'level'
import { Bitfield } from '../../shared/bitfield.ts'
import { type Digest, isDigest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import { type Geometry, PIECE_HASH_BYTES, pieceCount } from '../../shared/piece.ts'
import { checkGeometry } from './geometry-check.ts'
import type { StoredBlob } from './stored-blob.ts'

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
  /** Writes go one after another: level does not keep the order of batches that are asked for at once. */
  #written: Promise<unknown> = Promise.resolve()

  constructor(directory: string) {
    this.#directory = directory
    this.#db = makeDb(directory)
  }

  /**
   * Opens the index and reads which blobs it knows; one that is broken is set aside and a new one begun.
   * @throws PantalaError DATA_DIR_UNUSABLE if another process has it, or it can't be made
   */
  async open(): Promise<{ broken: boolean; blobs: IndexedBlob[] }> {
    try {
      await this.#db.open()
      return { broken: false, blobs: await this.#readBlobs() }
    } catch (error) {
      const code = levelCode(error)
      if (code === 'LEVEL_LOCKED') throw this.#unusable('is in use by another process', error)
      if (code !== 'LEVEL_CORRUPTION') throw this.#unusable((error as Error).message, error)
      await this.#beginAnew()
      return { broken: true, blobs: [] }
    }
  }

  async close(): Promise<void> {
    await this.#written
    await this.#db.close()
  }

  async #readBlobs(): Promise<IndexedBlob[]> {
    const blobs: IndexedBlob[] = []
    for await (const [key, value] of this.#db.iterator({ gte: 'm:', lt: 'm;' })) {
      const blob = readMeta(key.slice(2), value)
      if (blob !== undefined) blobs.push(blob)
    }
    return blobs
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

  /** Records blobs as they are when their turn comes, all or none of them. `sync`: on the disk on return. */
  record(blobs: readonly StoredBlob[], sync: boolean): Promise<void> {
    return this.#write(() => blobs.filter(blob => !blob.forgotten).flatMap(putsOf), sync)
  }

  forget(digests: readonly Digest[]): Promise<void> {
    return this.#write(
      () =>
        digests.flatMap(digest => [
          { type: 'del' as const, key: `m:${digest}` },
          { type: 'del' as const, key: `h:${digest}` },
        ]),
      true,
    )
  }

  #write(makeBatch: () => Change[], sync: boolean): Promise<void> {
    const run = this.#written.then(async () => {
      const batch = makeBatch()
      if (batch.length > 0) await this.#db.batch(batch, { sync })
    })
    this.#written = run.catch(() => {})
    return run
  }

  async #beginAnew(): Promise<void> {
    const aside = `${this.#directory}.broken`
    try {
      await this.#db.close().catch(() => {})
      await rm(aside, { recursive: true, force: true })
      await rename(this.#directory, aside)
      this.#db = makeDb(this.#directory)
      await this.#db.open()
    } catch (error) {
      throw this.#unusable((error as Error).message, error)
    }
  }

  #unusable(why: string, cause: unknown): PantalaError {
    return new PantalaError('DATA_DIR_UNUSABLE', { detail: `${this.#directory}: ${why}`, cause })
  }
}

type Change = { type: 'put'; key: string; value: Buffer } | { type: 'del'; key: string }

function putsOf(blob: StoredBlob): Change[] {
  const meta: Change = { type: 'put', key: `m:${blob.digest}`, value: writeMeta(blob) }
  if (blob.hashes === undefined) return [meta]
  return [meta, { type: 'put', key: `h:${blob.digest}`, value: writePieces(blob) }]
}

function makeDb(directory: string): Level<string, Buffer> {
  return new Level(directory, { keyEncoding: 'utf8', valueEncoding: 'buffer', cacheSize: 1024 * 1024 })
}

/** Level wraps the reason of a failure; the innermost code says what it was. */
function levelCode(error: unknown): string | undefined {
  let code: string | undefined
  for (let at = error; at instanceof Error; at = at.cause) code = (at as { code?: string }).code ?? code
  return code
}

function writeMeta({ size, pieceSize, trusted, usedAt }: StoredBlob): Buffer {
  return Buffer.from(JSON.stringify({ size, pieceSize, complete: trusted, usedAt }))
}

function readMeta(digest: string, value: Buffer): IndexedBlob | undefined {
  try {
    const { size, pieceSize, complete, usedAt } = JSON.parse(value.toString()) as IndexedBlob
    if (!isDigest(digest)) return undefined
    checkGeometry({ size, pieceSize })
    return { digest, size, pieceSize, complete: complete === true, usedAt: Number(usedAt) || 0 }
  } catch {
    return undefined
  }
}

/** Pieces that still wait to be hashed again after a start stay on record. */
function writePieces(blob: StoredBlob): Buffer {
  const bits = Buffer.from(blob.have.bytes)
  if (blob.claims !== undefined) for (const [at, byte] of blob.claims.bytes.entries()) bits[at]! |= byte
  return Buffer.concat([bits, blob.hashes!])
}
