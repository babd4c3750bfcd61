// Keeps every piece of an active task with a holder or a grantee: carries out what the grant decider says.
import { clipDetail } from '../shared/protocol/limits.ts'
import type { PieceRun } from '../shared/protocol/messages.ts'
import type { Outbox } from './outbox.ts'
import type { Pushes } from './pushes.ts'
import {
  decideGrants,
  decideOwnGrant,
  findHastening,
  type GrantChoice,
  type GrantDecision,
} from './schedule/grants.ts'
import type { ClusterState } from './state/cluster-state.ts'
import type { StateEvent } from './state/events.ts'
import type { Peer } from './state/peer.ts'
import type { Task } from './state/task.ts'

export interface CoverageComponents {
  readonly state: ClusterState
  readonly apply: (event: StateEvent) => void
  readonly outbox: Outbox
  readonly pushes: Pushes
}

export class Coverage {
  readonly #components: CoverageComponents
  readonly #ratio: number

  constructor(components: CoverageComponents, init: { budgetRatio: number }) {
    this.#components = components
    this.#ratio = init.budgetRatio
  }

  /** Grants what is missing, or fails the task. `detail` says why, for a failure. */
  cover(task: Task, now: number, detail?: string): void {
    this.announce(task, this.decide(task, now), detail)
  }

  /** Decides and enters the grants in the state; the messages follow with `announce`. */
  decide(task: Task, now: number): GrantDecision {
    const decision = decideGrants(this.#components.state, task, now, this.#ratio)
    if (decision.kind === 'grant') for (const choice of decision.grants) this.#enter(task, choice, now)
    return decision
  }

  announce(task: Task, decision: GrantDecision, detail?: string): void {
    if (decision.kind === 'fail') this.fail(task, decision.code, detail ?? decision.detail)
    else for (const choice of decision.grants) this.#send(task, choice)
  }

  /** Lets a child fetch itself what nobody can give it. */
  coverOwn(child: Peer, now: number): void {
    const own = decideOwnGrant(this.#components.state, child, now, this.#ratio)
    if (own === undefined) return
    this.#enter(child.task, own, now)
    this.#send(child.task, own)
  }

  /** Tells those who were granted what readers now wait for to fetch it first. */
  hasten(task: Task, urgent: readonly PieceRun[], now: number): void {
    for (const choice of findHastening(this.#components.state, task, urgent)) {
      this.#enter(task, choice, now)
      this.#send(task, choice)
    }
  }

  #enter(task: Task, { host, source, runs, urgent, isLastResort }: GrantChoice, now: number): void {
    const { apply, pushes } = this.#components
    const { digest } = task
    const kind = { ...(urgent ? { urgent } : {}), ...(isLastResort ? { isLastResort } : {}) }
    apply({ type: 'granted', host: host.id, digest, source, runs, ...kind, at: now })
    pushes.markFresh(task)
  }

  #send(task: Task, { host, source, runs, urgent }: GrantChoice): void {
    const { digest, size, pieceSize } = task
    const grant = { type: 'grant', digest, size, pieceSize, source, runs } as const
    this.#components.outbox.send(host.id, urgent ? { ...grant, urgent } : grant)
  }

  /** Says so to all who want the task, which they then do not any more. */
  fail(task: Task, code: string, detail: string): void {
    const { apply, outbox } = this.#components
    const { digest } = task
    const hosts = [...task.wanting].map(peer => peer.host.id)
    outbox.broadcast(hosts, { type: 'task-failed', digest, code, detail: clipDetail(detail) })
    for (const host of hosts) apply({ type: 'finished', host, digest, outcome: 'failed' })
    // Who fetches for nobody is not counted on; what it lands is taken all the same.
    for (const host of [...task.grants.keys()]) apply({ type: 'grant-ended', host, digest })
  }
}
