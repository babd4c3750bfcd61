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
  /** True while its parent is silent: nobody counts on it. */
  stalled(): boolean
  /** How long its parent has sent nothing, in ms. */
  silentForMs(): number
  /** True once all of it came: it is checked and written. */
  arrived: boolean
  /** The host that is asked next if this one gives the request back. */
  movesTo: HostId | undefined
}

/** True if its parent has sent nothing at all for longer than one does that is merely busy. */
export function isSilent(request: PieceRequest, outMs = Number.POSITIVE_INFINITY): boolean {
  return Math.min(outMs, request.silentForMs()) >= (request.begun() ? STALLED_BEGUN_MS : STALLED_MS)
}

export class PieceRequests {
  readonly #byPiece = new Map<number, PieceRequest[]>()

  get size(): number {
    return this.#byPiece.size
  }

  /** True if it was asked of a parent that has not stalled since. */
  has(piece: number): boolean {
    return this.#byPiece.get(piece)?.some(request => request.arrived || !request.stalled()) === true
  }

  add(
    piece: number,
    host: HostId,
    nowMs: number,
    how: Pick<PieceRequest, 'usualMs' | 'begun' | 'stalled' | 'silentForMs'>,
  ): PieceRequest {
    const state = { arrived: false, movesTo: undefined }
    const request: PieceRequest = {
      ...state,
      piece,
      host,
      startedAtMs: nowMs,
      abort: new AbortController(),
      ...how,
    }
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

  /** The request out longest, made before `beforeMs`, that was made once, has not begun and fits. */
  findUnbegun(beforeMs: number, fits: (request: PieceRequest) => boolean): PieceRequest | undefined {
    let oldest: PieceRequest | undefined
    for (const [only, second] of this.#byPiece.values()) {
      if (second !== undefined || only!.startedAtMs > beforeMs || only!.arrived || only!.begun()) continue
      if (oldest !== undefined && only!.startedAtMs >= oldest.startedAtMs) continue
      if (only!.movesTo === undefined && !only!.abort.signal.aborted && fits(only!)) oldest = only
    }
    return oldest
  }

  /** Ends every request for a piece that has landed. */
  abortOthers(piece: number, landed: PieceRequest | undefined, reason: Error): void {
    for (const request of this.#byPiece.get(piece) ?? []) if (request !== landed) request.abort.abort(reason)
  }

  /** Ends what this host was asked for and has not begun. */
  abortUnbegun(host: HostId, reason: Error): void {
    for (const requests of this.#byPiece.values())
      for (const request of requests)
        if (request.host === host && !request.arrived && !request.begun()) request.abort.abort(reason)
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
      const silent = isSilent(only!, outMs)
      if (!silent && (outMs < afterMs || only!.movesTo !== undefined)) continue
      if (isBegun) begun.push(only!)
      else unbegun.push(only!)
    }
    return [...unbegun, ...begun]
  }
}
