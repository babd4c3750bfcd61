// What time alone brings about: silent hosts, grants without progress, stuck children, tasks of no use. A sweep's work is bounded.
import type { Coverage } from './coverage.ts'
import {
  GRANT_STALL_MS,
  SWEEP_CHILDREN_MAX,
  SWEEP_CHOICES_MAX,
  SWEEP_TASKS_MAX,
  TASK_IDLE_MS,
} from './limits.ts'
import type { ParentOffers } from './parent-offers.ts'
import type { ClusterState } from './state/cluster-state.ts'
import type { StateEvent } from './state/events.ts'
import type { Host } from './state/host.ts'
import type { Peer } from './state/peer.ts'
import type { Task } from './state/task.ts'

export interface SweeperComponents {
  readonly state: ClusterState
  readonly apply: (event: StateEvent) => void
  readonly coverage: Coverage
  readonly offers: ParentOffers
}

export class Sweeper {
  readonly #components: SweeperComponents
  readonly #expireMs: number
  // Walks go on where the last sweep left off, so that everything has its turn.
  #tasks: Iterator<Task>
  #children: Iterator<Peer>

  constructor(components: SweeperComponents, init: { expireMs: number }) {
    this.#components = components
    this.#expireMs = init.expireMs
    this.#tasks = components.state.tasks.values()
    this.#children = this.#walkChildren()
  }

  findSilent(now: number): Host[] {
    return [...this.#components.state.hosts.values()].filter(host => now - host.seenAt > this.#expireMs)
  }

  sweep(now: number): void {
    const { state, coverage } = this.#components
    for (const task of [...state.active]) {
      this.#endStalled(task, now)
      coverage.cover(task, now)
    }
    this.#helpChildren(now)
    this.#forgetIdle(now)
  }

  #endStalled(task: Task, now: number): void {
    for (const grant of [...task.grants.values()])
      if (now - grant.progressAt > GRANT_STALL_MS)
        this.#components.apply({
          type: 'grant-ended',
          host: grant.host,
          digest: task.digest,
          failure: 'SOURCE_STALLED',
          lasting: true,
        })
  }

  /** A child may have had nothing to take from a host when that host began to offer, so those with few parents are looked at again. */
  #helpChildren(now: number): void {
    const { offers, coverage } = this.#components
    let choices = SWEEP_CHOICES_MAX
    for (let looked = 0; looked < SWEEP_CHILDREN_MAX && choices > 0; looked++) {
      const next = this.#children.next()
      if (next.done) {
        this.#children = this.#walkChildren()
        return
      }
      const child = next.value
      if (offers.helpStuck(child, now)) {
        coverage.coverOwn(child, now)
        choices--
      } else if (child.parents.size > 0 && offers.fillUp(child, now)) choices--
    }
  }

  *#walkChildren(): Generator<Peer> {
    for (const task of this.#components.state.active) yield* task.wanting
  }

  /** Forgets tasks that have been of no use to anyone for long. */
  #forgetIdle(now: number): void {
    const { state, apply } = this.#components
    for (let looked = 0; looked < SWEEP_TASKS_MAX; looked++) {
      const next = this.#tasks.next()
      if (next.done) {
        this.#tasks = state.tasks.values()
        return
      }
      const task = next.value
      const isIdle = task.wanting.size === 0 && task.full.size === 0 && task.peers.size === 0
      if (isIdle && now - task.usedAt > TASK_IDLE_MS) apply({ type: 'task-forgotten', digest: task.digest })
    }
  }
}
