// What waits for the next flush: hashes that became known, and tasks that have new holders. Bounded by the tasks that are active, and so is the work of a flush.
import { PIECE_HASH_BYTES } from '../shared/piece.ts'
import type { Outbox } from './outbox.ts'
import type { Peer } from './state/peer.ts'
import type { Task } from './state/task.ts'

/** Hosts that hashes are sent to, and children that are looked at and given parents, in one flush; the rest has its turn in the next. */
const HASHES_HOSTS_MAX = 2000
const CHILDREN_LOOKED_MAX = 10_000
const CHILDREN_CHOSEN_FOR_MAX = 500

/** Hashes on their way to all who want a task. */
interface Telling {
  readonly task: Task
  readonly pieces: readonly number[]
  readonly resets: number
  readonly left: Iterator<Peer>
}

/** Children of a task that are looked at: those who have no parent, then all. */
interface Walk {
  isFirst: boolean
  left: Iterator<Peer>
}

export class Pushes {
  readonly #outbox: Outbox
  readonly #hashes = new Map<Task, Set<number>>()
  #telling: Telling[] = []
  readonly #fresh = new Set<Task>()
  /** Those who are still to be looked at, by task. */
  readonly #walks = new Map<Task, Walk>()

  constructor(outbox: Outbox) {
    this.#outbox = outbox
  }

  get pending(): boolean {
    return this.#hashes.size > 0 || this.#telling.length > 0 || this.#fresh.size > 0 || this.#walks.size > 0
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

  /** Sends hashes that gathered, each task's to some of those who want it; who comes meanwhile has them with the answer to its registration. */
  sendHashes(): void {
    for (const [task, gathered] of this.#hashes)
      this.#telling.push({ task, pieces: [...gathered], resets: task.resets, left: task.wanting.values() })
    this.#hashes.clear()
    let room = HASHES_HOSTS_MAX
    while (room > 0 && this.#telling.length > 0) {
      const telling = this.#telling[0]!
      const hosts: string[] = []
      let next = telling.left.next()
      while (!next.done) {
        hosts.push(next.value.host.id)
        if (hosts.length === room) break
        next = telling.left.next()
      }
      if (next.done) this.#telling.shift()
      room -= hosts.length
      this.#tell(telling, hosts)
    }
  }

  #tell({ task, pieces: told, resets }: Telling, hosts: readonly string[]): void {
    // A reset in between withdraws them.
    const pieces = resets === task.resets ? told.filter(piece => task.hashed.has(piece)) : []
    if (pieces.length === 0 || hosts.length === 0) return
    const hashes = new Uint8Array(pieces.length * PIECE_HASH_BYTES)
    pieces.forEach((piece, index) => {
      hashes.set(task.hashOf(piece)!, index * PIECE_HASH_BYTES)
    })
    this.#outbox.broadcast(hosts, { type: 'hashes', digest: task.digest, pieces, hashes })
  }

  /**
   * Goes through the children of tasks with new holders, first for one parent each for those who have none, since slots are theirs first, then for
   * as many as they should have. `give` says whether it had to choose.
   */
  giveParents(give: (child: Peer, count?: number) => boolean): void {
    for (const task of this.#fresh) {
      if (this.#walks.has(task)) continue
      this.#fresh.delete(task)
      this.#walks.set(task, { isFirst: true, left: task.wanting.values() })
    }
    let looks = CHILDREN_LOOKED_MAX
    let choices = CHILDREN_CHOSEN_FOR_MAX
    for (const [task, walk] of this.#walks) {
      while (looks-- > 0 && choices > 0) {
        const next = walk.left.next()
        if (next.done && !walk.isFirst) {
          this.#walks.delete(task)
          break
        }
        if (next.done) {
          walk.isFirst = false
          walk.left = task.wanting.values()
        } else if (give(next.value, walk.isFirst ? 1 : undefined)) choices--
      }
    }
  }
}
