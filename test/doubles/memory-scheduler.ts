// In-memory twin of the scheduler client: answers registrations from a script, keeps what it is told, and pushes by hand.
import type {
  RegisterRequest,
  SchedulerClient,
  TaskListener,
  Wish,
} from '../../dfdaemon/scheduler/scheduler-client.ts'
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import { geometryFor, pieceCount } from '../../shared/piece.ts'
import type {
  Candidate,
  Finish,
  Grant,
  HostId,
  ParentFault,
  PieceRun,
  Registered,
  Relay,
  Relayed,
  Report,
} from '../../shared/protocol/messages.ts'

export type RegisterAnswer = (request: RegisterRequest) => Partial<Registered> | Error
export type RelayAnswer = (request: Omit<Relay, 'type' | 'id'>) => Relayed | Error

/** Everything the client was told, in order. */
export type ToldMessage =
  | { readonly told: 'register'; readonly request: RegisterRequest; readonly wish: Wish | undefined }
  | ({ readonly told: 'report' } & Omit<Report, 'type' | 'slotsBusy'>)
  | ({ readonly told: 'want'; readonly digest: Digest } & Wish)
  | ({ readonly told: 'parent-fault' } & Omit<ParentFault, 'type'>)
  | { readonly told: 'finish'; readonly digest: Digest; readonly outcome: Finish['outcome'] }
  | {
      readonly told: 'grant-failed'
      readonly digest: Digest
      readonly runs: readonly PieceRun[]
      readonly error: Error
    }
  | { readonly told: 'digest-mismatch'; readonly digest: Digest }
  | { readonly told: 'expect-sign'; readonly digest: Digest }
  | { readonly told: 'evicted'; readonly digests: readonly Digest[] }

export class MemoryScheduler implements SchedulerClient {
  connected = true
  ticket: Uint8Array | undefined = new Uint8Array([1])
  onGrant: (grant: Grant) => void = () => {}
  /** What `register` answers; by default: nothing hashed, no parents. */
  registerAnswer: RegisterAnswer = () => ({})
  relayAnswer: RelayAnswer = () => new PantalaError('SUPERNODE_AWAY')
  readonly told: ToldMessage[] = []
  readonly #tasks = new Map<Digest, { request: RegisterRequest; listener: TaskListener }>()

  get registeredDigests(): readonly Digest[] {
    return [...this.#tasks.keys()]
  }

  async register(request: RegisterRequest, listener: TaskListener, signal: AbortSignal): Promise<Registered> {
    signal.throwIfAborted()
    if (!this.connected) throw new PantalaError('SUPERNODE_AWAY')
    this.told.push({ told: 'register', request, wish: request.wish?.() })
    const answer = this.registerAnswer(request)
    if (answer instanceof Error) throw answer
    this.#tasks.set(request.digest, { request, listener })
    await Promise.resolve()
    return completeAnswer(request, answer)
  }

  report(report: Omit<Report, 'type' | 'slotsBusy'>): void {
    if (this.connected) this.told.push({ told: 'report', ...report })
  }

  want(digest: Digest, wish: Wish): void {
    if (this.connected) this.told.push({ told: 'want', digest, ...wish })
  }

  parentFault(fault: Omit<ParentFault, 'type'>): void {
    if (this.connected) this.told.push({ told: 'parent-fault', ...fault })
  }

  finish(digest: Digest, outcome: Finish['outcome']): void {
    this.#tasks.delete(digest)
    if (this.connected) this.told.push({ told: 'finish', digest, outcome })
  }

  grantFailed(digest: Digest, runs: readonly PieceRun[], error: Error): void {
    if (this.connected) this.told.push({ told: 'grant-failed', digest, runs, error })
  }

  expectSign(digest: Digest): void {
    if (this.connected) this.told.push({ told: 'expect-sign', digest })
  }

  digestMismatch(digest: Digest): void {
    if (this.connected) this.told.push({ told: 'digest-mismatch', digest })
  }

  evicted(digests: readonly Digest[]): void {
    if (this.connected) this.told.push({ told: 'evicted', digests })
  }

  async relay(request: Omit<Relay, 'type' | 'id'>, signal: AbortSignal): Promise<Relayed> {
    signal.throwIfAborted()
    if (!this.connected) throw new PantalaError('SUPERNODE_AWAY')
    const answer = this.relayAnswer(request)
    if (answer instanceof Error) throw answer
    return answer
  }

  // ---- the script's side; pushes arrive in a later microtask, as from the wire ----

  pushHashes(digest: Digest, pieces: readonly number[], hashes: Uint8Array): void {
    this.#push(digest, listener => listener.onHashes(pieces, hashes))
  }

  pushParents(digest: Digest, parents: readonly Candidate[], drop: readonly HostId[] = []): void {
    this.#push(digest, listener => listener.onParents(parents, drop))
  }

  pushFailed(digest: Digest, error: Error): void {
    this.#push(digest, listener => listener.onFailed(error))
  }

  pushReset(digest: Digest): void {
    this.#push(digest, listener => listener.onReset())
  }

  pushGrant(grant: Grant): void {
    queueMicrotask(() => this.onGrant(grant))
  }

  goAway(): void {
    this.connected = false
    for (const digest of this.#tasks.keys()) this.#push(digest, listener => listener.onAway())
  }

  comeBack(): void {
    this.connected = true
    for (const [digest, { request }] of this.#tasks) {
      this.told.push({ told: 'register', request, wish: request.wish?.() })
      const answer = this.registerAnswer(request)
      this.#push(digest, listener => {
        if (answer instanceof Error) listener.onFailed(answer)
        else listener.onBack(completeAnswer(request, answer))
      })
    }
  }

  #push(digest: Digest, push: (listener: TaskListener) => void): void {
    queueMicrotask(() => {
      const task = this.#tasks.get(digest)
      if (task !== undefined) push(task.listener)
    })
  }
}

function completeAnswer(request: RegisterRequest, answer: Partial<Registered>): Registered {
  const geometry = geometryFor(request.size)
  return {
    type: 'registered',
    id: 0,
    digest: request.digest,
    pieceSize: geometry.pieceSize,
    hashed: new Bitfield(pieceCount(geometry)).bytes,
    hashes: new Uint8Array(),
    parents: [],
    ...answer,
  }
}
