// Contract of getting a blob's bytes, wherever they are: what the proxy knows of sessions.
import type { Readable } from 'node:stream'
import type { Digest } from '../../shared/digest.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'

export interface BlobRequest {
  readonly digest: Digest
  readonly source: SourceRef
  /** Length in bytes, from a manifest already seen; asked of the source if absent. */
  readonly size: number | undefined
}

/** A blob that can be read now or soon. */
export interface OpenBlob {
  readonly size: number
  /** `cache`: complete on this host before the request; `swarm`: a session is running or was started. */
  readonly from: 'cache' | 'swarm'
  /**
   * Bytes `offset` to `offset + length - 1` in order, while later pieces land. The blob's last byte comes only after the whole digest
   * was checked; on failure the stream is destroyed with a PantalaError, so that the client's socket is cut, never ended cleanly.
   * Destroying the stream lets go of the session.
   */
  read(offset: number, length: number): Readable
  /** Lets go without reading; does no harm after `read`. */
  close(): void
}

export interface Blobs {
  /**
   * Waits until the first bytes are certain to come (registered and a first piece verified, or complete), so that errors can still be
   * answered with a status. @throws PantalaError, or the signal's reason
   */
  open(request: BlobRequest, signal: AbortSignal): Promise<OpenBlob>
  /** Length in bytes without fetching the blob. @throws PantalaError */
  length(request: BlobRequest, signal: AbortSignal): Promise<number>
}
