// A set that can be sampled at random in constant time per item, for choosing candidates among very many holders.

export class SampleSet<T> {
  readonly #items: T[] = []
  readonly #places = new Map<T, number>()

  get size(): number {
    return this.#items.length
  }

  has(item: T): boolean {
    return this.#places.has(item)
  }

  add(item: T): boolean {
    if (this.#places.has(item)) return false
    this.#places.set(item, this.#items.length)
    this.#items.push(item)
    return true
  }

  delete(item: T): boolean {
    const place = this.#places.get(item)
    if (place === undefined) return false
    this.#places.delete(item)
    const last = this.#items.pop()!
    if (place < this.#items.length) {
      this.#items[place] = last
      this.#places.set(last, place)
    }
    return true
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.#items[Symbol.iterator]()
  }

  /** Up to `count` different items: all of them if there are no more, else each drawn at random. */
  sample(count: number, random: () => number): T[] {
    const items = this.#items
    if (items.length <= count) return items.slice()
    // So few that looking through them beats a Set. The bound keeps a bad `random` from looping.
    const found: T[] = []
    for (let draw = 0; draw < count * 2 && found.length < count; draw++) {
      const item = items[Math.min(items.length - 1, Math.floor(random() * items.length))]!
      if (!found.includes(item)) found.push(item)
    }
    return found
  }
}
