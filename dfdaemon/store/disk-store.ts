// The store on disk: blobs as files, what is held of each in a level index, the least recently used evicted to keep the quota.
import type { Clock } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import { PantalaError, toPantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { type Geometry, PIECE_HASH_BYTES, pieceCount, pieceOffset } from '../../shared/piece.ts'
import { BlobPlaces } from './blob-places.ts'
import { BlobReadiness } from './blob-readiness.ts'
import type { BlobHandle, BlobListener, BlobStat, BlobStore, KeptRoom } from './blob-store.ts'
import { type Disk, guardDisk, nodeDisk } from './disk.ts'
import { DiskHandle, type StoreSide } from './disk-handle.ts'
import { planEvictions } from './eviction.ts'
import { checkGeometry, isCutAlike } from './geometry-check.ts'
import { type DiskStoreInit, StoreLayout } from './layout.ts'
import { OpenFiles } from './open-files.ts'
import { PieceIndex } from './piece-index.ts'
import { PieceRecorder } from './piece-recorder.ts'
import { readIndex, recoverBlobs } from './recovery.ts'
import { StartSteps } from './start-steps.ts'
import { StoredBlob } from './stored-blob.ts'
import { StrayFiles } from './stray-files.ts'
import { waitBriefly } from './wait-briefly.ts'
import { WatchedDisk } from './watched-disk.ts'
import { BlobWatchers } from './watchers.ts'
import { WriteBack } from './write-back.ts'

/** Blobs kept, in whole or in part: about 1 KiB of memory each. */
const BLOBS_MAX = 200_000

/** Descriptors of blobs kept open; those idle longest are closed first. */
const OPEN_FILES_MAX = 256

/** Pieces that landed are recorded after this long at most, in ms; until then a crash forgets them. */
const FLUSH_MS = 150

/** After this many bytes of a blob, a sync is started beside the writing, so that the commit at the end does not wait for all of it. */
const UNSYNCED_BYTES_MAX = 16 * 1024 * 1024

/** A use is recorded when the one on record is older than this, in ms: eviction needs no more precision over a restart. */
const USE_GRAIN_MS = 60_000

/** An opener waits this long, in ms, for the pieces a restart left to be hashed again; the rest become readable as they prove right. */
const VERIFY_WAIT_MS = 500

export class DiskStore implements BlobStore, StoreSide {
  onEvicted: (digests: readonly Digest[]) => void = () => {}
  readonly startSteps: StartSteps
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #disk: WatchedDisk
  readonly #init: DiskStoreInit
  readonly #layout: StoreLayout
  readonly #index: PieceIndex
  readonly #files: OpenFiles
  readonly #places: BlobPlaces
  readonly #watchers = new BlobWatchers()
  readonly #blobs = new Map<Digest, StoredBlob>()
  /** Forgotten blobs that are still open: their bytes count against the quota. */
  readonly #orphans = new Set<StoredBlob>()
  readonly #strays: StrayFiles
  readonly #recorder: PieceRecorder
  readonly #readiness: BlobReadiness
  readonly #writeBack: WriteBack
  /** Removals under way: a blob of the same digest waits for them, since it will have the same place. */
  readonly #forgetting = new Map<Digest, Promise<void>>()
  readonly #stopping = new AbortController()
  #background: Promise<void> = Promise.resolve()
  #lastUse = 0

  constructor(components: { clock: Clock; logger: Logger; disk?: Disk }, init: DiskStoreInit) {
    this.#clock = components.clock
    this.#logger = components.logger
    this.#disk = new WatchedDisk({ disk: nodeDisk, ...components })
    this.#init = init
    this.#layout = new StoreLayout(init.dataDir)
    this.#index = new PieceIndex(this.#layout.indexDir)
    this.#files = new OpenFiles({ disk: this.#disk }, { openFilesMax: OPEN_FILES_MAX })
    const parts = { disk: this.#disk, layout: this.#layout, index: this.#index, files: this.#files }
    this.#places = new BlobPlaces(parts)
    this.#recorder = new PieceRecorder({ ...components, index: this.#index }, { flushMs: FLUSH_MS })
    this.#writeBack = new WriteBack({ files: this.#files }, { unsyncedBytesMax: UNSYNCED_BYTES_MAX })
    const { logger } = components
    this.startSteps = new StartSteps(components)
    this.#readiness = new BlobReadiness(
      {
        ...parts,
        logger,
        recorder: this.#recorder,
        watchers: this.#watchers,
        forget: blob => this.#forget(blob),
      },
      { signal: this.#stopping.signal },
    )
    this.#strays = new StrayFiles(
      { clock: this.#clock, disk: this.#disk, logger, adopt: blob => this.#adopt(blob) },
      { signal: this.#stopping.signal },
    )
  }

  async start(): Promise<void> {
    try {
      await this.#disk.makeDirectory(this.#layout.partialDir)
      await this.#recover()
    } catch (error) {
      await this.#index.close().catch(() => {})
      throw toPantalaError(error, 'DATA_DIR_UNUSABLE', `${this.#init.dataDir}: ${(error as Error).message}`)
    }
    this.#background = this.#verifyAll().catch(error => {
      if (!this.#stopping.signal.aborted) this.#logger.error({ err: error }, 'recovery did not finish')
    })
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new PantalaError('SHUTTING_DOWN'))
    await this.#background
    const blobs = [...this.#blobs.values(), ...this.#orphans]
    await Promise.allSettled(blobs.flatMap(blob => [...blob.writing.values(), blob.verified]))
    await Promise.allSettled([
      ...this.#forgetting.values(),
      ...blobs.map(blob => blob.inTurn(async () => {})),
    ])
    await this.#recorder.stop()
    await this.#index.close()
    await this.#files.closeAll()
  }

  stat(digest: Digest): BlobStat | undefined {
    return this.#blobs.get(digest)
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
    for (const blob of this.#blobs.values()) bytes += blob.heldBytes
    return bytes
  }

  get stuck(): AbortSignal {
    return this.#disk.stuck
  }

  watch(digest: Digest, listener: BlobListener): () => void {
    return this.#watchers.add(digest, listener)
  }

  async open(digest: Digest, signal?: AbortSignal): Promise<BlobHandle | undefined> {
    signal?.throwIfAborted()
    await this.#strays.settleBriefly(digest, signal)
    const blob = this.#blobs.get(digest)
    if (blob === undefined) return undefined
    blob.handles++
    const handle = await this.#hold(blob, false, signal)
    if (!blob.forgotten) return handle
    await handle.close()
    return undefined
  }

  async create(
    digest: Digest,
    geometry: Geometry,
    signal?: AbortSignal,
    room?: KeptRoom,
  ): Promise<BlobHandle> {
    signal?.throwIfAborted()
    checkGeometry(geometry)
    await this.#strays.settleBriefly(digest, signal)
    for (;;) {
      const freeBytes = await guardDisk(() => this.#disk.freeBytes(this.#init.dataDir))
      signal?.throwIfAborted()
      const found = this.#blobs.get(digest)
      if (found?.complete) {
        found.handles++
        const handle = await this.#hold(found, false, signal)
        if (!found.forgotten) return handle
        await handle.close()
      } else if (found !== undefined && !isCutAlike(found, geometry)) {
        await this.#forget(found)
      } else if (this.#forgetting.has(digest)) {
        await this.#forgetting.get(digest)
      } else {
        const handle = await this.#createAt(found, digest, geometry, { freeBytes, room, signal })
        if (!found?.forgotten) return handle
        await handle.close()
      }
    }
  }

  async delete(digest: Digest): Promise<boolean> {
    await this.#strays.settleBriefly(digest, undefined)
    const blob = this.#blobs.get(digest)
    if (blob !== undefined) await this.#forget(blob)
    return blob !== undefined
  }

  async write(blob: StoredBlob, piece: number, bytes: Uint8Array, hash: Uint8Array): Promise<void> {
    const running = blob.writing.get(piece)
    if (running !== undefined) return running
    const write = this.#writePiece(blob, piece, bytes, hash).finally(() => blob.writing.delete(piece))
    blob.writing.set(piece, write)
    return write
  }

  async read(blob: StoredBlob, position: number, into: Uint8Array): Promise<void> {
    return guardDisk(() => this.#files.read(blob.file, into, position))
  }

  async dropPiece(blob: StoredBlob, piece: number): Promise<void> {
    blob.have.remove(piece)
    blob.drops++
    if (blob.demoting !== undefined) return blob.demoting
    if (!blob.trusted) return this.#recorder.note(blob)
    blob.trusted = false
    blob.complete = false
    blob.demoting = blob
      .inTurn(async () => {
        if (!blob.forgotten) await guardDisk(() => this.#places.demote(blob))
      })
      .finally(() => {
        blob.demoting = undefined
        this.#recorder.note(blob)
      })
    await blob.demoting
  }

  async commit(blob: StoredBlob): Promise<void> {
    await blob.inTurn(async () => {
      if (!blob.forgotten && !blob.complete) await guardDisk(() => this.#places.promote(blob))
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
    } else if (blob.isWorthless) {
      await this.#forget(blob)
    } else if (blob.complete) {
      // On record: thousands of complete blobs that nobody reads keep no hashes.
      blob.hashes = undefined
      blob.ready = undefined
    }
  }

  async #writePiece(blob: StoredBlob, piece: number, bytes: Uint8Array, hash: Uint8Array): Promise<void> {
    this.#checkRunning()
    if (blob.demoting !== undefined) await blob.demoting
    if (blob.writers === 0) this.#makeRoom(Number.POSITIVE_INFINITY, { bytes: bytes.byteLength, blobs: 0 })
    await guardDisk(() => this.#files.write(blob.file, bytes, pieceOffset(blob, piece)))
    this.#writeBack.noteWritten(blob, bytes.byteLength)
    blob.setHash(piece, hash)
    if (!blob.have.add(piece) || blob.forgotten) return
    this.#recorder.note(blob)
    this.#watchers.tellPiece(blob.digest, piece)
  }

  /** From the choice of what to evict to the reservation nothing is awaited, so that no two count on the same room. */
  #createAt(
    found: StoredBlob | undefined,
    digest: Digest,
    geometry: Geometry,
    opened: { freeBytes: number; room: KeptRoom | undefined; signal: AbortSignal | undefined },
  ): Promise<BlobHandle> {
    this.#checkRunning()
    const writer = opened.room !== 'pieces'
    const blob = found ?? new StoredBlob(digest, geometry, this.#layout.partialPath(digest), 0)
    blob.handles++
    try {
      const bytes = writer ? blob.size - blob.claimedBytes : 0
      this.#makeRoom(opened.freeBytes, { bytes, blobs: found === undefined ? 1 : 0 })
    } catch (error) {
      blob.handles--
      throw error
    }
    if (writer) blob.writers++
    if (found === undefined) {
      this.#blobs.set(digest, blob)
      blob.hashes = Buffer.alloc(pieceCount(geometry) * PIECE_HASH_BYTES)
      blob.ready = guardDisk(async () => {
        this.#files.adopt(blob.file, await this.#disk.createFile(blob.file.path, geometry.size))
      })
    }
    return this.#hold(blob, writer, opened.signal)
  }

  /** Waits until a blob that was counted as open can be used, and hands it out. */
  async #hold(blob: StoredBlob, writer: boolean, signal: AbortSignal | undefined): Promise<BlobHandle> {
    try {
      this.#checkRunning()
      blob.ready ??= this.#readiness.loadHashes(blob)
      await blob.ready
      if (blob.claims !== undefined)
        await waitBriefly(this.#readiness.verify(blob), {
          clock: this.#clock,
          waitMs: VERIFY_WAIT_MS,
          signal,
        })
      signal?.throwIfAborted()
    } catch (error) {
      blob.ready = undefined
      await this.release(blob, writer)
      throw error
    }
    this.#noteUse(blob)
    return new DiskHandle(blob, this, writer)
  }

  #noteUse(blob: StoredBlob): void {
    this.#lastUse = Math.max(this.#lastUse + 1, this.#clock.now())
    const recorded = blob.usedAt
    blob.usedAt = this.#lastUse
    if (blob.complete && blob.usedAt - recorded > USE_GRAIN_MS) this.#recorder.note(blob)
  }

  /** Makes room for `want` more; nothing is awaited. @throws PantalaError STORE_FULL */
  #makeRoom(freeBytes: number, want: { bytes: number; blobs: number }): void {
    const all = [...this.#blobs.values(), ...this.#orphans]
    const evictions = planEvictions(all, want, { ...this.#init, freeBytes, blobsMax: BLOBS_MAX })
    for (const digest of evictions) void this.#forget(this.#blobs.get(digest)!)
    if (evictions.length > 0) this.onEvicted(evictions)
  }

  /** From here on nobody finds the blob; settles when it is off the disk. Never rejects. */
  #forget(blob: StoredBlob): Promise<void> {
    if (blob.forgotten) return this.#forgetting.get(blob.digest) ?? Promise.resolve()
    blob.forgotten = true
    this.#blobs.delete(blob.digest)
    this.#recorder.drop(blob)
    if (blob.handles > 0) this.#orphans.add(blob)
    const removal = blob
      .inTurn(async () => {
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
    this.#watchers.tellGone(blob.digest)
    return removal
  }

  async #recover(): Promise<void> {
    const steps = this.startSteps
    const parts = { disk: this.#disk, layout: this.#layout, index: this.#index, steps }
    const { broken, records } = await readIndex(parts)
    if (broken) this.#logger.warn({ dir: this.#layout.indexDir }, 'index was broken and is begun anew')
    const { blobs, strays, lost, removed } = await recoverBlobs(parts, records)
    for (const blob of blobs) {
      this.#blobs.set(blob.digest, blob)
      this.#lastUse = Math.max(this.#lastUse, blob.usedAt)
    }
    this.#strays.add(strays)
    if (lost.length > 0) await this.#index.forget(lost)
    const facts = { blobs: blobs.length, strays: strays.size, lost: lost.length, removed, bytes: this.bytes }
    this.#logger.info(facts, 'store opened')
  }

  /** Partial blobs first, since sessions and children wait for them; then files without a record. */
  async #verifyAll(): Promise<void> {
    const partial = [...this.#blobs.values()].filter(({ claims }) => claims !== undefined)
    if (partial.length > 0)
      await this.startSteps.run('verify partial blobs', counts => this.#readiness.verifyAll(partial, counts))
    if (this.#strays.size > 0)
      await this.startSteps.run('read strays', counts => this.#strays.settleAll(counts))
  }

  async #adopt(blob: StoredBlob): Promise<void> {
    await this.#places.promote(blob)
    this.#blobs.set(blob.digest, blob)
    for (const piece of blob.have.pieces()) this.#watchers.tellPiece(blob.digest, piece)
    blob.hashes = undefined
  }

  #checkRunning(): void {
    if (this.#stopping.signal.aborted)
      throw new PantalaError('STORE_FAILED', { detail: 'the store is stopped' })
  }
}
