// In-memory twin of the store.
import type { BlobHandle, BlobListener, BlobStat, BlobStore } from '../../dfdaemon/store/blob-store.ts'
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import { type Geometry, pieceCount, pieceOffset } from '../../shared/piece.ts'

interface Blob {
  stat: { -readonly [K in keyof BlobStat]: BlobStat[K] }
  bytes: Buffer
  hashes: Map<number, Uint8Array>
}

export class MemoryBlobStore implements BlobStore {
  readonly #blobs = new Map<Digest, Blob>()
  readonly #watchers = new Map<Digest, Set<BlobListener>>()
  onEvicted: (digests: readonly Digest[]) => void = () => {}
  async start() {}
  async stop() {}
  get bytes() {
    return 0
  }
  stat(digest: Digest) {
    return this.#blobs.get(digest)?.stat
  }
  *list() {
    for (const blob of this.#blobs.values()) yield blob.stat
  }
  watch(digest: Digest, listener: BlobListener) {
    const set = this.#watchers.get(digest) ?? new Set()
    this.#watchers.set(digest, set)
    set.add(listener)
    return () => void set.delete(listener)
  }
  async open(digest: Digest) {
    const blob = this.#blobs.get(digest)
    return blob && this.#handle(digest, blob)
  }
  async create(digest: Digest, geometry: Geometry) {
    let blob = this.#blobs.get(digest)
    if (!blob) {
      blob = {
        stat: {
          digest,
          size: geometry.size,
          pieceSize: geometry.pieceSize,
          have: new Bitfield(pieceCount(geometry)),
          complete: false,
          usedAt: 0,
        },
        bytes: Buffer.alloc(geometry.size),
        hashes: new Map(),
      }
      this.#blobs.set(digest, blob)
    }
    return this.#handle(digest, blob)
  }
  async delete(digest: Digest) {
    return this.#blobs.delete(digest)
  }
  #handle(digest: Digest, blob: Blob): BlobHandle {
    return {
      stat: blob.stat,
      writePiece: async (piece, bytes, hash) => {
        await Promise.resolve()
        blob.bytes.set(bytes, pieceOffset(blob.stat, piece))
        blob.hashes.set(piece, Uint8Array.from(hash))
        blob.stat.have.add(piece)
        for (const w of this.#watchers.get(digest) ?? []) w.onPiece(piece)
      },
      pieceHash: piece => blob.hashes.get(piece),
      read: async (position, into) => {
        into.set(blob.bytes.subarray(position, position + into.byteLength))
      },
      dropPiece: async piece => void blob.stat.have.remove(piece),
      commit: async () => {
        blob.stat.complete = true
      },
      discard: async () => void this.#blobs.delete(digest),
      close: async () => {},
    }
  }
}
