// Whether the supernode's answer to a registration fits what was asked, so that sessions need not check again. Pure.
import { Bitfield } from '../../shared/bitfield.ts'
import { isSoundGeometry, PIECE_HASH_BYTES, pieceCount } from '../../shared/piece.ts'
import type { Registered } from '../../shared/protocol/messages.ts'
import type { RegisterRequest } from './scheduler-client.ts'

/** True if an answer's fields fit the blob asked for, so that sessions need not check again. */
export function fitsRequest(answer: Registered, request: RegisterRequest): boolean {
  const { size, digest } = request
  const { pieceSize, hashed, hashes, content } = answer
  if (answer.digest !== digest) return false
  if (content !== undefined) return content.byteLength === size
  if (!isSoundGeometry({ size, pieceSize })) return false
  const pieces = pieceCount({ size, pieceSize })
  if (hashed.byteLength !== Math.ceil(pieces / 8)) return false
  return hashes.byteLength === new Bitfield(pieces, hashed).count * PIECE_HASH_BYTES
}
