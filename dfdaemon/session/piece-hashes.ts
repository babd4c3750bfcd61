// The piece hashes a session knows: which pieces have one, and what it is. The supernode and the source's own bytes tell, parents never.
import { Bitfield } from '../../shared/bitfield.ts'
import { PIECE_HASH_BYTES } from '../../shared/piece.ts'
import type { BlobHandle } from '../store/blob-store.ts'

export class PieceHashes {
  readonly known: Bitfield
  readonly #bytes: Buffer

  constructor(pieces: number) {
    this.known = new Bitfield(pieces)
    this.#bytes = Buffer.alloc(pieces * PIECE_HASH_BYTES)
  }

  /** Records hashes, PIECE_HASH_BYTES each, for `pieces` in order; the first word on a piece stands. Numbers out of range are passed over. */
  learn(pieces: Iterable<number>, hashes: Uint8Array): void {
    let at = 0
    for (const piece of pieces) {
      const hash = hashes.subarray(at, at + PIECE_HASH_BYTES)
      at += PIECE_HASH_BYTES
      if (hash.byteLength === PIECE_HASH_BYTES && this.known.add(piece))
        this.#bytes.set(hash, piece * PIECE_HASH_BYTES)
    }
  }

  get(piece: number): Uint8Array | undefined {
    if (!this.known.has(piece)) return undefined
    return this.#bytes.subarray(piece * PIECE_HASH_BYTES, (piece + 1) * PIECE_HASH_BYTES)
  }

  /** True if `hash` is the recorded one. */
  matches(piece: number, hash: Uint8Array): boolean {
    const known = this.get(piece)
    return known !== undefined && Buffer.compare(known, hash) === 0
  }
}

/** Drops pieces kept from an earlier run whose stored hash is not the one known now. */
export async function dropDisputed(handle: BlobHandle, hashes: PieceHashes): Promise<void> {
  for (const piece of [...handle.stat.have.pieces()]) {
    const stored = handle.pieceHash(piece)
    if (stored !== undefined && hashes.known.has(piece) && !hashes.matches(piece, stored))
      await handle.dropPiece(piece)
  }
}
