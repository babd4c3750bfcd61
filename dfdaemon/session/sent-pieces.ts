// Holds bytes that come again against the pieces that a reader was sent before, by their hashes.
import { Blake3Hasher } from '@napi-rs/blake-hash'
import { type Geometry, pieceAt, pieceCount, pieceLength, pieceOffset } from '../../shared/piece.ts'

export interface SentPiecesInit {
  readonly geometry: Geometry
  /** Where the bytes begin that come; a piece that begins before is not looked at. */
  readonly start: number
  /** How far the reader had come: pieces that begin from there on are not looked at. */
  readonly end: number
  /** BLAKE3 of a piece that was sent, in whole or in part. */
  hashOf(piece: number): Uint8Array | undefined
}

export class SentPieces {
  readonly #init: SentPiecesInit
  /** The piece that comes now, and how much of it did. */
  #piece: number
  #filled = 0
  #hasher = new Blake3Hasher()

  constructor(init: SentPiecesInit) {
    this.#init = init
    const { geometry, start } = init
    const first = start < geometry.size ? pieceAt(geometry, start) : pieceCount(geometry)
    this.#piece = first < pieceCount(geometry) && pieceOffset(geometry, first) < start ? first + 1 : first
  }

  /** Takes bytes in order, the first of them at `position`. False as soon as a piece is not the one that was sent. */
  takes(position: number, bytes: Uint8Array): boolean {
    const { geometry, end } = this.#init
    const until = position + bytes.byteLength
    for (;;) {
      if (this.#piece >= pieceCount(geometry) || pieceOffset(geometry, this.#piece) >= end) return true
      const from = pieceOffset(geometry, this.#piece) + this.#filled
      if (from >= until) return true
      const wanted = pieceLength(geometry, this.#piece) - this.#filled
      const part = bytes.subarray(from - position, Math.min(bytes.byteLength, from - position + wanted))
      this.#hasher.update(Buffer.from(part.buffer, part.byteOffset, part.byteLength))
      this.#filled += part.byteLength
      if (part.byteLength === wanted && !this.#isSame()) return false
    }
  }

  #isSame(): boolean {
    const sent = this.#init.hashOf(this.#piece)
    const found = this.#hasher.digestBuffer()
    this.#hasher = new Blake3Hasher()
    this.#filled = 0
    this.#piece++
    return sent !== undefined && Buffer.compare(sent, found) === 0
  }
}
