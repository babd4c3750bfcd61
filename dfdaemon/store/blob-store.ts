// Contract of the store: blobs as verified pieces, addressed by digest. Disk and memory versions pass one suite (test/contracts).
import type { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import type { Geometry } from '../../shared/piece.ts'

/** What the store knows of a blob without opening it. */
export interface BlobStat extends Geometry {
  readonly digest: Digest
  /** Pieces that are stored with a matching hash; the store's own set, not to be changed by callers. */
  readonly have: Bitfield
  /** True only if the whole digest was checked and the commit reached the disk. */
  readonly complete: boolean
  /** When it was last opened or touched, in ms since 1970. */
  readonly usedAt: number
}

/** What room is kept for while a blob is open: all of it (the default), or only pieces as they come. */
export type KeptRoom = 'whole' | 'pieces'

export interface BlobStore {
  /** Opens the index, recovers what a crash left. @throws PantalaError DATA_DIR_UNUSABLE */
  start(): Promise<void>
  /** Waits for writes under way, closes the index. */
  stop(): Promise<void>

  /** What is held, in whole or in part; undefined if nothing. Does not count as use. */
  stat(digest: Digest): BlobStat | undefined

  /** Counts as a use of a complete blob whose bytes the caller has already; false if it is not here, or not complete. */
  touch(digest: Digest): boolean

  /**
   * Aborted, with STORE_FAILED, while the disk does nothing at all: then nobody who can do without it should wait for it, though what is under
   * way may yet come to an end. Another signal from when it moves again.
   */
  readonly stuck: AbortSignal

  /** All that is held, in no order. */
  list(): Iterable<BlobStat>

  /** Bytes of stored pieces, all blobs together. */
  readonly bytes: number

  /** Opens what is held; undefined if nothing. The handle pins the blob against eviction until closed. */
  open(digest: Digest, signal?: AbortSignal): Promise<BlobHandle | undefined>

  /**
   * Opens a blob, making an empty one if nothing is held or if what is held (incomplete) was cut another way. Makes room by evicting
   * least recently used blobs that are not open, and keeps room for the whole blob until the handle is closed; with `room: 'pieces'` no room
   * is kept, and each piece makes its own. A complete blob is opened as it is, whatever geometry is asked for. A blob closed without any
   * piece is forgotten.
   * @throws PantalaError STORE_FULL if no room can be made, STORE_FAILED; RangeError on a geometry that cannot be stored
   */
  create(digest: Digest, geometry: Geometry, signal?: AbortSignal, room?: KeptRoom): Promise<BlobHandle>

  /** Forgets a blob; open handles keep working until closed, but keep nothing. False if it was not there. */
  delete(digest: Digest): Promise<boolean>

  /**
   * Tells `listener` of each piece of a blob as it becomes readable, from now on, and of the end when the blob is forgotten. The blob need
   * not be held yet, and the watch stays when it is forgotten and made anew. Returns the way to stop.
   */
  watch(digest: Digest, listener: BlobListener): () => void

  /** Called with the digests that eviction took, never with what `delete` was asked for. Set by the composition root. */
  onEvicted: (digests: readonly Digest[]) => void
}

/** What a watcher hears; called synchronously after the change, must not throw. */
export interface BlobListener {
  onPiece(piece: number): void
  onGone(): void
}

/**
 * One opener's hold on a blob. Several handles on a blob share its state: a piece written through one is readable through all. After
 * `close` every call but `close` throws TypeError.
 */
export interface BlobHandle {
  readonly stat: BlobStat

  /**
   * Stores a piece that was verified against `hash` (BLAKE3, 32 bytes) by the caller, at its offset. On return it is readable; it
   * survives a crash once the store's next flush (bounded in ms) recorded it. `bytes` may be reused on return. A piece already held is left alone.
   * @throws PantalaError STORE_FULL | STORE_FAILED; RangeError if it does not fit
   */
  writePiece(piece: number, bytes: Uint8Array, hash: Uint8Array): Promise<void>

  /** The recorded BLAKE3 hash of a piece that is held. */
  pieceHash(piece: number): Uint8Array | undefined

  /**
   * Reads stored bytes into `into`, as many as it is long. The caller asks only for bytes of pieces in `stat.have`.
   * @throws PantalaError STORE_FAILED, RangeError past the end or on a piece not held
   */
  read(position: number, into: Uint8Array): Promise<void>

  /** Forgets one piece, after a hash that no longer matches; the blob is no longer complete. */
  dropPiece(piece: number): Promise<void>

  /**
   * Marks the blob complete: all pieces held, whole digest checked by the caller; data and index are on disk on return. Does nothing
   * if the blob was forgotten, or lost a piece, meanwhile. @throws PantalaError STORE_FULL | STORE_FAILED; TypeError if a piece is missing
   */
  commit(): Promise<void>

  /** Forgets the blob and every piece of it, for all its handles (wrong digest); to begin anew, close and create. */
  discard(): Promise<void>

  /** Lets go; closing twice does no harm. */
  close(): Promise<void>
}
