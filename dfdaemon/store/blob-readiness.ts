// What must happen before a blob of an earlier run can be used: its hashes are loaded, its file is looked for, its pieces are hashed again.
import type { Logger } from '../../shared/logger.ts'
import { PIECE_HASH_BYTES, pieceCount } from '../../shared/piece.ts'
import { type Disk, guardDisk } from './disk.ts'
import type { OpenFiles } from './open-files.ts'
import type { PieceIndex } from './piece-index.ts'
import type { PieceRecorder } from './piece-recorder.ts'
import { readStray, verifyClaims } from './recovery.ts'
import type { StepCounts } from './start-steps.ts'
import type { StoredBlob } from './stored-blob.ts'
import type { BlobWatchers } from './watchers.ts'

export interface ReadinessComponents {
  readonly disk: Disk
  readonly logger: Logger
  readonly index: PieceIndex
  readonly files: OpenFiles
  readonly recorder: PieceRecorder
  readonly watchers: BlobWatchers
  forget(blob: StoredBlob): Promise<void>
}

export class BlobReadiness {
  readonly #c: ReadinessComponents
  readonly #signal: AbortSignal

  /** `signal`: the store stops. */
  constructor(components: ReadinessComponents, init: { signal: AbortSignal }) {
    this.#c = components
    this.#signal = init.signal
  }

  /** Loads the hashes, or makes them anew if their record is lost; a blob whose file is gone, cut or wrong is forgotten instead. */
  async loadHashes(blob: StoredBlob): Promise<void> {
    const { disk, logger } = this.#c
    await guardDisk(async () => {
      const stat = await disk.fileStat(blob.file.path).catch(() => undefined)
      let hashes = blob.hashes ?? (await this.#recordedHashes(blob))
      if (hashes === undefined && blob.complete && stat?.size === blob.size)
        hashes = await this.#hashAnew(blob)
      blob.hashes = hashes ?? Buffer.alloc(pieceCount(blob) * PIECE_HASH_BYTES)
      if (blob.forgotten || (stat?.size === blob.size && hashes !== undefined)) return
      logger.error({ digest: blob.digest, size: stat?.size }, 'a stored blob lost its file or its record')
      // Not awaited: the removal waits for this.
      void this.#c.forget(blob)
    })
  }

  /** Undefined for a complete blob of which the index has only an earlier record: a log that rotted in between keeps what is older. */
  async #recordedHashes(blob: StoredBlob): Promise<Buffer | undefined> {
    const pieces = await this.#c.index.pieces(blob.digest, blob)
    return blob.complete && !pieces?.have.isFull ? undefined : pieces?.hashes
  }

  async #hashAnew(blob: StoredBlob): Promise<Buffer | undefined> {
    const { disk, index, logger } = this.#c
    logger.warn({ digest: blob.digest }, 'the hashes of a blob are lost; it is read again')
    const file = { path: blob.file.path, geometry: blob }
    blob.hashes = (await readStray(disk, blob.digest, file, this.#signal))?.hashes
    // Without room for the record they are made anew next time.
    if (blob.hashes !== undefined) await index.record([blob], false).catch(() => {})
    return blob.hashes
  }

  /** Hashes claimed pieces again, once, whoever asks first; each is readable and told of as soon as it proves right. */
  verify(blob: StoredBlob): Promise<void> {
    blob.verified ??= this.#verify(blob)
    return blob.verified
  }

  /** Verifies partial blobs one after another, the last used first. */
  async verifyAll(partial: readonly StoredBlob[], counts: StepCounts): Promise<void> {
    Object.assign(counts, { blobs: partial.length, verified: 0, bytes: 0 })
    for (const blob of partial.toSorted((a, b) => b.usedAt - a.usedAt)) {
      if (this.#signal.aborted) break
      if (!blob.forgotten) await this.verify(blob)
      counts['verified']!++
      counts['bytes']! += blob.heldBytes
    }
  }

  async #verify(blob: StoredBlob): Promise<void> {
    const { files, logger, recorder, watchers } = this.#c
    const wrong = await verifyClaims(
      blob,
      (position, into) => files.read(blob.file, into, position),
      piece => {
        if (blob.have.add(piece)) watchers.tellPiece(blob.digest, piece)
      },
      this.#signal,
    )
    if (this.#signal.aborted || blob.forgotten) return
    blob.claims = undefined
    if (wrong > 0) {
      logger.warn({ digest: blob.digest, wrong }, 'stored pieces did not match their hashes and are dropped')
      recorder.note(blob)
    }
    if (blob.handles === 0 && blob.isWorthless) await this.#c.forget(blob)
  }
}
