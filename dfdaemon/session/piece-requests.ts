// The piece requests a session has out: who was asked for what and when, and which may be asked a second time. No I/O.
import type { HostId } from '../../shared/protocol/messages.ts'

/** A request out for this long may be asked of a second parent that has nothing else to do, in ms. */
const SECOND_ASK_MS = 1500

export interface PieceRequest {
  readonly piece: number
  readonly host: HostId
  readonly startedAtMs: number
  readonly abort: AbortController
}

export class PieceRequests {
  readonly #byPiece = new Map<number, PieceRequest[]>()

  get size(): number {
    return this.#byPiece.size
  }

  has(piece: number): boolean {
    return this.#byPiece.has(piece)
  }

  add(piece: number, host: HostId, nowMs: number): PieceRequest {
    const request = { piece, host, startedAtMs: nowMs, abort: new AbortController() }
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

  /** Pieces that were asked once, long ago, of someone other than `host`; oldest first. */
  *overdueFor(host: HostId, nowMs: number): Generator<number> {
    for (const [piece, requests] of this.#byPiece) {
      const [only] = requests
      if (requests.length === 1 && only!.host !== host && nowMs - only!.startedAtMs >= SECOND_ASK_MS)
        yield piece
    }
  }
}
