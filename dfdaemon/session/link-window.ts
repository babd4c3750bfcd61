// How many pieces may be asked of one parent at a time: few where a piece takes long, so that pieces stay free for parents that turn up meanwhile.

/** A piece that took less, from asking to landing, lets the window grow by one; one that took more than the second lets it shrink, in ms. */
const QUICK_MS = 250
const SLOW_MS = 750
const PIECES_FIRST = 2

export class LinkWindow {
  readonly #piecesMin: number
  readonly #piecesMax: number
  #pieces: number
  #tookMs = 0

  constructor({ piecesMin = 1, piecesMax }: { readonly piecesMin?: number; readonly piecesMax: number }) {
    this.#piecesMin = piecesMin
    this.#piecesMax = piecesMax
    this.#pieces = Math.min(PIECES_FIRST, piecesMax)
  }

  /** Pieces that may be asked for and not landed, at least `piecesMin`. */
  get pieces(): number {
    return this.#pieces
  }

  /** How long pieces of this parent took of late, from asking to landing, in ms; 0 before the first. */
  get tookMs(): number {
    return this.#tookMs
  }

  /** A piece landed `tookMs` after it was asked for. */
  noteLanded(tookMs: number): void {
    this.#tookMs = this.#tookMs === 0 ? tookMs : this.#tookMs + (tookMs - this.#tookMs) / 4
    if (tookMs < QUICK_MS) this.#pieces = Math.min(this.#piecesMax, this.#pieces + 1)
    else if (tookMs > SLOW_MS) this.#pieces = Math.max(this.#piecesMin, this.#pieces - 1)
  }
}
