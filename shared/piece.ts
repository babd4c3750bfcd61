// Piece arithmetic: how a blob is cut. Pure; every host and the supernode must agree on it.

const MiB = 1024 * 1024

/** Smallest and largest piece, in bytes. */
export const PIECE_BYTES_MIN = 1 * MiB
export const PIECE_BYTES_MAX = 16 * MiB

/** Largest blob that Pantala spreads, in bytes (64 GiB); a larger one is streamed straight from the source. */
export const BLOB_BYTES_MAX = 64 * 1024 * MiB

/** A piece hash is BLAKE3 with its standard output length, in bytes. */
export const PIECE_HASH_BYTES = 32

/** How a blob is cut: its length and the length of each piece but the last, in bytes. */
export interface Geometry {
  readonly size: number
  readonly pieceSize: number
}

/**
 * Piece size in bytes for a blob of `size` bytes: 1 MiB up to 256 MiB, 2 MiB up to 1 GiB, 4 MiB up to 16 GiB, then doubling so that
 * there are never more than 4,096 pieces.
 */
export function pieceSizeFor(size: number): number {
  if (size <= 256 * MiB) return MiB
  if (size <= 1024 * MiB) return 2 * MiB
  let pieceSize = 4 * MiB
  while (size / pieceSize > 4096 && pieceSize < PIECE_BYTES_MAX) pieceSize *= 2
  return pieceSize
}

export function geometryFor(size: number): Geometry {
  return { size, pieceSize: pieceSizeFor(size) }
}

/** True if a geometry heard from elsewhere is one that may be used. */
export function isSoundGeometry(geometry: Geometry): boolean {
  const { size, pieceSize } = geometry
  return (
    Number.isSafeInteger(size) &&
    size >= 0 &&
    size <= BLOB_BYTES_MAX &&
    Number.isSafeInteger(pieceSize) &&
    pieceSize >= PIECE_BYTES_MIN &&
    pieceSize <= PIECE_BYTES_MAX
  )
}

/** Number of pieces; an empty blob has none. */
export function pieceCount(geometry: Geometry): number {
  return Math.ceil(geometry.size / geometry.pieceSize)
}

/** Offset of a piece in its blob, in bytes. */
export function pieceOffset(geometry: Geometry, piece: number): number {
  return piece * geometry.pieceSize
}

/** Length of a piece in bytes; 0 if there is no such piece. */
export function pieceLength(geometry: Geometry, piece: number): number {
  if (piece < 0) return 0
  return Math.max(0, Math.min(geometry.pieceSize, geometry.size - piece * geometry.pieceSize))
}

/** The piece that holds the byte at `offset`. */
export function pieceAt(geometry: Geometry, offset: number): number {
  return Math.floor(offset / geometry.pieceSize)
}
