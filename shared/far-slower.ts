// When one of several is far slower than the rest, by what pieces take each of them. Pure.

/** So many times what it takes the median one, of at least so many that are known. */
const FAR_TIMES = 4
const KNOWN_MIN = 3

/** The lower one where there are two; 0 of none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0
}

/** Who takes longer than this is far slower than the others, in ms; infinite while too few are known. `tookMs`: one for each. */
export function farSlowerMs(tookMs: readonly number[]): number {
  if (tookMs.length < KNOWN_MIN) return Number.POSITIVE_INFINITY
  return median(tookMs) * FAR_TIMES
}
