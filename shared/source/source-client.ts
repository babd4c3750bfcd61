// Contract of talking to a registry as a client of the OCI distribution API; upstream choice, mirrors, tokens and TLS are inside.
import type { Digest } from '../digest.ts'
import type { SourceRef } from '../protocol/messages.ts'

export interface ManifestAnswer {
  readonly mediaType: string
  readonly digest: Digest
  /** Undefined if the source said that `known` is unchanged. */
  readonly body: Uint8Array | undefined
}

/** Blob bytes as they come. */
export interface BlobAnswer {
  /** First byte the body holds: the one asked for, or 0 where the source ignored the range. */
  readonly offset: number
  /** Length of the whole blob, in bytes, if the source told. */
  readonly size: number | undefined
  readonly body: NodeJS.ReadableStream & AsyncIterable<Uint8Array> & { destroy(error?: Error): unknown }
  /** True if another endpoint could go on from where this one stalls: then there is no need to wait for long. */
  readonly hasRival?: boolean
  /** To be called where the body stalls or breaks off, so that the next one is opened elsewhere. */
  readonly failed?: (reason: string) => void
}

/**
 * All methods answer source errors as PantalaError: SOURCE_AWAY | SOURCE_STATUS | SOURCE_STALLED | SOURCE_UNAUTHORIZED (with challenge) |
 * SOURCE_DENIED | SOURCE_MANIFEST_UNKNOWN | SOURCE_BLOB_UNKNOWN | SOURCE_DIGEST_MISMATCH | UPSTREAM_UNKNOWN | UPSTREAM_FORBIDDEN.
 */
export interface SourceClient {
  /** Fetches a manifest; a body is checked against its digest. `known` saves the body of an unchanged tag (HEAD first). */
  manifest(
    source: SourceRef,
    reference: string,
    accept: readonly string[],
    known: Digest | undefined,
    signal: AbortSignal,
  ): Promise<ManifestAnswer>
  /** Length of a blob in bytes, by HEAD. */
  blobLength(source: SourceRef, digest: Digest, signal: AbortSignal): Promise<number>
  /** Opens a blob from `offset`; redirects are followed without credentials. So many endpoints as `passOver` says are asked last: they sent wrong bytes. */
  openBlob(
    source: SourceRef,
    digest: Digest,
    offset: number,
    length: number | undefined,
    signal: AbortSignal,
    passOver?: number,
  ): Promise<BlobAnswer>
  /** A small blob whole, `size` bytes, checked against its digest; one that stalls or is wrong at one endpoint is had from the next. */
  smallBlob(source: SourceRef, digest: Digest, size: number, signal: AbortSignal): Promise<Uint8Array>
  /** Passes a GET or HEAD on as it is (tags/list, referrers, /v2/); the caller reads or destroys the body. */
  forward(
    source: SourceRef,
    method: 'GET' | 'HEAD',
    path: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<ForwardAnswer>
  /** True if a request of this kind brings no credentials and gets the configured ones; absent: never. */
  usesConfigured?(source: SourceRef): boolean
  close(): Promise<void>
}

export interface ForwardAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: BlobAnswer['body']
}
