// The piece hashes a session knows, and whose word each is: the supernode's and the source's own bytes count; a parent's counts for asking, and
// for handing on once a second parent says the same.
import { Bitfield } from '../../shared/bitfield.ts'
import { PIECE_HASH_BYTES } from '../../shared/piece.ts'
import type { HostId } from '../../shared/protocol/messages.ts'

/** What became of a parent's word. */
export interface Heard {
  /** Pieces that a second parent confirmed. */
  readonly confirmed: readonly number[]
  /** Pieces of which two parents say different things: neither is believed, and they come from the source. */
  readonly disputed: readonly number[]
  /** True if the parent contradicts what is known for sure. */
  readonly lied: boolean
}

export class PieceHashes {
  readonly known: Bitfield
  readonly #bytes: Buffer
  /** Pieces of which only one parent told the hash. */
  readonly #tellers = new Map<number, HostId>()
  readonly #disputed = new Set<number>()

  constructor(pieces: number) {
    this.known = new Bitfield(pieces)
    this.#bytes = Buffer.alloc(pieces * PIECE_HASH_BYTES)
  }

  /** True while some piece rests on one parent's word. */
  get hasProvisional(): boolean {
    return this.#tellers.size > 0
  }

  /** True if the piece's hash is known from one parent only. */
  isProvisional(piece: number): boolean {
    return this.#tellers.has(piece)
  }

  /**
   * Records hashes, PIECE_HASH_BYTES each, for `pieces` in order; the first sure word on a piece stands. Numbers out of range are passed
   * over. Returns the parents whose word it contradicts, and the pieces that are now sure and were not.
   */
  learn(pieces: Iterable<number>, hashes: Uint8Array): { liars: HostId[]; confirmed: number[] } {
    const liars: HostId[] = []
    const confirmed: number[] = []
    let at = 0
    for (const piece of pieces) {
      const hash = hashes.subarray(at, at + PIECE_HASH_BYTES)
      at += PIECE_HASH_BYTES
      if (hash.byteLength !== PIECE_HASH_BYTES) continue
      const teller = this.#tellers.get(piece)
      if (teller === undefined) {
        if (this.known.add(piece)) this.#set(piece, hash)
        this.#disputed.delete(piece)
        continue
      }
      this.#tellers.delete(piece)
      if (this.matches(piece, hash)) confirmed.push(piece)
      else liars.push(teller)
      this.#set(piece, hash)
    }
    return { liars, confirmed }
  }

  /** Takes a parent's word; see Heard. */
  hear(host: HostId, pieces: Iterable<number>, hashes: Uint8Array): Heard {
    const confirmed: number[] = []
    const disputed: number[] = []
    let lied = false
    let at = 0
    for (const piece of pieces) {
      const hash = hashes.subarray(at, at + PIECE_HASH_BYTES)
      at += PIECE_HASH_BYTES
      if (hash.byteLength !== PIECE_HASH_BYTES || this.#disputed.has(piece)) continue
      if (this.known.add(piece)) {
        this.#set(piece, hash)
        this.#tellers.set(piece, host)
        continue
      }
      if (!this.known.has(piece)) continue
      const teller = this.#tellers.get(piece)
      const same = this.matches(piece, hash)
      if (teller === undefined) lied ||= !same
      else if (teller !== host && same) {
        this.#tellers.delete(piece)
        confirmed.push(piece)
      } else if (!same) {
        this.#forget(piece)
        this.#disputed.add(piece)
        disputed.push(piece)
      }
    }
    return { confirmed, disputed, lied }
  }

  /** The whole digest was right, and so is every hash. */
  confirmAll(): void {
    this.#tellers.clear()
  }

  /** The whole digest was wrong: forgets all that rests on one parent's word. Returns those pieces and those parents. */
  forgetProvisional(): { pieces: number[]; tellers: HostId[] } {
    const pieces = [...this.#tellers.keys()]
    const tellers = [...new Set(this.#tellers.values())]
    for (const piece of pieces) this.#forget(piece)
    return { pieces, tellers }
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

  #set(piece: number, hash: Uint8Array): void {
    this.#bytes.set(hash, piece * PIECE_HASH_BYTES)
  }

  #forget(piece: number): void {
    this.known.remove(piece)
    this.#tellers.delete(piece)
  }
}
