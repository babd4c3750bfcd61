// Contract of passing a request that changes a registry, or belongs to a change, on to it: once, body and all, with the caller's own words.
import type { SourceRef } from '../protocol/messages.ts'
import type { ForwardAnswer } from './source-client.ts'

export interface WriteRequest {
  readonly method: string
  /** Path and query from `/v2/` on, or any path that the registry itself gave; sent byte for byte. */
  readonly path: string
  /** End-to-end headers of the caller, names in lower case, credentials among them; `host` is the registry's own and never given. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>
  /** Read as fast as the registry takes it; undefined where there is none. */
  readonly body: AsyncIterable<Uint8Array> | undefined
}

export interface WriteAnswer {
  readonly status: number
  /** Names in lower case; repeated headers as they came. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>
  readonly body: ForwardAnswer['body']
  /** Scheme, host and port of the registry, to know its own URLs by. */
  readonly origin: string
}

export interface WriteClient {
  /**
   * Sends the request to the registry itself, never to a mirror, never twice, with no token but the caller's and no client certificate; redirects are the answer.
   * Keeps no time: the signal does. The caller reads or destroys the body.
   * @throws PantalaError SOURCE_AWAY | UPSTREAM_UNKNOWN | UPSTREAM_FORBIDDEN | PATH_UNKNOWN, or the signal's reason
   */
  write(source: SourceRef, request: WriteRequest, signal: AbortSignal): Promise<WriteAnswer>
}
