// The store's twin in memory: passes the same suite as DiskStore, keeps nothing across processes, and fails on request.
import type {
  BlobHandle,
  BlobListener,
  BlobStat,
  BlobStore,
  KeptRoom,
} from '../../dfdaemon/store/blob-store.ts'
import { checkGeometry } from '../../dfdaemon/store/geometry-check.ts'
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import {
  type Geometry,
  PIECE_HASH_BYTES,
  pieceAt,
  pieceCount,
  pieceLength,
  pieceOffset,
} from '../../shared/piece.ts'

export interface MemoryBlobStoreInit {
  /** Most bytes to keep; none if absent. */
  readonly quotaBytes?: number | undefined
  /** Wall time in ms; Date.now if absent. */
  readonly now?: () => number
}

class MemoryBlob implements BlobStat {
  readonly digest: Digest
  readonly size: number
  readonly pieceSize: number
  readonly have: Bitfield
  readonly pieces = new Map<number, { bytes: Uint8Array; hash: Uint8Array }>()
  complete = false
  usedAt = 0
  handles = 0
  /** Handles that came from `create`: while there are any, room for the whole blob is reserved. */
  writers = 0
  forgotten = false
  stored = 0

  constructor(digest: Digest, geometry: Geometry) {
    this.digest = digest
    this.size = geometry.size
    this.pieceSize = geometry.pieceSize
    this.have = new Bitfield(pieceCount(geometry))
  }

  get claimed(): number {
    return this.writers > 0 ? this.size : this.stored
  }
}

/** See BlobStore. Needs no directory; `start` and `stop` only mark time. */
export class MemoryBlobStore implements BlobStore {
  onEvicted: (digests: readonly Digest[]) => void = () => {}
  /** Thrown by every writePiece while set, so that tests can play a failing disk. */
  failWrites: PantalaError | undefined
  /** For tests that play a disk that does nothing any more. */
  readonly stuckNow = new AbortController()
  readonly #quotaBytes: number
  readonly #now: () => number
  readonly #blobs = new Map<Digest, MemoryBlob>()
  /** Forgotten blobs that are still open: their bytes count against the quota. */
  readonly #orphans = new Set<MemoryBlob>()
  readonly #watchers = new Map<Digest, Set<BlobListener>>()
  #lastUse = 0

  constructor(init: MemoryBlobStoreInit = {}) {
    this.#quotaBytes = init.quotaBytes ?? Number.POSITIVE_INFINITY
    this.#now = init.now ?? Date.now
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {}

  stat(digest: Digest): BlobStat | undefined {
    return this.#blobs.get(digest)
  }

  get stuck(): AbortSignal {
    return this.stuckNow.signal
  }

  touch(digest: Digest): boolean {
    const blob = this.#blobs.get(digest)
    if (blob?.complete !== true) return false
    this.#noteUse(blob)
    return true
  }

  list(): Iterable<BlobStat> {
    return [...this.#blobs.values()]
  }

  get bytes(): number {
    let bytes = 0
    for (const blob of this.#blobs.values()) bytes += blob.stored
    return bytes
  }

  async open(digest: Digest, signal?: AbortSignal): Promise<BlobHandle | undefined> {
    signal?.throwIfAborted()
    const blob = this.#blobs.get(digest)
    return blob && this.#hold(blob, false)
  }

  async create(
    digest: Digest,
    geometry: Geometry,
    signal?: AbortSignal,
    room: KeptRoom = 'whole',
  ): Promise<BlobHandle> {
    signal?.throwIfAborted()
    checkGeometry(geometry)
    let blob = this.#blobs.get(digest)
    if (blob?.complete) return this.#hold(blob, false)
    if (blob && (blob.size !== geometry.size || blob.pieceSize !== geometry.pieceSize)) {
      this.#forget(blob)
      blob = undefined
    }
    const growth = room === 'whole' ? geometry.size - (blob?.claimed ?? 0) : 0
    this.#makeRoom(growth, blob)
    if (blob === undefined) {
      blob = new MemoryBlob(digest, geometry)
      this.#blobs.set(digest, blob)
    }
    return this.#hold(blob, room === 'whole')
  }

  async delete(digest: Digest): Promise<boolean> {
    const blob = this.#blobs.get(digest)
    if (blob === undefined) return false
    this.#forget(blob)
    return true
  }

  watch(digest: Digest, listener: BlobListener): () => void {
    const own: BlobListener = {
      onPiece: piece => listener.onPiece(piece),
      onGone: () => listener.onGone(),
    }
    const listeners = this.#watchers.get(digest) ?? new Set()
    this.#watchers.set(digest, listeners.add(own))
    return () => {
      listeners.delete(own)
      if (listeners.size === 0 && this.#watchers.get(digest) === listeners) this.#watchers.delete(digest)
    }
  }

  #noteUse(blob: MemoryBlob): void {
    this.#lastUse = Math.max(this.#lastUse + 1, this.#now())
    blob.usedAt = this.#lastUse
  }

  #hold(blob: MemoryBlob, writer: boolean): BlobHandle {
    this.#noteUse(blob)
    blob.handles++
    if (writer) blob.writers++
    return new MemoryHandle(blob, {
      makeRoom: bytes => this.#makeRoom(bytes, blob),
      failure: () => this.failWrites,
      stored: piece => {
        if (!blob.forgotten) for (const listener of this.#listeners(blob.digest)) listener.onPiece(piece)
      },
      forget: () => this.#forget(blob),
      close: () => {
        blob.handles--
        if (writer) blob.writers--
        if (blob.handles > 0) return
        this.#orphans.delete(blob)
        if (blob.have.count === 0 && !blob.complete) this.#forget(blob)
      },
    })
  }

  #listeners(digest: Digest): BlobListener[] {
    return [...(this.#watchers.get(digest) ?? [])]
  }

  #forget(blob: MemoryBlob): void {
    if (blob.forgotten) return
    blob.forgotten = true
    this.#blobs.delete(blob.digest)
    if (blob.handles > 0) this.#orphans.add(blob)
    for (const listener of this.#listeners(blob.digest)) listener.onGone()
  }

  #makeRoom(bytes: number, keep: MemoryBlob | undefined): void {
    let used = 0
    for (const blob of [...this.#blobs.values(), ...this.#orphans]) used += blob.claimed
    const idle = [...this.#blobs.values()].filter(blob => blob.handles === 0 && blob !== keep)
    idle.sort((a, b) => a.usedAt - b.usedAt)
    const evicted: MemoryBlob[] = []
    while (used + bytes > this.#quotaBytes) {
      const oldest = idle.shift()
      if (oldest === undefined)
        throw new PantalaError('STORE_FULL', {
          detail: `${bytes} bytes wanted, quota is ${this.#quotaBytes} bytes`,
        })
      evicted.push(oldest)
      used -= oldest.claimed
    }
    for (const blob of evicted) this.#forget(blob)
    if (evicted.length > 0) this.onEvicted(evicted.map(blob => blob.digest))
  }
}

/** What a handle asks of its store. */
interface StoreSide {
  makeRoom(bytes: number): void
  failure(): PantalaError | undefined
  stored(piece: number): void
  forget(): void
  close(): void
}

class MemoryHandle implements BlobHandle {
  readonly #blob: MemoryBlob
  readonly #store: StoreSide
  #closed = false

  constructor(blob: MemoryBlob, store: StoreSide) {
    this.#blob = blob
    this.#store = store
  }

  get stat(): BlobStat {
    return this.#blob
  }

  async writePiece(piece: number, bytes: Uint8Array, hash: Uint8Array): Promise<void> {
    this.#checkOpen()
    const blob = this.#blob
    if (piece < 0 || piece >= blob.have.length || bytes.byteLength !== pieceLength(blob, piece))
      throw new RangeError(`piece ${piece} of ${bytes.byteLength} bytes does not fit`)
    if (hash.byteLength !== PIECE_HASH_BYTES) throw new RangeError('a piece hash has 32 bytes')
    if (blob.have.has(piece)) return
    const copy = { bytes: Uint8Array.from(bytes), hash: Uint8Array.from(hash) }
    await undefined
    const failure = this.#store.failure()
    if (failure) throw failure
    if (blob.have.has(piece)) return
    if (blob.writers === 0) this.#store.makeRoom(copy.bytes.byteLength)
    blob.pieces.set(piece, copy)
    blob.stored += copy.bytes.byteLength
    blob.have.add(piece)
    this.#store.stored(piece)
  }

  pieceHash(piece: number): Uint8Array | undefined {
    return this.#blob.pieces.get(piece)?.hash
  }

  async read(position: number, into: Uint8Array): Promise<void> {
    this.#checkOpen()
    const blob = this.#blob
    const end = position + into.byteLength
    if (!(position >= 0 && end <= blob.size))
      throw new RangeError(`bytes ${position} to ${end} of a blob of ${blob.size}`)
    for (let at = position; at < end; ) {
      const piece = pieceAt(blob, at)
      const held = blob.pieces.get(piece)
      if (held === undefined) throw new RangeError(`piece ${piece} is not held`)
      const from = at - pieceOffset(blob, piece)
      const part = held.bytes.subarray(from, from + end - at)
      into.set(part, at - position)
      at += part.byteLength
    }
  }

  async dropPiece(piece: number): Promise<void> {
    this.#checkOpen()
    const blob = this.#blob
    const held = blob.pieces.get(piece)
    if (held === undefined) return
    blob.pieces.delete(piece)
    blob.have.remove(piece)
    blob.stored -= held.bytes.byteLength
    blob.complete = false
  }

  async commit(): Promise<void> {
    this.#checkOpen()
    if (!this.#blob.have.isFull) throw new TypeError('commit of a blob that lacks pieces')
    this.#blob.complete = !this.#blob.forgotten
  }

  async discard(): Promise<void> {
    this.#checkOpen()
    const blob = this.#blob
    for (const piece of [...blob.pieces.keys()]) await this.dropPiece(piece)
    this.#store.forget()
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#store.close()
  }

  #checkOpen(): void {
    if (this.#closed) throw new TypeError('the blob handle is closed')
  }
}
