// Pieces that a session still has in memory, landed a moment ago or read back: its digest and its readers take them from here, so that a byte is read from the disk once or not at all.
import { type Geometry, pieceLength, pieceOffset } from '../../shared/piece.ts'
import type { BufferPool, Loan } from './buffer-pool.ts'

/** Bytes of pieces that one session keeps, at most, but two pieces where they are larger. */
const RECENT_BYTES_MAX = 8 * 1024 * 1024
const RECENT_PIECES_MIN = 2

const nothing = Buffer.alloc(0)

/** A piece in memory, which stays as it is until it is given back, once. */
export interface LentPiece {
  readonly bytes: Buffer
  /** False if it is in a buffer that pieces under way are waiting for: not for who may take long. */
  readonly isKept: boolean
  giveBack(): void
}

interface Held {
  bytes: Buffer
  release: () => void
  /** How many have it on loan, or wait for it. */
  users: number
  /** False once its place was given to another. */
  isCurrent: boolean
  /** Its buffer counts as kept, not as lent. */
  isKept: boolean
}

interface Coming {
  readonly held: Held
  readonly read: Promise<void>
}

export interface RecentPiecesInit {
  readonly geometry: Geometry
  /** Ends waiting for a buffer. */
  readonly signal: AbortSignal
  /** Reads stored bytes; as BlobHandle.read. */
  read(position: number, into: Uint8Array): Promise<void>
}

export class RecentPieces {
  readonly #pool: BufferPool
  readonly #init: RecentPiecesInit
  /** Oldest first. */
  readonly #held = new Map<number, Held>()
  readonly #coming = new Map<number, Coming>()
  #isClosed = false

  constructor(components: { pool: BufferPool }, init: RecentPiecesInit) {
    this.#pool = components.pool
    this.#init = init
  }

  /** Pieces that are kept at most. */
  get piecesMax(): number {
    return Math.max(RECENT_PIECES_MIN, Math.floor(RECENT_BYTES_MAX / this.#init.geometry.pieceSize))
  }

  /** Keeps a stored piece, whose bytes are the first of the loan's buffer, for as long as there is room. */
  keep(piece: number, loan: Loan): void {
    this.forget(piece)
    const release = this.#keepOf(loan)
    if (release === undefined) return
    const bytes = loan.buffer.subarray(0, pieceLength(this.#init.geometry, piece))
    this.#place(piece, { bytes, release, users: 0, isCurrent: true, isKept: true })
  }

  /** The piece, if it is in memory; a promise if it is being read back; else undefined. */
  lend(piece: number): LentPiece | Promise<LentPiece> | undefined {
    const held = this.#held.get(piece)
    if (held !== undefined) return lendHeld(held)
    const coming = this.#coming.get(piece)
    if (coming === undefined) return undefined
    const lent = lendHeld(coming.held)
    return coming.read.then(() => lent)
  }

  /** The piece from memory, or read back into it when there is a buffer. @throws what `read` throws, or the signal's reason */
  bring(piece: number): LentPiece | Promise<LentPiece> {
    const there = this.lend(piece)
    if (there !== undefined) return there
    const held: Held = { bytes: nothing, release: () => {}, users: 0, isCurrent: false, isKept: false }
    const read = this.#readBack(piece, held).finally(() => this.#coming.delete(piece))
    this.#coming.set(piece, { held, read })
    return this.lend(piece)!
  }

  /** What is kept of the piece is not what is stored any more, or gives its place to another. */
  forget(piece: number): void {
    const held = this.#held.get(piece)
    if (held === undefined) return
    this.#held.delete(piece)
    held.isCurrent = false
    if (held.users === 0) held.release()
  }

  /** Keeps nothing any more; what is on loan stays until it is given back. */
  close(): void {
    this.#isClosed = true
    for (const piece of [...this.#held.keys()]) this.forget(piece)
  }

  async #readBack(piece: number, held: Held): Promise<void> {
    const { geometry, signal } = this.#init
    const loan = await this.#pool.lend(geometry.pieceSize, signal)
    held.bytes = loan.buffer.subarray(0, pieceLength(geometry, piece))
    try {
      await this.#init.read(pieceOffset(geometry, piece), held.bytes)
    } catch (error) {
      loan.giveBack()
      throw error
    }
    const release = this.#keepOf(loan)
    if (release === undefined) {
      held.release = () => loan.giveBack()
      return
    }
    loan.giveBack()
    held.release = release
    held.isCurrent = true
    held.isKept = true
    this.#place(piece, held)
  }

  /** What is older gives its place. */
  #keepOf(loan: Loan): (() => void) | undefined {
    if (this.#isClosed) return undefined
    let isFull = this.#held.size >= this.piecesMax
    for (const oldest of [...this.#held.keys(), undefined]) {
      const release = isFull ? undefined : loan.keep()
      if (release !== undefined || oldest === undefined) return release
      this.forget(oldest)
      isFull = this.#held.size >= this.piecesMax
    }
    return undefined
  }

  #place(piece: number, held: Held): void {
    this.forget(piece)
    this.#held.set(piece, held)
  }
}

function lendHeld(held: Held): LentPiece {
  held.users++
  let isOut = true
  return {
    get bytes() {
      return held.bytes
    },
    get isKept() {
      return held.isKept
    },
    giveBack: () => {
      if (!isOut) return
      isOut = false
      held.users--
      if (held.users === 0 && !held.isCurrent) held.release()
    },
  }
}
