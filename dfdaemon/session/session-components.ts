// What a session is made of: the parts it works with, and what each one is told.
import type { Clock } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import type { Logger } from '../../shared/logger.ts'
import type { Geometry } from '../../shared/piece.ts'
import type { Finish, SourceRef } from '../../shared/protocol/messages.ts'
import type { PieceFetcher } from '../fetch/piece-fetcher.ts'
import type { SourceFetcher } from '../fetch/source-fetcher.ts'
import type { SchedulerClient } from '../scheduler/scheduler-client.ts'
import type { BlobStore, KeptRoom } from '../store/blob-store.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { HolderSearch } from './lone-help.ts'

export interface SessionMetrics {
  countBlobBytes(from: 'source' | 'peer', bytes: number): void
  countPieceRejected(reason: string): void
  /** A blob is fetched anew, since its bytes were not those of its digest. */
  countRefetched(): void
  /** A reader is served by the source, since the store can't take the blob (from the `start`) or failed while it was read (`midway`). */
  countPassedThrough(from: 'start' | 'midway'): void
}

export interface SessionComponents {
  readonly store: BlobStore
  readonly scheduler: SchedulerClient
  readonly pieces: PieceFetcher
  readonly source: SourceFetcher
  readonly pool: BufferPool
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: SessionMetrics
  /** For the time without a supernode; absent: nobody is known. */
  readonly search?: HolderSearch
  random(): number
}

export interface SessionInit {
  readonly digest: Digest
  readonly geometry: Geometry
  readonly source: SourceRef
  /** False for a session that only runs a grant and has no reader yet. */
  readonly register: boolean
  /** What room the store keeps for the blob, unless a reader of the whole comes. */
  readonly room: KeptRoom
  /** How long a session without readers goes on, in ms. */
  readonly lingerMs: number
  /** True if the rest of the blob follows where only a range of it is read. */
  readonly prefetch: boolean
  /** Which download of the blob in a row this is: those before brought wrong bytes. */
  readonly tries: number
  /** Nothing is begun before this settles; it does not reject. */
  readonly after?: Promise<void>
  /** The bytes are wrong as a whole, and somebody reads them. `discarded` settles when they are gone. True if another session follows. */
  onWrong(discarded: Promise<void>): boolean
  onEnd(outcome: Finish['outcome']): void
}
