// Contract of fetching blob bytes from the source, in order, from an offset; the implementation is registry-source.ts.
import type { Digest } from '../../shared/digest.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'

export interface SourceRange {
  readonly source: SourceRef
  readonly digest: Digest
  /** Length of the whole blob in bytes. */
  readonly size: number
  /** First byte wanted and how many. */
  readonly offset: number
  readonly length: number
  /** Bytes before `offset` that are read and thrown away, at most, where the source answers from the blob's start; any number if absent. */
  readonly skipBytesMax?: number
  /** So many endpoints of the registry are asked last, because they sent wrong bytes; 0 if absent. */
  readonly passOver?: number
}

export interface SourceFetcher {
  /**
   * Calls `take` with the range's bytes in order, `length` of them in all. `take` must copy what it keeps before returning; if it returns
   * a promise, nothing more is read from the source until that settles (backpressure). Stalls are cut and resumed with Range from the last
   * byte taken, at the next mirror if there is one; retries are bounded.
   * @throws PantalaError SOURCE_AWAY | SOURCE_STATUS | SOURCE_BLOB_UNKNOWN | SOURCE_UNAUTHORIZED (with challenge) | SOURCE_DENIED |
   *   SOURCE_STALLED | SOURCE_LENGTH_WRONG | SOURCE_RANGE_IGNORED (more than `skipBytesMax` would pass), or the signal's reason
   */
  fetch(
    range: SourceRange,
    take: (chunk: Uint8Array) => Promise<void> | undefined,
    signal: AbortSignal,
  ): Promise<void>
}
