// Guards the store against a geometry that would make it allocate without bound; piece sizes smaller than the protocol's are its callers' affair.
import { BLOB_BYTES_MAX, type Geometry, pieceCount } from '../../shared/piece.ts'

/** Most pieces of one blob: what BLOB_BYTES_MAX makes in the smallest pieces of the protocol. */
export const BLOB_PIECES_MAX = 65_536

/** @throws RangeError */
export function checkGeometry(geometry: Geometry): void {
  const { size, pieceSize } = geometry
  const sound =
    Number.isSafeInteger(size) &&
    Number.isSafeInteger(pieceSize) &&
    size >= 0 &&
    size <= BLOB_BYTES_MAX &&
    pieceSize > 0 &&
    pieceCount(geometry) <= BLOB_PIECES_MAX
  if (!sound) throw new RangeError(`a blob of ${size} bytes in pieces of ${pieceSize} cannot be stored`)
}

export function isCutAlike(one: Geometry, other: Geometry): boolean {
  return one.size === other.size && one.pieceSize === other.pieceSize
}
