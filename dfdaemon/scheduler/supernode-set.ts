// Several supernodes as one: each task has an owner by rendezvous hashing; one that is away is passed over for the next, and gets its tasks
// back when it returns. All of them are told what this host holds.

import type { Digest } from '../../shared/digest.ts'
import { type ErrorCode, isPantalaError, PantalaError, toPantalaError } from '../../shared/errors.ts'
import { pieceSizeFor } from '../../shared/piece.ts'
import type {
  Finish,
  Grant,
  Holding,
  HostId,
  ParentFault,
  PieceRun,
  Registered,
  Relay,
  Relayed,
  Report,
} from '../../shared/protocol/messages.ts'
import { orderByRendezvous } from '../../shared/rendezvous.ts'
import type { RegisterRequest, SchedulerClient, TaskListener, Wish } from './scheduler-client.ts'

/** One supernode, as its client sees it. */
export interface SetMember extends SchedulerClient {
  readonly firstAttempt: Promise<void>
  start(): void
  stop(): Promise<void>
  /** Tells of blobs held whole that it was not told of by a report. */
  announce(holdings: readonly Holding[]): void
}

interface Member {
  readonly id: HostId
  readonly client: SetMember
}

/** A task this host takes part in, and the supernode that helps with it now. */
interface RoutedTask {
  readonly request: RegisterRequest
  readonly listener: TaskListener
  /** All that were asked, and may remember it. */
  readonly asked: Set<Member>
  member: Member
  over: boolean
}

/** Grants of tasks that nobody reads here, by who gave them; as many as sessions can run, and then some. */
const GRANTS_MAX = 4096
/** How long one supernode may take to take over a task, in ms. */
const TAKE_OVER_MS = 10_000

export class SupernodeSet implements SchedulerClient {
  onGrant: (grant: Grant) => void = () => {}
  readonly #members: readonly Member[]
  readonly #tasks = new Map<Digest, RoutedTask>()
  readonly #grants = new Map<Digest, Member>()

  constructor(members: ReadonlyMap<HostId, SetMember>) {
    this.#members = [...members].map(([id, client]) => ({ id, client }))
    for (const member of this.#members) {
      member.client.onGrant = grant => {
        this.#noteGrant(grant.digest, member)
        this.onGrant(grant)
      }
    }
  }

  get connected(): boolean {
    return this.#members.some(({ client }) => client.connected)
  }

  /** Any will do: parents know the keys of all supernodes. One that is connected has the newest. */
  get ticket(): Uint8Array | undefined {
    const tickets = this.#members.filter(({ client }) => client.ticket !== undefined)
    return (tickets.find(({ client }) => client.connected) ?? tickets[0])?.client.ticket
  }

  /**
   * Resolves when one welcomed this host.
   * @throws PantalaError what the first one that fails for good says, or SUPERNODE_AWAY, when all were tried
   */
  get firstAttempt(): Promise<void> {
    return Promise.any(this.#members.map(({ client }) => client.firstAttempt)).catch(error => {
      const errors = error instanceof AggregateError ? error.errors : []
      const lasting = errors.find(each => isPantalaError(each) && each.entry.retry === 'never')
      throw lasting ?? errors[0] ?? new PantalaError('SUPERNODE_AWAY', { detail: 'none is configured' })
    })
  }

  start(): void {
    for (const { client } of this.#members) client.start()
  }

  async stop(): Promise<void> {
    await Promise.all(this.#members.map(({ client }) => client.stop()))
  }

  async register(request: RegisterRequest, listener: TaskListener, signal: AbortSignal): Promise<Registered> {
    const [first] = this.#inOrder(request.digest)
    if (first === undefined) throw new PantalaError('SUPERNODE_AWAY', { detail: 'none is configured' })
    const task: RoutedTask = { request, listener, asked: new Set(), member: first, over: false }
    this.#tasks.set(request.digest, task)
    return this.#registerInTurn(task, undefined, signal)
  }

  report(report: Omit<Report, 'type' | 'slotsBusy'>): void {
    this.#routeOf(report.digest)?.client.report(report)
  }

  want(digest: Digest, wish: Wish): void {
    this.#routeOf(digest)?.client.want(digest, wish)
  }

  parentFault(fault: Omit<ParentFault, 'type'>): void {
    this.#routeOf(fault.digest)?.client.parentFault(fault)
  }

  finish(digest: Digest, outcome: Finish['outcome']): void {
    const route = this.#routeOf(digest)
    const task = this.#tasks.get(digest)
    this.#tasks.delete(digest)
    this.#grants.delete(digest)
    route?.client.finish(digest, outcome)
    if (task === undefined) return
    task.over = true
    for (const member of task.asked) if (member !== route) member.client.finish(digest, 'left')
    if (outcome !== 'done') return
    const { size } = task.request
    const holding = { digest, size, pieceSize: pieceSizeFor(size) }
    for (const member of this.#members) if (member !== route) member.client.announce([holding])
  }

  grantFailed(digest: Digest, runs: readonly PieceRun[], error: Error): void {
    const giver = this.#grants.get(digest) ?? this.#routeOf(digest)
    giver?.client.grantFailed(digest, runs, error)
  }

  expectSign(digest: Digest): void {
    this.#routeOf(digest)?.client.expectSign(digest)
  }

  digestMismatch(digest: Digest): void {
    this.#routeOf(digest)?.client.digestMismatch(digest)
  }

  evicted(digests: readonly Digest[]): void {
    for (const { client } of this.#members) client.evicted(digests)
  }

  /** The one who owns the repository is asked, so that all hosts ask the same; the next if it is away. */
  async relay(request: Omit<Relay, 'type' | 'id'>, signal: AbortSignal): Promise<Relayed> {
    const { registry, repository } = request.source
    return this.#inTurn(`${registry}/${repository}`, member => member.client.relay(request, signal))
  }

  // ---- routes ----

  /** Owner first; those that are connected before those that are not. */
  #inOrder(name: string): Member[] {
    const order = orderByRendezvous(this.#members, name, member => member.id)
    const isUp = ({ client }: Member) => client.connected
    return [...order.filter(isUp), ...order.filter(member => !isUp(member))]
  }

  /** Runs `ask` at one after another until one is not away. */
  async #inTurn<T>(name: string, ask: (member: Member) => Promise<T>, except?: Member): Promise<T> {
    let failure: unknown = new PantalaError('SUPERNODE_AWAY', { detail: 'none is configured' })
    const order = this.#inOrder(name).filter(member => member !== except)
    for (const member of order) {
      try {
        return await ask(member)
      } catch (error) {
        failure = error
        // What is not connected is waited for only where there is nothing better.
        if (!isAway(error) || !order.some(({ client }) => client.connected)) break
      }
    }
    throw failure
  }

  async #registerInTurn(
    task: RoutedTask,
    except: Member | undefined,
    signal: AbortSignal,
  ): Promise<Registered> {
    const ask = (member: Member): Promise<Registered> => {
      task.member = member
      task.asked.add(member)
      return member.client.register(task.request, this.#listen(task, member), signal)
    }
    try {
      return await this.#inTurn(task.request.digest, ask, except)
    } catch (error) {
      if (isAway(error)) this.#askAllLater(task, signal)
      throw error
    }
  }

  /** All are away: whichever returns first is to know of the task. */
  #askAllLater(task: RoutedTask, signal: AbortSignal): void {
    for (const member of this.#members) {
      if (task.asked.has(member) || task.over || signal.aborted) continue
      task.asked.add(member)
      const listener = this.#listen(task, member)
      member.client.register(task.request, listener, signal).then(
        registered => listener.onBack(registered),
        () => {},
      )
    }
  }

  #routeOf(digest: Digest): Member | undefined {
    return this.#tasks.get(digest)?.member ?? this.#grants.get(digest) ?? this.#inOrder(digest)[0]
  }

  #noteGrant(digest: Digest, member: Member): void {
    this.#grants.delete(digest)
    this.#grants.set(digest, member)
    if (this.#grants.size > GRANTS_MAX) this.#grants.delete(this.#grants.keys().next().value!)
  }

  /** Pushes of one supernode for a task; they count while it is the one that helps. */
  #listen(task: RoutedTask, member: Member): TaskListener {
    const { listener } = task
    const isCurrent = () => !task.over && task.member === member
    return {
      onHashes: (pieces, hashes) => {
        if (isCurrent()) listener.onHashes(pieces, hashes)
      },
      onParents: (parents, drop) => {
        if (isCurrent()) listener.onParents(parents, drop)
      },
      onFailed: error => {
        if (isCurrent()) listener.onFailed(error)
      },
      onReset: () => {
        if (isCurrent()) listener.onReset()
      },
      onAway: () => {
        if (isCurrent()) void this.#failOver(task, member)
      },
      onBack: registered => {
        if (task.over) return
        if (task.member !== member && !this.#takeBack(task, member)) return
        listener.onBack(registered)
      },
    }
  }

  /** The next one takes the task over. The lost one is still asked when it returns. */
  async #failOver(task: RoutedTask, lost: Member): Promise<void> {
    if (!this.#members.some(member => member !== lost && member.client.connected)) {
      task.listener.onAway()
      return
    }
    try {
      const registered = await this.#registerInTurn(task, lost, AbortSignal.timeout(TAKE_OVER_MS))
      if (!task.over && task.member !== lost) task.listener.onBack(registered)
    } catch (error) {
      if (task.over) return
      if (isAway(error)) task.listener.onAway()
      else task.listener.onFailed(toPantalaError(error, 'SUPERNODE_AWAY'))
    }
  }

  /** One that was away is back: true if it now helps with the task, because it owns it rather than the one that stood in, or that one is away. */
  #takeBack(task: RoutedTask, member: Member): boolean {
    const { digest } = task.request
    const standIn = task.member
    const order = orderByRendezvous([standIn, member], digest, ({ id }) => id)
    const isBetter = !standIn.client.connected || order[0] === member
    const left = isBetter ? standIn : member
    if (isBetter) task.member = member
    left.client.finish(digest, 'left')
    return isBetter
  }
}

const awayCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'SUPERNODE_AWAY',
  'DEADLINE_PASSED',
  'SHUTTING_DOWN',
])

function isAway(error: unknown): boolean {
  return isPantalaError(error) && awayCodes.has(error.code)
}
