// A set of piece numbers as bits: piece 0 is the highest bit of byte 0, as in BitTorrent's BEP 3.

/** A fixed-length set of piece numbers with a running count. */
export class Bitfield {
  readonly length: number
  readonly bytes: Uint8Array
  #count = 0

  /** `bytes` is copied; bits past `length` are cleared. @throws RangeError if `bytes` has the wrong length. */
  constructor(length: number, bytes?: Uint8Array) {
    this.length = length
    const byteLength = Math.ceil(length / 8)
    if (bytes === undefined) {
      this.bytes = new Uint8Array(byteLength)
      return
    }
    if (bytes.byteLength !== byteLength)
      throw new RangeError(`bit field of ${length} needs ${byteLength} bytes, got ${bytes.byteLength}`)
    this.bytes = Uint8Array.from(bytes)
    const spare = byteLength * 8 - length
    if (spare > 0) this.bytes[byteLength - 1]! &= 0xff << spare
    for (const byte of this.bytes) this.#count += popcount(byte)
  }

  static full(length: number): Bitfield {
    return new Bitfield(length, new Uint8Array(Math.ceil(length / 8)).fill(0xff))
  }

  /** How many pieces are in the set. */
  get count(): number {
    return this.#count
  }

  get isFull(): boolean {
    return this.#count === this.length
  }

  has(piece: number): boolean {
    return (this.bytes[piece >> 3]! & (0x80 >> (piece & 7))) !== 0
  }

  /** Adds a piece; false if it was there or is out of range. */
  add(piece: number): boolean {
    if (!(piece >= 0 && piece < this.length) || this.has(piece)) return false
    this.bytes[piece >> 3]! |= 0x80 >> (piece & 7)
    this.#count++
    return true
  }

  /** Removes a piece; false if it was not there. */
  remove(piece: number): boolean {
    if (!(piece >= 0 && piece < this.length) || !this.has(piece)) return false
    this.bytes[piece >> 3]! &= ~(0x80 >> (piece & 7))
    this.#count--
    return true
  }

  clone(): Bitfield {
    return new Bitfield(this.length, this.bytes)
  }

  /** Piece numbers in rising order. */
  *pieces(): Generator<number> {
    for (let piece = 0; piece < this.length; piece++) if (this.has(piece)) yield piece
  }

  /** Length of the run of pieces from 0 that are all present. */
  prefixLength(): number {
    let piece = 0
    while (piece < this.length && this.has(piece)) piece++
    return piece
  }
}

function popcount(byte: number): number {
  let bits = byte
  let count = 0
  for (; bits !== 0; count++) bits &= bits - 1
  return count
}
