// Where a session's pieces land: stored at their offset, hashed in order for the whole digest, reported; the last one settles the blob.
import type { Digest, DigestCheck } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import { type Geometry, pieceCount, pieceLength, pieceOffset } from '../../shared/piece.ts'
import { hashPiece } from '../../shared/piece-hash.ts'
import type { HostId } from '../../shared/protocol/messages.ts'
import type { SchedulerClient } from '../scheduler/scheduler-client.ts'
import type { BlobHandle } from '../store/blob-store.ts'
import { BlobVerifier } from './blob-verifier.ts'
import type { BufferPool, Loan } from './buffer-pool.ts'
import { type LentPiece, RecentPieces } from './recent-pieces.ts'

/** Where a piece came from: the source, a parent, or (undefined) the supernode's own answer. */
export type PieceOrigin = 'source' | HostId | undefined

export interface LandingInit {
  readonly digest: Digest
  readonly geometry: Geometry
  readonly handle: BlobHandle
  /** Ends waiting for a buffer. */
  readonly signal: AbortSignal
  /** A piece is stored and may be read and shared. */
  onLanded(piece: number, bytes: number, origin: PieceOrigin): void
  /** All pieces are stored and the whole digest was checked. If it matches, the blob is committed next. */
  onWhole(matches: boolean): void
  /** The blob is complete on disk. */
  onCommitted(): void
  /** Reading back or committing failed. */
  onBroken(error: unknown): void
}

export class PieceLanding {
  readonly #scheduler: Pick<SchedulerClient, 'report'>
  readonly #init: LandingInit
  readonly #verifier: BlobVerifier
  readonly #recent: RecentPieces
  #settling = false

  constructor(
    components: { scheduler: Pick<SchedulerClient, 'report'>; pool: BufferPool },
    init: LandingInit,
  ) {
    this.#scheduler = components.scheduler
    this.#init = init
    const { handle, digest, geometry, signal } = init
    const read = (position: number, into: Uint8Array) => handle.read(position, into)
    const recent = new RecentPieces(components, { geometry, signal, read })
    this.#recent = recent
    this.#verifier = new BlobVerifier(
      { readable: piece => handle.stat.have.has(piece), bring: piece => recent.bring(piece) },
      { digest, geometry },
    )
  }

  /**
   * Stores a piece that matched `hash`. The bytes may be reused when the promise settles, unless they are those of `loan`, which keeps them then.
   * @throws PantalaError STORE_FULL | STORE_FAILED
   */
  async land(
    piece: number,
    bytes: Buffer,
    hash: Uint8Array,
    origin: PieceOrigin,
    loan?: Loan,
  ): Promise<void> {
    const { handle, digest } = this.#init
    if (handle.stat.have.has(piece)) return
    const stored = handle.writePiece(piece, bytes, hash)
    // Hashing goes on here while the write is under way on another thread.
    this.#verifier.offer(piece, bytes)
    await stored
    this.#verifier.noteStored(piece)
    if (loan !== undefined && this.#isSoonTaken(piece)) this.#recent.keep(piece, loan)
    else this.#recent.forget(piece)
    const fromSource = origin === 'source'
    this.#scheduler.report({
      digest,
      pieces: [piece],
      ...(fromSource ? { hashes: Uint8Array.from(hash) } : {}),
      fromSourceBytes: fromSource ? bytes.byteLength : 0,
      parents: fromSource || origin === undefined ? [] : [{ host: origin, bytes: bytes.byteLength }],
    })
    this.#init.onLanded(piece, bytes.byteLength, origin)
    this.settle()
  }

  /** Lands a small blob that came whole from the supernode. @throws PantalaError SOURCE_LENGTH_WRONG, and as `land` */
  async landContent(content: Uint8Array): Promise<void> {
    const { geometry } = this.#init
    if (content.byteLength !== geometry.size) {
      throw new PantalaError('SOURCE_LENGTH_WRONG', {
        detail: `${content.byteLength} bytes from the supernode`,
      })
    }
    const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength)
    for (let piece = 0; piece < pieceCount(geometry); piece++) {
      const start = pieceOffset(geometry, piece)
      const slice = bytes.subarray(start, start + pieceLength(geometry, piece))
      await this.land(piece, slice, hashPiece(slice), undefined)
    }
    if (geometry.size === 0) this.settle()
  }

  /**
   * A stored piece from memory, or a promise while it is being read back; undefined if it is neither, or if others need its buffer. `all`: all of it is
   * wanted, so that it is read back for this reader and for the digest together where that has yet to come to it.
   */
  lend(piece: number, all: boolean): LentPiece | Promise<LentPiece | undefined> | undefined {
    const isForBoth = all && this.#isNext(piece)
    const lent = isForBoth ? this.#recent.bring(piece) : this.#recent.lend(piece)
    // A client may take a piece as slowly as it likes.
    return lent instanceof Promise ? lent.then(keptOnly) : lent
  }

  /** Keeps nothing in memory any more. */
  close(): void {
    this.#recent.close()
  }

  /** See BlobVerifier. */
  hashedPrefix(): DigestCheck | undefined {
    return this.#verifier.hashedPrefix()
  }

  /** Hashes what can be hashed; when nothing is missing, checks the whole and commits. */
  settle(): void {
    const { handle } = this.#init
    if (!handle.stat.have.isFull) {
      this.#verifier.catchUp().catch(error => this.#init.onBroken(error))
      return
    }
    if (this.#settling) return
    this.#settling = true
    this.#checkWhole().catch(error => this.#init.onBroken(error))
  }

  /** The digest takes the piece next, or after the one it is at. */
  #isNext(piece: number): boolean {
    const ahead = piece - this.#verifier.hashedPieces
    return ahead === 0 || ahead === 1
  }

  /** Near enough to where the digest is, and so most readers, to be taken before others take its place. */
  #isSoonTaken(piece: number): boolean {
    const ahead = piece - this.#verifier.hashedPieces
    return ahead >= -this.#recent.piecesMax && ahead < this.#recent.piecesMax
  }

  /** Readers need not wait for the disk: the bytes are right, and a crash before the commit only costs another check. */
  async #checkWhole(): Promise<void> {
    const matches = await this.#verifier.matches()
    this.#init.onWhole(matches)
    if (!matches) return
    await this.#init.handle.commit()
    this.#init.onCommitted()
  }
}

function keptOnly(lent: LentPiece): LentPiece | undefined {
  if (!lent.isKept) lent.giveBack()
  return lent.isKept ? lent : undefined
}
