// The simulation's agenda: a binary heap of (time, turn), so that what is due at the same time comes in the order it was put in.

export class EventQueue<T> {
  readonly #items: (T | undefined)[] = []
  #times = new Float64Array(1024)
  #turns = new Float64Array(1024)
  #turn = 0
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Time of the next item; undefined if there is none. */
  get nextAt(): number | undefined {
    return this.#size === 0 ? undefined : this.#times[0]
  }

  push(at: number, item: T): void {
    if (this.#size === this.#times.length) this.#grow()
    let place = this.#size++
    const turn = this.#turn++
    while (place > 0) {
      const parent = (place - 1) >> 1
      if (this.#isBefore(parent, at, turn)) break
      this.#move(parent, place)
      place = parent
    }
    this.#put(place, at, turn, item)
  }

  pop(): T | undefined {
    if (this.#size === 0) return undefined
    const top = this.#items[0]
    const last = --this.#size
    const at = this.#times[last]!
    const turn = this.#turns[last]!
    const item = this.#items[last]!
    this.#items[last] = undefined
    if (last > 0) this.#sink(at, turn, item)
    return top
  }

  #sink(at: number, turn: number, item: T): void {
    let place = 0
    for (;;) {
      let child = place * 2 + 1
      if (child >= this.#size) break
      const right = child + 1
      if (right < this.#size && this.#isBefore(right, this.#times[child]!, this.#turns[child]!)) child = right
      if (!this.#isBefore(child, at, turn)) break
      this.#move(child, place)
      place = child
    }
    this.#put(place, at, turn, item)
  }

  /** True if what lies at `place` comes before (at, turn). */
  #isBefore(place: number, at: number, turn: number): boolean {
    const time = this.#times[place]!
    return time < at || (time === at && this.#turns[place]! < turn)
  }

  #move(from: number, to: number): void {
    this.#times[to] = this.#times[from]!
    this.#turns[to] = this.#turns[from]!
    this.#items[to] = this.#items[from]
  }

  #put(place: number, at: number, turn: number, item: T): void {
    this.#times[place] = at
    this.#turns[place] = turn
    this.#items[place] = item
  }

  #grow(): void {
    const grow = (old: Float64Array<ArrayBuffer>) => {
      const larger = new Float64Array(old.length * 2)
      larger.set(old)
      return larger
    }
    this.#times = grow(this.#times)
    this.#turns = grow(this.#turns)
  }
}
