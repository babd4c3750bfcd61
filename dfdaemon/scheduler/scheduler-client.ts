// Contract of the host's side of the schedule protocol: what sessions and the proxy ask of the supernode.
import type { Digest } from '../../shared/digest.ts'
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
  SourceRef,
  Want,
} from '../../shared/protocol/messages.ts'

/** Pushes for one task; called while the host is registered for it. Never called synchronously from a method of the client. */
export interface TaskListener {
  /** Piece hashes became known, PIECE_HASH_BYTES each in `hashes`, in the order of `pieces`. */
  onHashes(pieces: readonly number[], hashes: Uint8Array): void
  onParents(parents: readonly Candidate[], drop: readonly HostId[]): void
  onFailed(error: Error): void
  onReset(): void
  /** The supernode went away or came back. On return the client has re-registered the task itself; `registered` is the new answer. */
  onAway(): void
  onBack(registered: Registered): void
}

export interface RegisterRequest {
  readonly digest: Digest
  readonly size: number
  readonly source: SourceRef
  /** Bits of the pieces held now; asked again at each re-register. */
  have(): Uint8Array | undefined
  /** What readers wait for now; asked again at each re-register. Absent: all pieces, none before others. */
  wish?(): Wish | undefined
}

/** Which pieces are wanted before others; `partial`: only those. */
export type Wish = Pick<Want, 'urgent' | 'partial'>

export interface SchedulerClient {
  /** True while the schedule stream is up and welcomed. */
  readonly connected: boolean

  /** The ticket to show to parents; undefined before the first welcome. */
  readonly ticket: Uint8Array | undefined

  /**
   * Registers for a task and routes its pushes to `listener` until `finish`. If the supernode is away, the task is registered when it is back,
   * and `listener` hears of it.
   * @throws PantalaError SUPERNODE_AWAY (also past the deadline) | SUPERNODE_REFUSED | a source's error passed on
   */
  register(request: RegisterRequest, listener: TaskListener, signal: AbortSignal): Promise<Registered>

  /** Queued and sent in batches (some ms); dropped while the supernode is away, since an announce follows when it is back. */
  report(report: Omit<Report, 'type' | 'slotsBusy'>): void
  /** Readers wait for more pieces of a task that is registered; dropped while the supernode is away. */
  want(digest: Digest, wish: Wish): void
  parentFault(fault: Omit<ParentFault, 'type'>): void
  finish(digest: Digest, outcome: Finish['outcome']): void
  grantFailed(digest: Digest, runs: readonly PieceRun[], error: Error): void
  digestMismatch(digest: Digest): void
  /** Nothing lands for this task: a supernode that shows no sign of life is lost soon, though it owes no answer. */
  expectSign(digest: Digest): void
  evicted(digests: readonly Digest[]): void

  /** @throws PantalaError SUPERNODE_AWAY | a source's error passed on */
  relay(request: Omit<Relay, 'type' | 'id'>, signal: AbortSignal): Promise<Relayed>

  /** Grants come unasked (to a seed) or during a session. Set by the composition root. */
  onGrant: (grant: Grant) => void
}
