// What waits for the next flush: hashes that became known, and tasks that have new holders. Bounded by the tasks that are active.
import { PIECE_HASH_BYTES } from '../shared/piece.ts'
import type { Outbox } from './outbox.ts'
import type { Task } from './state/task.ts'

export class Pushes {
  readonly #outbox: Outbox
  readonly #hashes = new Map<Task, Set<number>>()
  readonly #fresh = new Set<Task>()

  constructor(outbox: Outbox) {
    this.#outbox = outbox
  }

  get pending(): boolean {
    return this.#hashes.size > 0 || this.#fresh.size > 0
  }

  addHashes(task: Task, pieces: readonly number[]): void {
    let gathered = this.#hashes.get(task)
    if (gathered === undefined) {
      gathered = new Set()
      this.#hashes.set(task, gathered)
    }
    for (const piece of pieces) gathered.add(piece)
  }

  /** The task has a holder that its children were not told of. */
  markFresh(task: Task): void {
    this.#fresh.add(task)
  }

  takeFresh(): Task[] {
    const fresh = [...this.#fresh]
    this.#fresh.clear()
    return fresh
  }

  sendHashes(): void {
    for (const [task, gathered] of this.#hashes) {
      // A reset in between withdraws some.
      const pieces = [...gathered].filter(piece => task.hashed.has(piece))
      if (pieces.length === 0 || task.wanting.size === 0) continue
      const hashes = new Uint8Array(pieces.length * PIECE_HASH_BYTES)
      pieces.forEach((piece, index) => {
        hashes.set(task.hashOf(piece)!, index * PIECE_HASH_BYTES)
      })
      const hosts = [...task.wanting].map(peer => peer.host.id)
      this.#outbox.broadcast(hosts, { type: 'hashes', digest: task.digest, pieces, hashes })
    }
    this.#hashes.clear()
  }
}
