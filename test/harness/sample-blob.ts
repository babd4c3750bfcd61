// Blobs with content of their own for tests, and a store filled with some of their pieces.
import { createHash } from 'node:crypto'
import type { BlobStore } from '../../dfdaemon/store/blob-store.ts'
import { type Digest, digestOf } from '../../shared/digest.ts'
import { type Geometry, pieceCount, pieceLength, pieceOffset } from '../../shared/piece.ts'
import { hashPiece } from '../../shared/piece-hash.ts'

export interface SoundBlob {
  readonly bytes: Uint8Array
  readonly digest: Digest
  readonly geometry: Geometry
  piece(piece: number): Uint8Array
}

/** A blob of a geometry that may be spread (pieces of 1 MiB and more), with bytes that differ everywhere. */
export function makeSoundBlob(seed: string, size: number, pieceSize = 1024 * 1024): SoundBlob {
  const bytes = Buffer.alloc(size)
  const block = createHash('shake256', { outputLength: 65_521 }).update(seed).digest()
  for (let at = 0; at < size; at += block.byteLength) block.copy(bytes, at)
  for (let at = 0; at < size; at += 4096) bytes.writeUInt32LE(at >>> 12, Math.min(at, Math.max(0, size - 4)))
  const geometry = { size, pieceSize }
  return {
    bytes,
    digest: digestOf(bytes),
    geometry,
    piece: piece => {
      const offset = pieceOffset(geometry, piece)
      return bytes.subarray(offset, offset + pieceLength(geometry, piece))
    },
  }
}

/** Puts pieces of the blob into a store; all of them unless named. */
export async function storePieces(
  store: BlobStore,
  blob: SoundBlob,
  pieces: Iterable<number> = Array(pieceCount(blob.geometry)).keys(),
): Promise<void> {
  const handle = await store.create(blob.digest, blob.geometry)
  for (const piece of pieces) await handle.writePiece(piece, blob.piece(piece), hashPiece(blob.piece(piece)))
  await handle.close()
}
