// Contract of getting a blob's bytes, wherever they are: what the proxy knows of sessions.
import type { SourceRef } from '../../shared/protocol/messages.ts'
import type { TaskKey } from '../../shared/task-key.ts'

export interface BlobRequest {
  /** What it is kept and spread under: see task-key.ts. */
  readonly digest: TaskKey
  readonly source: SourceRef
  /** Length in bytes, from a manifest already seen; asked of the source if absent. */
  readonly size: number | undefined
}

/**
 * Takes a chunk; settles when its memory may be used again. Called for one chunk after the other, in order, never again after it rejected.
 */
export type TakeChunk = (chunk: Uint8Array) => Promise<void>

/** A part of a blob, in bytes; at least one of them, all within the blob. */
export interface ByteSpan {
  readonly offset: number
  readonly length: number
}

/** A blob, or parts of it, that can be read now or soon. */
export interface OpenBlob {
  readonly size: number
  /** `cache`: complete on this host before the request; `swarm`: a session is running or was started. */
  readonly from: 'cache' | 'swarm'
  /** All of it, where it is small and in memory; not to be changed. */
  readonly bytes?: Uint8Array | undefined
  /**
   * Hands on bytes `offset` to `offset + length - 1` in order, while later pieces land. Where the whole blob was opened, its last piece comes
   * only after the whole digest was checked, so that whoever is told of an error must cut the client off, never end cleanly. May be called
   * again, once the call before has settled.
   * @throws PantalaError, what `take` rejected with, or the signal's reason
   */
  send(offset: number, length: number, take: TakeChunk, signal: AbortSignal): Promise<void>
  /** Lets go; to be called in any case, twice does no harm. */
  close(): void
}

/** A blob that is fetched before anyone reads it. */
export interface BlobAhead {
  /** Settles when all of it is here and right. @throws PantalaError, or the signal's reason */
  whole(signal: AbortSignal): Promise<void>
  /** Lets go; it goes on for as long as any that has lost its readers. To be called in any case, once. */
  close(): void
}

export interface Blobs {
  /**
   * Opens a blob, or only `spans` of it (in the order in which they will be read): their pieces are fetched ahead of the rest, and are checked
   * against their own hashes, not against the blob's digest. Waits until the first bytes are certain to come (registered and a first piece
   * verified, or complete), so that errors can still be answered with a status. @throws PantalaError, or the signal's reason
   */
  open(request: BlobRequest, spans: readonly ByteSpan[] | undefined, signal: AbortSignal): Promise<OpenBlob>
  /** All bytes of a blob that is complete on this host, small and in memory; not to be changed. Undefined for all others. */
  inMemory(key: TaskKey): Uint8Array | undefined
  /**
   * Begins to fetch a blob for a reader who has not come yet, at a gentle pace; who comes joins in as anywhere. Undefined where there is nothing
   * to begin: it is here, or being fetched, or no place is free that nobody waits for. Never passed through: what the store can't take fails.
   * @throws PantalaError, or the signal's reason
   */
  fetchAhead(request: BlobRequest, signal: AbortSignal): Promise<BlobAhead | undefined>
  /** Length in bytes without fetching the blob. @throws PantalaError */
  length(request: BlobRequest, signal: AbortSignal): Promise<number>
}
