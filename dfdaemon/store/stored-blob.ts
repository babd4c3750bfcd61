// One blob as the disk store knows it in memory: what is held, who has it open, and the order of its changes on disk. No I/O.
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import { type Geometry, PIECE_HASH_BYTES, pieceCount, pieceLength } from '../../shared/piece.ts'
import type { BlobStat } from './blob-store.ts'
import { BlobFile } from './open-files.ts'

export class StoredBlob implements BlobStat {
  readonly digest: Digest
  readonly size: number
  readonly pieceSize: number
  readonly file: BlobFile
  usedAt: number
  complete = false
  /** The index may say complete; given before `complete`, taken back with it. */
  trusted = false
  /** Pieces that the index had at start and that were not hashed again yet. */
  claims: Bitfield | undefined
  /** Hashes of all pieces, 32 bytes each, zeros where there is none; absent until somebody opens the blob. */
  hashes: Buffer | undefined
  handles = 0
  /** Handles that came from `create`: while there are any, room for the whole blob is reserved. */
  writers = 0
  forgotten = false
  /** A sync failed: the system tells that once and may have let the bytes go, so that no later sync can vouch for them. */
  doubtful = false
  /** Written since the last sync was started. */
  unsyncedBytes = 0
  /** Pieces dropped so far: a commit under way sees that one was. */
  drops = 0
  readonly writing = new Map<number, Promise<void>>()
  /** Settles when the file and the hashes are there. */
  ready: Promise<void> | undefined
  /** Settles when no claim is left. */
  verified: Promise<void> | undefined
  /** Settles when trust was taken back on disk; nothing may be written before. */
  demoting: Promise<void> | undefined
  #have: Bitfield | undefined
  #turn: Promise<unknown> = Promise.resolve()

  constructor(digest: Digest, geometry: Geometry, path: string, usedAt: number) {
    this.digest = digest
    this.size = geometry.size
    this.pieceSize = geometry.pieceSize
    this.file = new BlobFile(path)
    this.usedAt = usedAt
  }

  /** Made on first use: thousands of complete blobs that nobody asks for cost nothing. */
  get have(): Bitfield {
    this.#have ??= this.complete ? Bitfield.full(pieceCount(this)) : new Bitfield(pieceCount(this))
    return this.#have
  }

  /** Bytes of pieces that are readable. */
  get heldBytes(): number {
    return this.#have === undefined && this.complete ? this.size : bytesOf(this, this.have)
  }

  /** Bytes on disk, verified or not, and bytes promised. */
  get claimedBytes(): number {
    if (this.writers > 0) return this.size
    return this.heldBytes + (this.claims === undefined ? 0 : bytesOf(this, this.claims))
  }

  /** True if nothing of it is worth keeping. */
  get isWorthless(): boolean {
    if (this.doubtful) return true
    return !this.complete && this.have.count === 0 && !this.claims?.count && this.writing.size === 0
  }

  pieceHash(piece: number): Uint8Array | undefined {
    if (piece < 0 || piece >= this.have.length || !this.have.has(piece)) return undefined
    return this.hashes === undefined ? undefined : this.hashAt(piece)
  }

  /** Which pieces a record names: those held, and those that still wait to be hashed again after a start. */
  get recordedBits(): Uint8Array {
    const bits = Uint8Array.from(this.have.bytes)
    if (this.claims !== undefined) for (const [at, byte] of this.claims.bytes.entries()) bits[at]! |= byte
    return bits
  }

  /** The hash on record, whether the piece is held or not. */
  hashAt(piece: number): Uint8Array {
    return this.hashes!.subarray(piece * PIECE_HASH_BYTES, (piece + 1) * PIECE_HASH_BYTES)
  }

  setHash(piece: number, hash: Uint8Array): void {
    this.hashes ??= Buffer.alloc(pieceCount(this) * PIECE_HASH_BYTES)
    this.hashes.set(hash, piece * PIECE_HASH_BYTES)
  }

  /** Runs a change of the blob's place or record after those asked for before. */
  inTurn<T>(change: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(change)
    this.#turn = run.catch(() => {})
    return run
  }
}

/** Bytes of a set of pieces. */
function bytesOf(geometry: Geometry, pieces: Bitfield): number {
  const last = pieces.length - 1
  if (last < 0) return 0
  const shortfall = pieces.has(last) ? geometry.pieceSize - pieceLength(geometry, last) : 0
  return pieces.count * geometry.pieceSize - shortfall
}
