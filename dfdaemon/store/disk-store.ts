// The store on disk: blobs as files, what is held of each in a level index, the least recently used evicted to keep the quota.
import type { Clock, Timer } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import { PantalaError, toPantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { type Geometry, pieceCount, pieceOffset } from '../../shared/piece.ts'
import { BlobPlaces } from './blob-places.ts'
import type { BlobHandle, BlobListener, BlobStat, BlobStore } from './blob-store.ts'
import { type Disk, guardDisk, nodeDisk } from './disk.ts'
import { DiskHandle, type StoreSide } from './disk-handle.ts'
import { chooseEvictions, measureRoom } from './eviction.ts'
import { checkGeometry } from './geometry-check.ts'
import { StoreLayout } from './layout.ts'
import { OpenFiles } from './open-files.ts'
import { PieceIndex } from './piece-index.ts'
import { rebuildBlobs, recoverBlob, removeStrays, verifyClaims } from './recovery.ts'
import { StoredBlob } from './stored-blob.ts'
import { BlobWatchers } from './watchers.ts'

/** Blobs kept, descriptors open. */
const BLOBS_MAX = 200_000
const OPEN_FILES_MAX = 256

/** Pieces that landed are recorded after this long at most, in ms; until then a crash forgets them. */
const FLUSH_MS = 150

/** A use is recorded when the one on record is older than this, in ms: eviction needs no more precision over a restart. */
const USE_GRAIN_MS = 60_000

export interface DiskStoreInit {
  readonly dataDir: string
  /** Bytes of pieces, all blobs together. */
  readonly quotaBytes: number
  /** Space of the file system that is left to others, in bytes. */
  readonly minFreeBytes: number
}

export class DiskStore implements BlobStore, StoreSide {
  onEvicted: (digests: readonly Digest[]) => void = () => {}
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #disk: Disk
  readonly #init: DiskStoreInit
  readonly #layout: StoreLayout
  readonly #index: PieceIndex
  readonly #files: OpenFiles
  readonly #places: BlobPlaces
  readonly #watchers = new BlobWatchers()
  readonly #blobs = new Map<Digest, StoredBlob>()
  /** Forgotten blobs that are still open: their bytes count against the quota. */
  readonly #orphans = new Set<StoredBlob>()
  /** Removals under way: a blob of the same digest waits for them, since it will have the same place. */
  readonly #forgetting = new Map<Digest, Promise<void>>()
  readonly #dirty = new Set<StoredBlob>()
  readonly #stopping = new AbortController()
  #flushTimer: Timer | undefined
  #flushing: Promise<void> = Promise.resolve()
  #background: Promise<void> = Promise.resolve()
  #making: Promise<unknown> = Promise.resolve()
  #lastUse = 0

  constructor(components: { clock: Clock; logger: Logger; disk?: Disk }, init: DiskStoreInit) {
    this.#clock = components.clock
    this.#logger = components.logger
    this.#disk = components.disk ?? nodeDisk
    this.#init = init
    this.#layout = new StoreLayout(init.dataDir)
    this.#index = new PieceIndex(this.#layout.indexDir)
    this.#files = new OpenFiles({ disk: this.#disk }, { openFilesMax: OPEN_FILES_MAX })
    this.#places = new BlobPlaces({
      disk: this.#disk,
      layout: this.#layout,
      index: this.#index,
      files: this.#files,
    })
  }

  async start(): Promise<void> {
    const startedMs = this.#clock.monotonic()
    const components = { disk: this.#disk, layout: this.#layout, index: this.#index }
    let isNew: boolean
    try {
      await this.#disk.makeDirectory(this.#layout.partialDir)
      isNew = await this.#index.open()
    } catch (error) {
      throw toPantalaError(error, 'DATA_DIR_UNUSABLE', `${this.#init.dataDir}: ${(error as Error).message}`)
    }
    const lost: Digest[] = []
    for await (const indexed of this.#index.blobs()) {
      const blob = await recoverBlob(components, indexed)
      if (blob === undefined) lost.push(indexed.digest)
      else this.#blobs.set(blob.digest, blob)
    }
    await this.#index.forget(lost)
    const removed = isNew ? 0 : await removeStrays(components, digest => this.#blobs.has(digest))
    const facts = { blobs: this.#blobs.size, lost: lost.length, strays: removed, bytes: this.bytes }
    this.#logger.info({ ...facts, ms: Math.round(this.#clock.monotonic() - startedMs) }, 'store opened')
    this.#background = (isNew ? this.#rebuild() : this.#verifyPartials()).catch(error => {
      if (!this.#stopping.signal.aborted) this.#logger.error({ err: error }, 'recovery did not finish')
    })
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new PantalaError('SHUTTING_DOWN'))
    await this.#background
    this.#flushTimer?.cancel()
    await Promise.allSettled([...this.#blobs.values()].flatMap(blob => [...blob.writing.values()]))
    await this.#flush()
    await this.#index.close()
    await this.#files.closeAll()
  }

  stat(digest: Digest): BlobStat | undefined {
    return this.#blobs.get(digest)
  }

  list(): Iterable<BlobStat> {
    return [...this.#blobs.values()]
  }

  get bytes(): number {
    let bytes = 0
    for (const blob of this.#blobs.values()) bytes += blob.heldBytes
    return bytes
  }

  watch(digest: Digest, listener: BlobListener): () => void {
    return this.#watchers.add(digest, listener)
  }

  async open(digest: Digest, signal?: AbortSignal): Promise<BlobHandle | undefined> {
    signal?.throwIfAborted()
    const blob = this.#blobs.get(digest)
    return blob === undefined ? undefined : this.#hold(blob, false)
  }

  async create(digest: Digest, geometry: Geometry, signal?: AbortSignal): Promise<BlobHandle> {
    signal?.throwIfAborted()
    checkGeometry(geometry)
    // One at a time, so that two do not count on the same free room.
    const made = this.#making.then(async () => {
      signal?.throwIfAborted()
      const found = this.#blobs.get(digest)
      if (found?.complete) return this.#hold(found, false)
      const cutAnew =
        found !== undefined && (found.size !== geometry.size || found.pieceSize !== geometry.pieceSize)
      if (cutAnew) await this.#forget(found)
      await this.#forgetting.get(digest)
      const blob = (cutAnew ? undefined : found) ?? this.#addBlob(digest, geometry)
      return this.#reserve(blob)
    })
    this.#making = made.catch(() => {})
    return made
  }

  async delete(digest: Digest): Promise<boolean> {
    const blob = this.#blobs.get(digest)
    if (blob === undefined) return false
    await this.#forget(blob)
    return true
  }

  // ---- what handles ask ----

  async write(blob: StoredBlob, piece: number, bytes: Uint8Array, hash: Uint8Array): Promise<void> {
    const running = blob.writing.get(piece)
    if (running !== undefined) return running
    const write = this.#writePiece(blob, piece, bytes, hash).finally(() => blob.writing.delete(piece))
    blob.writing.set(piece, write)
    return write
  }

  async read(blob: StoredBlob, position: number, into: Uint8Array): Promise<void> {
    try {
      const fd = this.#files.use(blob.file)
      const opened = typeof fd === 'number' ? fd : await fd
      try {
        await this.#disk.read(opened, into, position)
      } finally {
        this.#files.release(blob.file)
      }
    } catch (error) {
      throw toPantalaError(error, 'STORE_FAILED')
    }
  }

  async dropPiece(blob: StoredBlob, piece: number): Promise<void> {
    blob.have.remove(piece)
    const wasComplete = blob.complete
    blob.complete = false
    await blob.inTurn(async () => {
      if (!blob.forgotten) await guardDisk(() => this.#places.demote(blob, wasComplete))
    })
  }

  async commit(blob: StoredBlob): Promise<void> {
    await blob.inTurn(async () => {
      if (blob.forgotten || blob.complete) return
      this.#dirty.delete(blob)
      await guardDisk(() => this.#places.promote(blob))
    })
  }

  async discard(blob: StoredBlob): Promise<void> {
    for (const piece of [...blob.have.pieces()]) blob.have.remove(piece)
    blob.complete = false
    await this.#forget(blob)
  }

  async release(blob: StoredBlob, writer: boolean): Promise<void> {
    blob.handles--
    if (writer) blob.writers--
    if (blob.handles > 0) return
    if (blob.forgotten) {
      this.#orphans.delete(blob)
      await this.#files.close(blob.file).catch(() => {})
    } else if (blob.isEmpty) {
      await this.#forget(blob)
    }
  }

  // ---- inside ----

  async #writePiece(blob: StoredBlob, piece: number, bytes: Uint8Array, hash: Uint8Array): Promise<void> {
    await guardDisk(async () => {
      const fd = this.#files.use(blob.file)
      const opened = typeof fd === 'number' ? fd : await fd
      try {
        await this.#disk.write(opened, bytes, pieceOffset(blob, piece))
      } finally {
        this.#files.release(blob.file)
      }
    })
    if (!blob.have.add(piece)) return
    blob.setHash(piece, hash)
    if (blob.forgotten) return
    this.#noteDirty(blob)
    this.#watchers.tellPiece(blob.digest, piece)
  }

  #addBlob(digest: Digest, geometry: Geometry): StoredBlob {
    const blob = new StoredBlob(digest, geometry, this.#layout.partialPath(digest), 0)
    blob.hashes = Buffer.alloc(pieceCount(geometry) * 32)
    blob.ready = guardDisk(async () => {
      this.#files.adopt(blob.file, await this.#disk.createFile(blob.file.path, geometry.size))
    })
    blob.ready.catch(() => {})
    this.#blobs.set(digest, blob)
    return blob
  }

  /** Makes room for the whole blob and holds it for writing. */
  async #reserve(blob: StoredBlob): Promise<BlobHandle> {
    blob.handles++
    blob.writers++
    try {
      await this.#makeRoom(blob)
      await this.#makeReady(blob)
    } catch (error) {
      await this.release(blob, true)
      throw error
    }
    this.#noteUse(blob)
    return new DiskHandle(blob, this, true)
  }

  async #hold(blob: StoredBlob, writer: boolean): Promise<BlobHandle> {
    blob.handles++
    try {
      await this.#makeReady(blob)
    } catch (error) {
      await this.release(blob, writer)
      throw error
    }
    this.#noteUse(blob)
    return new DiskHandle(blob, this, writer)
  }

  /** Hashes are loaded, claims are checked: once, whoever comes first. */
  #makeReady(blob: StoredBlob): Promise<void> {
    blob.ready ??= guardDisk(async () => {
      blob.hashes ??=
        (await this.#index.pieces(blob.digest, blob))?.hashes ?? Buffer.alloc(pieceCount(blob) * 32)
      const { claims } = blob
      if (claims === undefined) return
      const read = (position: number, into: Uint8Array): Promise<void> => this.read(blob, position, into)
      await verifyClaims(read, blob, claims, piece => {
        if (!blob.have.add(piece)) return
        this.#watchers.tellPiece(blob.digest, piece)
      })
      const dropped = claims.count - blob.have.count
      blob.claims = undefined
      if (dropped > 0) {
        this.#logger.warn({ digest: blob.digest, dropped }, 'stored pieces did not match their hashes')
        this.#noteDirty(blob)
      }
    })
    return blob.ready
  }

  #noteUse(blob: StoredBlob): void {
    this.#lastUse = Math.max(this.#lastUse + 1, this.#clock.now())
    const recorded = blob.usedAt
    blob.usedAt = this.#lastUse
    if (blob.complete && blob.usedAt - recorded > USE_GRAIN_MS) this.#noteDirty(blob)
  }

  /** @throws PantalaError STORE_FULL */
  async #makeRoom(blob: StoredBlob): Promise<void> {
    const all = [...this.#blobs.values(), ...this.#orphans]
    const freeBytes = await guardDisk(() => this.#disk.freeBytes(this.#init.dataDir))
    const room = measureRoom(all, { ...this.#init, freeBytes, blobsMax: BLOBS_MAX })
    const idle = all.filter(one => one.handles === 0)
    const candidates = idle.map(one => ({ digest: one.digest, bytes: one.claimedBytes, usedAt: one.usedAt }))
    const evictions = chooseEvictions(room, { bytes: 0, blobs: 0 }, candidates)
    if (evictions === undefined) {
      const detail = `no room for ${blob.size} bytes; quota ${this.#init.quotaBytes}, free on disk ${freeBytes}`
      throw new PantalaError('STORE_FULL', { detail })
    }
    for (const digest of evictions) await this.#forget(this.#blobs.get(digest)!)
    if (evictions.length > 0) this.onEvicted(evictions)
  }

  #forget(blob: StoredBlob): Promise<void> {
    if (blob.forgotten) return this.#forgetting.get(blob.digest) ?? Promise.resolve()
    blob.forgotten = true
    this.#blobs.delete(blob.digest)
    this.#dirty.delete(blob)
    if (blob.handles > 0) this.#orphans.add(blob)
    this.#watchers.tellGone(blob.digest)
    const removal = blob
      .inTurn(async () => {
        await this.#flushing.catch(() => {})
        await blob.ready?.catch(() => {})
        await this.#places.remove(blob)
      })
      .catch(error =>
        this.#logger.warn({ err: error, digest: blob.digest }, 'blob not removed from the disk'),
      )
      .finally(() => {
        if (this.#forgetting.get(blob.digest) === removal) this.#forgetting.delete(blob.digest)
      })
    this.#forgetting.set(blob.digest, removal)
    return removal
  }

  #noteDirty(blob: StoredBlob): void {
    this.#dirty.add(blob)
    this.#flushTimer ??= this.#clock.after(FLUSH_MS, () => {
      this.#flush().catch(error => this.#logger.error({ err: error }, 'index not written'))
    })
  }

  #flush(): Promise<void> {
    this.#flushTimer = undefined
    const dirty = [...this.#dirty]
    this.#dirty.clear()
    this.#flushing = this.#flushing
      .catch(() => {})
      .then(() =>
        this.#index.record(
          dirty.filter(blob => !blob.forgotten),
          false,
        ),
      )
    return this.#flushing
  }

  /** Checks partial blobs one after another, so that what they hold is offered soon after a start. */
  async #verifyPartials(): Promise<void> {
    for (const blob of [...this.#blobs.values()]) {
      if (blob.claims === undefined) continue
      this.#stopping.signal.throwIfAborted()
      const handle = await this.#hold(blob, false)
      await handle.close()
    }
  }

  /** The index was lost: complete blobs are read and checked one after another, and become known as they prove right. */
  async #rebuild(): Promise<void> {
    const startedMs = this.#clock.monotonic()
    let found = 0
    const components = { disk: this.#disk, layout: this.#layout, index: this.#index }
    for await (const blob of rebuildBlobs(components, this.#stopping.signal)) {
      if (this.#blobs.has(blob.digest)) continue
      this.#blobs.set(blob.digest, blob)
      await this.#index.record([blob], true)
      blob.hashes = undefined
      found++
    }
    if (found > 0)
      this.#logger.info(
        { found, ms: Math.round(this.#clock.monotonic() - startedMs) },
        'index rebuilt from the files',
      )
  }
}
