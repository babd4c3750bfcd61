// The piece requests a session has out: who was asked for what and when, and which may be asked a second time. No I/O.
import type { HostId } from '../../shared/protocol/messages.ts'

/**
 * A request out for this long, and for as many times what pieces took of late, may be asked of a second parent that has nothing else to do;
 * one whose bytes are coming only after as many times that. What a parent has not begun may yet lie in its socket's buffer, and is then sent in
 * vain: so not at once. What it has begun is in vain on one of two full links, unless it is far slower than all the others.
 */
const SECOND_ASK_MS = 1500
const SECOND_ASK_TIMES = 3
const BEGUN_TIMES = 2
/** Or sooner, when its parent has sent nothing at all for this long, in ms; longer for a piece it has begun, where full links lose packets. */
const STALLED_MS = 650
const STALLED_BEGUN_MS = 950

export interface PieceRequest {
  readonly piece: number
  readonly host: HostId
  readonly startedAtMs: number
  readonly abort: AbortController
  /** What pieces of this parent, or if it sent none yet those of others, took of late, in ms. */
  readonly usualMs: number
  /** True once bytes of the piece came. */
  begun(): boolean
  /** How long its parent has sent nothing, in ms. */
  silentForMs(): number
  /** True once all of it came: it is checked and written. */
  arrived: boolean
}

export class PieceRequests {
  readonly #byPiece = new Map<number, PieceRequest[]>()

  get size(): number {
    return this.#byPiece.size
  }

  has(piece: number): boolean {
    return this.#byPiece.has(piece)
  }

  add(
    piece: number,
    host: HostId,
    nowMs: number,
    how: Pick<PieceRequest, 'usualMs' | 'begun' | 'silentForMs'>,
  ): PieceRequest {
    const request = { piece, host, startedAtMs: nowMs, abort: new AbortController(), arrived: false, ...how }
    const others = this.#byPiece.get(piece)
    if (others === undefined) this.#byPiece.set(piece, [request])
    else others.push(request)
    return request
  }

  remove(request: PieceRequest): void {
    const left = this.#byPiece.get(request.piece)?.filter(other => other !== request) ?? []
    if (left.length === 0) this.#byPiece.delete(request.piece)
    else this.#byPiece.set(request.piece, left)
  }

  /** Ends every request for a piece that has landed. */
  abortOthers(piece: number, landed: PieceRequest | undefined, reason: Error): void {
    for (const request of this.#byPiece.get(piece) ?? []) if (request !== landed) request.abort.abort(reason)
  }

  abortAll(reason: Error): void {
    for (const requests of this.#byPiece.values()) for (const request of requests) request.abort.abort(reason)
  }

  /** Requests for pieces that were asked once, long ago: those not begun first, then the oldest. */
  overdue(nowMs: number): PieceRequest[] {
    const unbegun: PieceRequest[] = []
    const begun: PieceRequest[] = []
    for (const [only, second] of this.#byPiece.values()) {
      const outMs = nowMs - only!.startedAtMs
      if (second !== undefined || only!.arrived || outMs < STALLED_MS) continue
      const isBegun = only!.begun()
      const afterMs = Math.max(SECOND_ASK_MS, only!.usualMs * SECOND_ASK_TIMES) * (isBegun ? BEGUN_TIMES : 1)
      const isStalled = Math.min(outMs, only!.silentForMs()) >= (isBegun ? STALLED_BEGUN_MS : STALLED_MS)
      if (!isStalled && outMs < afterMs) continue
      if (isBegun) begun.push(only!)
      else unbegun.push(only!)
    }
    return [...unbegun, ...begun]
  }
}
