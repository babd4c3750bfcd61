// Random numbers that are the same on every run.

/** Uniform in [0, 1), from a seed (xorshift32, Marsaglia 2003). */
export function seededRandom(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}
