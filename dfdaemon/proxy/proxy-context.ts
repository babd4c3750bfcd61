// What every route of the proxy works with, and one request as they see it.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Digest } from '../../shared/digest.ts'
import type { Logger } from '../../shared/logger.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import type { SourceClient } from '../../shared/source/source-client.ts'
import type { WriteClient } from '../../shared/source/write-client.ts'
import type { TaskKey } from '../../shared/task-key.ts'
import type { Blobs } from '../session/blobs.ts'

/** A manifest as it is handed on. */
export interface ServedManifest {
  readonly mediaType: string
  readonly digest: Digest
  readonly body: Uint8Array
  /** True if the source was away and this is the last known answer. */
  readonly stale: boolean
}

/** What the proxy asks of the manifest cache. */
export interface ManifestSource {
  get(
    request: { source: SourceRef; reference: string; accept: readonly string[] },
    signal: AbortSignal,
  ): Promise<ServedManifest>
  /** Length of a blob that some manifest of this registry named, in bytes. */
  sizeOf(source: SourceRef, digest: Digest): number | undefined
  /** The layer that a runtime asks for after this one; undefined if none is known. */
  nextLayer(source: SourceRef, layer: Digest): Digest | undefined
  /** Makes sure that this caller may read the blob, `fresh` by the source's word of now: what it is kept under, and whom to ask for it. @throws PantalaError of the source if not */
  admit(
    source: SourceRef,
    digest: Digest,
    fresh: boolean,
    signal: AbortSignal,
  ): Promise<{ readonly key: TaskKey; readonly source: SourceRef }>
  /** The same where nobody has to be asked for it; undefined elsewhere. */
  admitKnown(source: SourceRef, digest: Digest): { readonly key: TaskKey } | undefined
}

/** What writes may have changed: content that is remembered of a repository. */
export interface WriteNotes {
  /** @param reference tag or digest */
  noteWrite(source: SourceRef, reference: string): void
}

export type PullResult = 'ok' | 'failed' | 'aborted' | 'refused'

/**
 * What became of a layer that was begun before it was asked for: all of it was here, or a runtime asked for it meanwhile, or the client that
 * was to ask for it went away or took too long, or it failed.
 */
export type AheadOutcome = 'whole' | 'joined' | 'left' | 'failed'

export interface ProxyMetrics {
  countBlobBytes(from: 'cache', bytes: number): void
  countPull(result: PullResult): void
  countWrite(result: PullResult): void
  countLayerAhead(outcome: AheadOutcome): void
}

export interface ProxyComponents {
  readonly manifests: ManifestSource
  readonly blobs: Blobs
  readonly registry: Pick<SourceClient, 'forward'>
  readonly writes: WriteClient
  readonly notes: WriteNotes
  readonly logger: Logger
  readonly metrics: ProxyMetrics
}

/** What a listener stands for. */
export interface Face {
  /** Registry of requests that name none. */
  readonly registry: string
  /** True where it stands for that registry alone: requests name none, and a first part that looks like a host is part of the name. */
  readonly isFixed: boolean
}

/** What a listener gives requests to that are for an HTTP proxy, not for a registry. Neither rejects nor throws. */
export interface ForwardProxy {
  /** `GET http://host/…`. */
  forward(request: IncomingMessage, response: ServerResponse): void
  /** `CONNECT host:port`; `head` came right after it. */
  connect(request: IncomingMessage, socket: Socket, head: Uint8Array): void
  /** Takes nothing more, and settles when tunnels have ended, `graceMs` at most. */
  drain(graceMs: number): Promise<void>
  /** Cuts every connection that it was given. */
  close(): Promise<void>
}

/** One request, after its path was read. */
export interface ProxyExchange {
  readonly source: SourceRef
  readonly method: 'GET' | 'HEAD'
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Path as it came, without query. */
  readonly path: string
  /** What the client gave as `ns`. */
  readonly ns: string | undefined
  /** Query as it came, without `ns`. */
  readonly query: string
  readonly response: ServerResponse
  /** Aborted when the client goes away or the request's time is over. */
  readonly signal: AbortSignal
}

/** Part of every answer: Docker's API for registries, before there was a specification, and clients that look for it. */
export const versionHeader = { 'docker-distribution-api-version': 'registry/2.0' } as const

/** One header as a single text; repeated ones joined as RFC 9110, section 5.3, allows. */
export function headerText(exchange: ProxyExchange, name: string): string | undefined {
  const value = exchange.headers[name]
  return Array.isArray(value) ? value.join(', ') : value
}
