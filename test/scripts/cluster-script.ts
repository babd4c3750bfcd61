// Tells scheduler stories: hosts by name that say things, a clock that is turned by hand, and everything the supernode answers, kept.
import assert from 'node:assert/strict'
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import { geometryFor, pieceCount, pieceLength } from '../../shared/piece.ts'
import type {
  Grant,
  HostId,
  HostMessage,
  ParentFault,
  Parents,
  PieceRun,
  Registered,
  SourceRef,
  SupernodeMessage,
} from '../../shared/protocol/messages.ts'
import type { Outbox } from '../../supernode/outbox.ts'
import { remainingBytes } from '../../supernode/schedule/source-budget.ts'
import { Scheduler } from '../../supernode/scheduler.ts'
import { ClusterState } from '../../supernode/state/cluster-state.ts'
import type { StateEvent } from '../../supernode/state/events.ts'
import type { Task } from '../../supernode/state/task.ts'

export const MiB = 1024 * 1024
export const digest: Digest = `sha256:${'ab'.repeat(32)}`
export const anySource: SourceRef = { registry: 'reg.lab', repository: 'a/b' }

/** The hash every honest host would cut of a piece. */
export const hashOf = (piece: number) => new Uint8Array(32).fill(piece + 1)
export const hashesOf = (pieces: readonly number[]) => Buffer.concat(pieces.map(hashOf))
export const piecesOf = (runs: readonly { first: number; count: number }[]) =>
  runs.flatMap(run => Array.from({ length: run.count }, (_, index) => run.first + index))

export class ClusterScript implements Outbox {
  now = 0
  readonly state = new ClusterState()
  readonly scheduler: Scheduler
  readonly events: StateEvent[] = []
  readonly said: { to: HostId; message: SupernodeMessage }[] = []
  readonly cuts: HostId[] = []
  readonly size: number
  onSend: (to: HostId, message: SupernodeMessage) => void = () => {}
  #nextId = 1
  readonly #ratio: number

  constructor(init: { pieces?: number; random?: () => number; budgetRatio?: number } = {}) {
    this.#ratio = init.budgetRatio ?? 1.6
    this.size = (init.pieces ?? 8) * MiB
    let seed = 1
    // A small fixed generator, so that a story is the same each time.
    const steady = () => {
      seed = (seed * 48271) % 2147483647
      return seed / 2147483647
    }
    this.scheduler = new Scheduler(
      {
        state: this.state,
        outbox: this,
        journal: { record: event => this.events.push(event) },
        random: init.random ?? steady,
      },
      { budgetRatio: this.#ratio, expireMs: 15_000 },
    )
  }

  // ---- the outbox ----
  send(to: HostId, message: SupernodeMessage): void {
    this.said.push({ to, message })
    this.onSend(to, message)
  }
  broadcast(hosts: Iterable<HostId>, message: SupernodeMessage): void {
    for (const host of hosts) this.send(host, message)
  }
  cut(host: HostId): void {
    this.cuts.push(host)
  }

  // ---- what hosts do ----
  join(host: HostId, facts: { seed?: boolean; slots?: number; zone?: string } = {}): void {
    this.scheduler.join(
      host,
      {
        type: 'hello',
        name: host,
        addresses: [`/ip4/127.0.0.1/tcp/1/p2p/${host}`],
        zone: facts.zone,
        seed: facts.seed ?? false,
        uploadSlots: facts.slots ?? 16,
        version: '0',
      },
      this.now,
    )
  }
  say(host: HostId, message: HostMessage): void {
    this.scheduler.handle(host, message, this.now)
  }
  /** The answer, or undefined if it was refused. */
  register(
    host: HostId,
    facts: {
      source?: SourceRef
      have?: readonly number[]
      of?: Digest
      size?: number
      urgent?: readonly PieceRun[]
      partial?: boolean
    } = {},
  ): Registered | undefined {
    const size = facts.size ?? this.size
    const have = facts.have === undefined ? undefined : bitsOf(facts.have, pieceCount(geometryFor(size)))
    const id = this.#nextId++
    const { source = anySource, of = digest, urgent, partial } = facts
    this.say(host, { type: 'register', id, digest: of, size, source, have, urgent, partial })
    const answer = this.said.find(({ message }) => message.type === 'registered' && message.id === id)
    return answer?.message as Registered | undefined
  }
  /** Readers of a registered host wait for more pieces. */
  want(host: HostId, urgent: readonly PieceRun[], partial: boolean): void {
    this.say(host, { type: 'want', digest, urgent, partial })
  }
  /** Reports pieces cut from the source, with their hashes. */
  cutPieces(host: HostId, ...pieces: number[]): void {
    const fromSourceBytes = pieces.reduce((sum, piece) => sum + pieceLength(this.task, piece), 0)
    this.say(host, {
      type: 'report',
      digest,
      pieces,
      hashes: hashesOf(pieces),
      fromSourceBytes,
      parents: [],
      slotsBusy: 0,
    })
  }
  /** Reports pieces that came from a parent. */
  takePieces(host: HostId, from: HostId, ...pieces: number[]): void {
    const parents = [{ host: from, bytes: pieces.length * MiB }]
    this.say(host, { type: 'report', digest, pieces, fromSourceBytes: 0, parents, slotsBusy: 0 })
  }
  finish(host: HostId, outcome: 'done' | 'failed' | 'left'): void {
    this.say(host, { type: 'finish', digest, outcome })
  }
  complain(host: HostId, of: HostId, fault: ParentFault['fault']): void {
    this.say(host, { type: 'parent-fault', digest, host: of, fault })
  }
  failGrant(host: HostId, code: string): void {
    const runs = [] as const
    this.say(host, { type: 'grant-failed', digest, runs, code, status: 0, detail: 'told so' })
  }
  die(host: HostId): void {
    this.scheduler.lose(host, this.now)
  }
  /** All hosts but those named beat, time passes in steps of a sweep. */
  pass(ms: number, silent: readonly HostId[] = []): void {
    for (const end = this.now + ms; this.now < end; ) {
      this.now = Math.min(end, this.now + 250)
      for (const host of [...this.state.hosts.keys()])
        if (!silent.includes(host)) this.say(host, { type: 'heartbeat', slotsBusy: 0, storeBytes: 0 })
      this.scheduler.flush(this.now)
      this.scheduler.sweep(this.now)
    }
    this.scheduler.flush(this.now)
  }

  // ---- what can be seen ----
  get task(): Task {
    return this.state.tasks.get(digest)!
  }
  /** Pieces of live grants, by host. */
  get granted(): Record<HostId, number[]> {
    return Object.fromEntries(
      [...this.task.grants.values()].map(grant => [grant.host, [...grant.pieces.pieces()]]),
    )
  }
  heard<T extends SupernodeMessage['type']>(host: HostId, type: T): Extract<SupernodeMessage, { type: T }>[] {
    return this.said
      .filter(({ to, message }) => to === host && message.type === type)
      .map(({ message }) => message as Extract<SupernodeMessage, { type: T }>)
  }
  /** Parents that the host was told of, in all answers and pushes. */
  parentsOf(host: HostId): HostId[] {
    const messages: (Registered | Parents)[] = [
      ...this.heard(host, 'registered'),
      ...this.heard(host, 'parents'),
    ]
    return messages.flatMap(message => message.parents.map(parent => parent.host))
  }
  grantsTo(host: HostId): Grant[] {
    return this.heard(host, 'grant')
  }

  /** What must hold at any time. */
  checkInvariants(): void {
    for (const task of this.state.tasks.values()) {
      const seen = new Set<number>()
      for (const grant of task.grants.values()) {
        assert.ok(this.state.hosts.has(grant.host), `${grant.host} is gone but has a grant`)
        for (const piece of grant.pieces.pieces()) {
          assert.ok(!seen.has(piece), `piece ${piece} has two grantees`)
          seen.add(piece)
        }
      }
      for (let piece = 0; piece < task.pieces; piece++) {
        const holders = [...task.peers.values()].filter(peer => peer.have.has(piece)).length
        assert.equal(task.copiesOf(piece), holders, `copies of piece ${piece}`)
        const isWanted = [...task.wanting].some(peer => peer.wantsPiece(piece))
        if (!isWanted || task.isAvailable(piece) || seen.has(piece)) continue
        // Waits for what is still being fetched; then the task fails.
        if (task.grants.size > 0 && remainingBytes(task, this.#ratio) < pieceLength(task, piece)) continue
        assert.ok(
          this.now < task.graceUntil && task.graced?.has(piece),
          `nobody has or fetches piece ${piece}`,
        )
      }
      for (const peer of task.wanting)
        for (const id of peer.parents) assert.ok(this.state.hosts.has(id), `${id} is gone but a parent`)
    }
    for (const host of this.state.hosts.values()) {
      const links = [...this.state.tasks.values()].flatMap(task =>
        [...task.wanting].filter(peer => peer.parents.has(host.id)),
      )
      assert.equal(host.children, links.length, `children of ${host.id}`)
    }
  }
}

function bitsOf(pieces: readonly number[], length: number): Uint8Array {
  const bits = new Bitfield(length)
  for (const piece of pieces) bits.add(piece)
  return bits.bytes
}
