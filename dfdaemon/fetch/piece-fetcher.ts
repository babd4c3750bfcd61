// Contract of fetching pieces from one parent: a link per parent and task; what the parent holds is pushed, pieces are asked for.
import type { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import type { Geometry } from '../../shared/piece.ts'
import type { Candidate, HostId } from '../../shared/protocol/messages.ts'

/** What a link tells its session, always asynchronously and never after `onClose`. */
export interface LinkListener {
  /** The parent holds more: `link.have` has grown by these. */
  onHave(pieces: readonly number[]): void
  /** The parent vouches for hashes of pieces, PIECE_HASH_BYTES each in the order of `pieces`: only after `alone`, and before it says that it holds them. */
  onHashes?(pieces: readonly number[], hashes: Uint8Array): void
  /** Hosts that seek the task as well: only after `alone`. */
  onOthers?(others: readonly Candidate[]): void
  /** The parent fell silent, so that nothing more is asked of it, or sends again; what it was asked for may still come. */
  onStall?(stalled: boolean): void
  /** The parent would serve a request at once. Returns true if one was made. */
  onIdle?(): boolean
  /** The link is over; running fetches have been rejected with the same error. Called once. */
  onClose(error: Error): void
}

/** One parent's offer of one task. Links to the same host share its connection and stream. */
export interface ParentLink {
  readonly host: HostId
  /** Pieces the parent says it holds; grows. */
  readonly have: Bitfield
  /** Pieces asked for and not yet answered. */
  readonly pending: number
  /**
   * Fetches one piece into `into`, whose length is exactly the piece's. `into` is written until the promise settles, then never again, also after an abort.
   * The bytes are NOT verified here. Several fetches may run at once; the parent answers in order.
   * @throws PantalaError PARENT_SILENT | PARENT_UNREACHABLE | PARENT_GONE | PARENT_REFUSED | PARENT_PROTOCOL, or the signal's reason
   */
  fetch(piece: number, into: Uint8Array, signal: AbortSignal): Promise<void>
  /** Takes a request back unless the parent has begun to send the piece: its fetch then fails with DEADLINE_PASSED, else it goes on. */
  withdraw?(piece: number): void
  /** True if bytes of a piece that was asked for have come; a parent that cannot tell is taken to have begun. */
  begun?(piece: number): boolean
  /** True while the parent is silent though something was asked of it. */
  readonly stalled?: boolean
  /** How long the parent has sent no byte at all though something was asked of it, in ms; one that cannot tell is taken to send. */
  silentForMs?(): number
  /**
   * Tells the parent that no supernode helps with this task, and where this host listens: it answers with hashes, and with others that seek
   * the same. Saying so again does nothing.
   */
  alone(addresses: readonly string[]): void
  /** Unsubscribes; the connection stays for others and goes when idle. */
  close(): void
}

export interface PieceFetcher {
  /**
   * Dials (or reuses) the parent's connection and subscribes to the task.
   * @throws PantalaError PARENT_SILENT | PARENT_GONE | PARENT_REFUSED | PARENT_PROTOCOL, or the signal's reason
   */
  connect(
    parent: Candidate,
    digest: Digest,
    geometry: Geometry,
    listener: LinkListener,
    signal: AbortSignal,
  ): Promise<ParentLink>
}
