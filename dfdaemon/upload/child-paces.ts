// How long pieces take each child of late, from being dealt to being sent; who is far slower than the others.
import { farSlowerMs, median } from '../../shared/far-slower.ts'

/** A piece that took less went into a socket's buffer at once, in ms: that says nothing of the line. */
const INSTANT_MS = 20
/** A child is slow if pieces take it far longer than the others, and longer than this, in ms. */
const SLOW_MS_MIN = 300

export class ChildPaces<Child> {
  readonly #tookMs = new Map<Child, number>()

  /** A piece took the child so long, in ms. */
  note(child: Child, tookMs: number): void {
    if (tookMs < INSTANT_MS) return
    const before = this.#tookMs.get(child) ?? tookMs
    this.#tookMs.set(child, before + (tookMs - before) / 4)
  }

  forget(child: Child): void {
    this.#tookMs.delete(child)
  }

  /** What is usual among the children, in ms; 0 while nothing is known. */
  get usualMs(): number {
    return median([...this.#tookMs.values()])
  }

  /** By what its pieces took, or by how long one is under way already, in ms; where all take long, none is slow. */
  isSlow(child: Child, underWayMs: number): boolean {
    const takesMs = Math.max(this.#tookMs.get(child) ?? 0, underWayMs)
    return takesMs > Math.max(SLOW_MS_MIN, farSlowerMs([...this.#tookMs.values()]))
  }
}
