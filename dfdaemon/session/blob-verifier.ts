// Hashes a blob in order while its pieces land in any order, so that the whole digest is known soon after the last piece.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Digest, DigestCheck } from '../../shared/digest.ts'
import { type Geometry, pieceCount } from '../../shared/piece.ts'
import { contentOf } from '../../shared/task-key.ts'
import type { LentPiece } from './recent-pieces.ts'

/** Bytes hashed in one call, and before others have their turn on the event loop; some 2.4 ms of SHA-256. */
const HASH_SLICE_BYTES = 2 * 1024 * 1024
const HASH_TURN_BYTES = 4 * 1024 * 1024

/**
 * `offer` takes a piece straight from memory when it is the next in order; others are brought once the gap before them is closed.
 * The caller offers each piece after it was verified, and it must be readable by the time its turn comes.
 */
export class BlobVerifier {
  readonly #geometry: Geometry
  readonly #check: DigestCheck
  readonly #readable: (piece: number) => boolean
  readonly #bring: (piece: number) => LentPiece | Promise<LentPiece>
  #next = 0
  #running: Promise<void> | undefined
  /** The digest as it was before pieces that were taken and are not known to be stored, by piece. */
  readonly #before = new Map<number, DigestCheck>()
  #isOver = false

  constructor(
    components: {
      readable: (piece: number) => boolean
      /** Stored pieces; as RecentPieces.bring. */
      bring: (piece: number) => LentPiece | Promise<LentPiece>
    },
    init: { digest: Digest; geometry: Geometry },
  ) {
    this.#geometry = init.geometry
    this.#check = new DigestCheck(contentOf(init.digest))
    this.#readable = components.readable
    this.#bring = components.bring
  }

  /** Pieces hashed so far, all from the start. */
  get hashedPieces(): number {
    return this.#next
  }

  /** Takes a piece from memory if it is next; true if it was used. */
  offer(piece: number, bytes: Uint8Array): boolean {
    if (piece !== this.#next || this.#running !== undefined) return false
    this.#before.set(piece, this.#check.copy())
    this.#check.update(bytes)
    this.#next++
    return true
  }

  /** A piece that was offered is stored. */
  noteStored(piece: number): void {
    this.#before.delete(piece)
  }

  /** The digest over the first pieces, all of them stored; undefined if it is not to be had any more. */
  hashedPrefix(): DigestCheck | undefined {
    const [first] = [...this.#before.keys()].sort((a, b) => a - b)
    const check = first === undefined ? this.#check : this.#before.get(first)
    return this.#isOver ? undefined : check?.copy()
  }

  /** Goes on through stored pieces up to the first gap. One pass runs at a time; a later call waits for it and looks again. */
  async catchUp(): Promise<void> {
    while (this.#running !== undefined) await this.#running
    if (!this.#hasNext()) return
    const pass = this.#hashStored()
    this.#running = pass.finally(() => {
      this.#running = undefined
    })
    await this.#running
  }

  /** True if all pieces were hashed and have the digest. Call once, after the last piece is stored. */
  async matches(): Promise<boolean> {
    await this.catchUp()
    if (this.#next !== pieceCount(this.#geometry)) throw new Error('verifier asked before the last piece')
    this.#isOver = true
    return this.#check.matches()
  }

  #hasNext(): boolean {
    return this.#next < pieceCount(this.#geometry) && this.#readable(this.#next)
  }

  async #hashStored(): Promise<void> {
    let hashedBytes = 0
    while (this.#hasNext()) {
      const piece = this.#next
      const brought = this.#bring(piece)
      if (brought instanceof Promise) hashedBytes = 0
      const lent = brought instanceof Promise ? await brought : brought
      try {
        this.#before.set(piece, this.#check.copy())
        for (let at = 0; at < lent.bytes.byteLength; at += HASH_SLICE_BYTES) {
          // Others have their turn on the event loop, as they have it while a piece is read.
          if (hashedBytes >= HASH_TURN_BYTES) {
            await nextTurn()
            hashedBytes = 0
          }
          const slice = lent.bytes.subarray(at, at + HASH_SLICE_BYTES)
          this.#check.update(slice)
          hashedBytes += slice.byteLength
        }
      } finally {
        lent.giveBack()
      }
      this.#next++
      this.#before.delete(piece)
    }
  }
}
