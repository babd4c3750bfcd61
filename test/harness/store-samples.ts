// Small blobs with known bytes, and the few moves every test of a store makes with them.
import { createHash } from 'node:crypto'
import type { BlobHandle, BlobStore } from '../../dfdaemon/store/blob-store.ts'
import { type Digest, digestOf } from '../../shared/digest.ts'
import { type Geometry, pieceLength, pieceOffset } from '../../shared/piece.ts'
import { hashPiece } from '../../shared/piece-hash.ts'

export const KiB = 1024

/** A blob with content that depends on `seed` only. */
export interface SampleBlob {
  readonly digest: Digest
  readonly bytes: Uint8Array
  readonly geometry: Geometry
  piece(piece: number): Uint8Array
}

export function sampleBlob(seed: string, size = 10 * KiB, pieceSize = 4 * KiB): SampleBlob {
  const bytes = new Uint8Array(size)
  for (let at = 0, block = 0; at < size; block++) {
    const part = createHash('sha256')
      .update(`${seed}:${block}`)
      .digest()
      .subarray(0, size - at)
    bytes.set(part, at)
    at += part.byteLength
  }
  const geometry = { size, pieceSize }
  return {
    digest: digestOf(bytes),
    bytes,
    geometry,
    piece: piece =>
      bytes.subarray(
        pieceOffset(geometry, piece),
        pieceOffset(geometry, piece) + pieceLength(geometry, piece),
      ),
  }
}

export async function writePieces(
  handle: BlobHandle,
  blob: SampleBlob,
  pieces?: readonly number[],
): Promise<void> {
  for (const piece of pieces ?? Array.from({ length: handle.stat.have.length }, (_, index) => index))
    await handle.writePiece(piece, blob.piece(piece), hashPiece(blob.piece(piece)))
}

/** Stores a whole blob, unless it is there, and closes it. */
export async function storeBlob(store: BlobStore, blob: SampleBlob): Promise<void> {
  const handle = await store.create(blob.digest, blob.geometry)
  if (!handle.stat.complete) {
    await writePieces(handle, blob)
    await handle.commit()
  }
  await handle.close()
}

export async function readAll(handle: BlobHandle): Promise<Uint8Array> {
  const bytes = new Uint8Array(handle.stat.size)
  await handle.read(0, bytes)
  return bytes
}
