// What follows when hosts find that the whole of a blob is not what its digest says: its hashes are withdrawn and it is fetched anew, within a bound.
import type { Digest } from '../shared/digest.ts'
import type { Coverage } from './coverage.ts'
import { RESETS_MAX } from './limits.ts'
import type { Outbox } from './outbox.ts'
import type { ClusterState } from './state/cluster-state.ts'
import type { StateEvent } from './state/events.ts'
import type { Host } from './state/host.ts'

export interface MismatchesComponents {
  readonly state: ClusterState
  readonly apply: (event: StateEvent) => void
  readonly outbox: Outbox
  readonly coverage: Coverage
}

export class Mismatches {
  readonly #components: MismatchesComponents

  constructor(components: MismatchesComponents) {
    this.#components = components
  }

  /** A host says so. True if hashes were withdrawn: on the word of one who gave some of them, or of two others. */
  take(host: Host, digest: Digest, now: number): boolean {
    const { state, apply, outbox, coverage } = this.#components
    const task = state.tasks.get(digest)
    const peer = task?.peers.get(host.id)
    // Of what was withdrawn already, nothing more need be said.
    if (task === undefined || peer === undefined || peer.resetsSeen < task.resetsEver) return false
    apply({ type: 'mismatch-reported', host: host.id, digest, at: now })
    const isCredible = task.hashedBy.has(host.id) || task.mismatchReporters.size >= 2
    if (!isCredible || task.hashed.count === 0) {
      // It has dropped what it held, and begins anew.
      apply({ type: 'evicted', host: host.id, digest })
      coverage.cover(task, now)
      return false
    }
    const isLast = task.resets >= RESETS_MAX
    const wanting = [...task.wanting].map(({ host }) => host.id)
    apply({ type: 'task-reset', digest, reporter: host.id })
    if (isLast) coverage.fail(task, 'SOURCE_DIGEST_MISMATCH', `it came wrong ${task.resets} times in a row`)
    else {
      outbox.broadcast(wanting, { type: 'task-reset', digest })
      coverage.cover(task, now)
    }
    return true
  }
}
