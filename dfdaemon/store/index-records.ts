// What the index's records look like, sealed so that rot in one is noticed: level does not check its own sums when it reads. No I/O.
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import { type Geometry, PIECE_HASH_BYTES, pieceCount } from '../../shared/piece.ts'
import { hashPiece } from '../../shared/piece-hash.ts'
import { isTaskKey } from '../../shared/task-key.ts'
import { checkGeometry } from './geometry-check.ts'
import type { StoredBlob } from './stored-blob.ts'

/** Of a BLAKE3 hash over key and value, at the end of every value. */
const SEAL_BYTES = 8

export interface IndexedBlob extends Geometry {
  readonly digest: Digest
  readonly complete: boolean
  readonly usedAt: number
}

export interface IndexedPieces {
  readonly have: Bitfield
  readonly hashes: Buffer
}

export interface IndexRecord {
  readonly key: string
  readonly value: Buffer
}

/** Range of the keys under which geometry, state and last use are. */
export const blobKeys = { gte: 'm:', lt: 'm;' }

/** Keys of all records of a blob. */
export function keysOf(digest: Digest): [blob: string, pieces: string] {
  return [`m:${digest}`, `h:${digest}`]
}

/** The records of a blob as it is now; those of its pieces only if their hashes are loaded. */
export function writeRecords(blob: StoredBlob): IndexRecord[] {
  const { digest, size, pieceSize, trusted, usedAt } = blob
  const [blobKey, piecesKey] = keysOf(digest)
  const meta = Buffer.from(JSON.stringify({ size, pieceSize, complete: trusted, usedAt }))
  const records = [seal(blobKey, meta)]
  if (blob.hashes !== undefined) records.push(seal(piecesKey, blob.recordedBits, blob.hashes))
  return records
}

/** Undefined if the record is none of ours, or rotten. */
export function readBlobRecord(key: string, value: Buffer): IndexedBlob | undefined {
  const digest = key.slice(blobKeys.gte.length)
  const meta = unseal(key, value)
  if (meta === undefined || !isTaskKey(digest)) return undefined
  try {
    const { size, pieceSize, complete, usedAt } = JSON.parse(meta.toString()) as IndexedBlob
    checkGeometry({ size, pieceSize })
    return { digest, size, pieceSize, complete: complete === true, usedAt: Number(usedAt) || 0 }
  } catch {
    return undefined
  }
}

/** Bits and hashes; undefined if the record is rotten or does not fit the geometry. */
export function readPiecesRecord(key: string, value: Buffer, geometry: Geometry): IndexedPieces | undefined {
  const pieces = unseal(key, value)
  const count = pieceCount(geometry)
  const bitBytes = Math.ceil(count / 8)
  if (pieces?.byteLength !== bitBytes + count * PIECE_HASH_BYTES) return undefined
  return {
    have: new Bitfield(count, pieces.subarray(0, bitBytes)),
    hashes: Buffer.from(pieces.subarray(bitBytes)),
  }
}

function seal(key: string, ...parts: readonly Uint8Array[]): IndexRecord {
  const sum = hashPiece(Buffer.concat([Buffer.from(key), ...parts])).subarray(0, SEAL_BYTES)
  return { key, value: Buffer.concat([...parts, sum]) }
}

function unseal(key: string, value: Buffer): Buffer | undefined {
  const end = value.byteLength - SEAL_BYTES
  if (end < 0) return undefined
  const body = value.subarray(0, end)
  const sum = hashPiece(Buffer.concat([Buffer.from(key), body])).subarray(0, SEAL_BYTES)
  return Buffer.compare(sum, value.subarray(end)) === 0 ? body : undefined
}
