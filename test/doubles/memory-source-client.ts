// In-memory twin of the source client: manifests and blobs by hand, every request kept, and a switch for being away.
import { Readable } from 'node:stream'
import { type Digest, digestOf } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import type {
  BlobAnswer,
  ForwardAnswer,
  ManifestAnswer,
  SourceClient,
} from '../../shared/source/source-client.ts'

export class MemorySourceClient implements SourceClient {
  /** By `repository:reference`. */
  readonly manifests = new Map<string, { mediaType: string; body: Uint8Array }>()
  readonly blobs = new Map<Digest, Uint8Array>()
  /** `GET manifest a/b:v1 Bearer x` and the like, in order. */
  readonly requests: string[] = []
  /** Credentials that are turned away. */
  readonly refused = new Set<string | undefined>()
  away = false
  /** Until it settles, no request is answered. */
  hold: Promise<void> | undefined

  putBlob(body: Uint8Array): Digest {
    const digest = digestOf(body)
    this.blobs.set(digest, body)
    return digest
  }

  async manifest(
    source: SourceRef,
    reference: string,
    _accept: readonly string[],
    known: Digest | undefined,
    signal: AbortSignal,
  ): Promise<ManifestAnswer> {
    await this.#ask(
      `${known === undefined ? 'GET' : 'HEAD'} manifest ${source.repository}:${reference}`,
      source,
      signal,
    )
    const found = this.manifests.get(`${source.repository}:${reference}`)
    if (found === undefined) throw new PantalaError('SOURCE_MANIFEST_UNKNOWN')
    const digest = digestOf(found.body)
    return { mediaType: found.mediaType, digest, body: digest === known ? undefined : found.body }
  }

  async blobLength(source: SourceRef, digest: Digest, signal: AbortSignal): Promise<number> {
    await this.#ask('HEAD blob', source, signal)
    return this.#blob(digest).byteLength
  }

  async openBlob(
    source: SourceRef,
    digest: Digest,
    offset: number,
    length: number | undefined,
    signal: AbortSignal,
  ): Promise<BlobAnswer> {
    await this.#ask('GET blob', source, signal)
    const bytes = this.#blob(digest)
    const end = length === undefined ? bytes.byteLength : offset + length
    const body = Readable.from([Buffer.from(bytes.subarray(offset, end))], { objectMode: false })
    return { offset, size: bytes.byteLength, body }
  }

  async smallBlob(source: SourceRef, digest: Digest, size: number, signal: AbortSignal): Promise<Uint8Array> {
    await this.#ask('GET blob', source, signal)
    const bytes = this.#blob(digest)
    if (bytes.byteLength !== size) throw new PantalaError('SOURCE_LENGTH_WRONG')
    if (digestOf(bytes) !== digest) throw new PantalaError('SOURCE_DIGEST_MISMATCH')
    return bytes
  }

  forward(): Promise<ForwardAnswer> {
    return Promise.reject(new PantalaError('SOURCE_AWAY'))
  }

  async close(): Promise<void> {}

  #blob(digest: Digest): Uint8Array {
    const bytes = this.blobs.get(digest)
    if (bytes === undefined) throw new PantalaError('SOURCE_BLOB_UNKNOWN')
    return bytes
  }

  async #ask(request: string, source: SourceRef, signal: AbortSignal): Promise<void> {
    this.requests.push(`${request} ${source.authorization ?? 'anonymous'}`)
    await (this.hold ?? new Promise(resolve => setTimeout(resolve, 5)))
    signal.throwIfAborted()
    if (this.away) throw new PantalaError('SOURCE_AWAY')
    if (this.refused.has(source.authorization))
      throw new PantalaError('SOURCE_UNAUTHORIZED', { challenge: 'Bearer realm="r"' })
  }
}
