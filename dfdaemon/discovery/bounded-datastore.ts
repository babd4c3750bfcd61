// Where the DHT keeps its records: in memory, and no more than so many. The oldest go first.
import { MemoryDatastore } from 'datastore-core'
import type { Key } from 'interface-datastore'

export class BoundedDatastore extends MemoryDatastore {
  readonly #entriesMax: number
  /** Oldest first. */
  readonly #keys = new Map<string, Key>()

  constructor(entriesMax: number) {
    super()
    this.#entriesMax = entriesMax
  }

  get size(): number {
    return this.#keys.size
  }

  override put(key: Key, value: Uint8Array): Key {
    const name = key.toString()
    this.#keys.delete(name)
    this.#keys.set(name, key)
    if (this.#keys.size > this.#entriesMax) this.delete(this.#keys.values().next().value!)
    return super.put(key, value) as Key
  }

  override delete(key: Key): void {
    this.#keys.delete(key.toString())
    super.delete(key)
  }
}
