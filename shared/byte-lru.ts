// A least-recently-used cache bounded by bytes and by entries.

interface Entry<V> {
  readonly value: V
  readonly bytes: number
}

export class ByteLru<K, V> {
  readonly #entries = new Map<K, Entry<V>>()
  readonly #bytesMax: number
  readonly #entriesMax: number
  #bytes = 0

  constructor(limits: { bytesMax: number; entriesMax: number }) {
    this.#bytesMax = limits.bytesMax
    this.#entriesMax = limits.entriesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  get(key: K): V | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    return entry.value
  }

  /** Keeps `value`, which counts `bytes`; what alone is over the bound is not kept. */
  set(key: K, value: V, bytes: number): void {
    this.delete(key)
    if (bytes > this.#bytesMax) return
    this.#entries.set(key, { value, bytes })
    this.#bytes += bytes
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#bytesMax && this.#entries.size <= this.#entriesMax) break
      this.delete(oldest)
    }
  }

  delete(key: K): void {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    this.#bytes -= entry.bytes
    this.#entries.delete(key)
  }
}
