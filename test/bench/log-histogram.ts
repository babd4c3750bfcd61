// Counts values in buckets that grow by a sixteenth of an octave, so that millions of times cost a few hundred numbers; quantiles are exact to 4.4 %.

const STEPS_PER_OCTAVE = 16
const OCTAVES = 48
/** Values below this share the first bucket. */
const LEAST = 2 ** -16

export class LogHistogram {
  readonly #buckets = new Float64Array(OCTAVES * STEPS_PER_OCTAVE)
  count = 0
  sum = 0
  max = 0

  record(value: number): void {
    const step = value <= LEAST ? 0 : Math.floor(Math.log2(value / LEAST) * STEPS_PER_OCTAVE)
    this.#buckets[Math.min(step, this.#buckets.length - 1)]!++
    this.count++
    this.sum += value
    if (value > this.max) this.max = value
  }

  add(other: LogHistogram): void {
    other.#buckets.forEach((count, step) => {
      this.#buckets[step]! += count
    })
    this.count += other.count
    this.sum += other.sum
    this.max = Math.max(this.max, other.max)
  }

  /** The upper edge of the bucket in which the value of rank `q` (0 to 1) lies; 0 if there is none. */
  quantile(q: number): number {
    let left = Math.ceil(q * this.count)
    if (left <= 0) return 0
    for (let step = 0; step < this.#buckets.length; step++) {
      left -= this.#buckets[step]!
      if (left <= 0) return Math.min(this.max, LEAST * 2 ** ((step + 1) / STEPS_PER_OCTAVE))
    }
    return this.max
  }
}
