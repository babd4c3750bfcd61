// One opener's hold on a blob of the disk store: checks what is asked, the store does it.
import { PIECE_HASH_BYTES, pieceAt, pieceLength } from '../../shared/piece.ts'
import type { BlobHandle, BlobStat } from './blob-store.ts'
import type { StoredBlob } from './stored-blob.ts'

/** What a handle asks of its store. */
export interface StoreSide {
  write(blob: StoredBlob, piece: number, bytes: Uint8Array, hash: Uint8Array): Promise<void>
  read(blob: StoredBlob, position: number, into: Uint8Array): Promise<void>
  dropPiece(blob: StoredBlob, piece: number): Promise<void>
  commit(blob: StoredBlob): Promise<void>
  discard(blob: StoredBlob): Promise<void>
  release(blob: StoredBlob, writer: boolean): Promise<void>
}

export class DiskHandle implements BlobHandle {
  readonly #blob: StoredBlob
  readonly #store: StoreSide
  readonly #writer: boolean
  #closed = false

  constructor(blob: StoredBlob, store: StoreSide, writer: boolean) {
    this.#blob = blob
    this.#store = store
    this.#writer = writer
  }

  get stat(): BlobStat {
    return this.#blob
  }

  async writePiece(piece: number, bytes: Uint8Array, hash: Uint8Array): Promise<void> {
    this.#checkOpen()
    const blob = this.#blob
    const fits =
      piece >= 0 &&
      piece < blob.have.length &&
      bytes.byteLength === pieceLength(blob, piece) &&
      hash.byteLength === PIECE_HASH_BYTES
    if (!fits) throw new RangeError(`piece ${piece} of ${bytes.byteLength} bytes does not fit the blob`)
    if (blob.have.has(piece)) return
    await this.#store.write(blob, piece, bytes, hash)
  }

  pieceHash(piece: number): Uint8Array | undefined {
    return this.#blob.pieceHash(piece)
  }

  async read(position: number, into: Uint8Array): Promise<void> {
    this.#checkOpen()
    const blob = this.#blob
    const end = position + into.byteLength
    if (position < 0 || end > blob.size) throw new RangeError(`bytes ${position} to ${end} of ${blob.size}`)
    if (into.byteLength === 0) return
    for (let piece = pieceAt(blob, position); piece <= pieceAt(blob, end - 1); piece++) {
      if (!blob.have.has(piece)) throw new RangeError(`piece ${piece} is not held`)
    }
    await this.#store.read(blob, position, into)
  }

  async dropPiece(piece: number): Promise<void> {
    this.#checkOpen()
    if (piece >= 0 && piece < this.#blob.have.length && this.#blob.have.has(piece))
      await this.#store.dropPiece(this.#blob, piece)
  }

  async commit(): Promise<void> {
    this.#checkOpen()
    if (!this.#blob.have.isFull) throw new TypeError('commit before all pieces are held')
    await this.#store.commit(this.#blob)
  }

  async discard(): Promise<void> {
    this.#checkOpen()
    await this.#store.discard(this.#blob)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#store.release(this.#blob, this.#writer)
  }

  #checkOpen(): void {
    if (this.#closed) throw new TypeError('the handle is closed')
  }
}
