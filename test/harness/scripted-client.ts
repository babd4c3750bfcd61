// A source client over manifests and lengths in memory, with a log of what it was asked; refuses or is away when told.
import { type Digest, digestOf, isDigest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import type { ManifestAnswer, SourceClient } from '../../shared/source/source-client.ts'

export class ScriptedClient implements SourceClient {
  readonly tags = new Map<string, { mediaType: string; body: Buffer }>()
  readonly lengths = new Map<Digest, number>()
  readonly asked: string[] = []
  readonly sources: SourceRef[] = []
  /** Thrown by every call while set. */
  failure: PantalaError | undefined
  /** Credentials that are accepted; any if undefined. */
  accepted: string | undefined
  /** What the source thinks of a caller and what is asked for, beyond `accepted`; undefined: nothing against it. */
  judge: ((source: SourceRef, what: Digest | string) => PantalaError | undefined) | undefined
  /** Held up until this settles. */
  gate: Promise<void> | undefined

  /** Puts a manifest under a tag, and under its digest. */
  put(tag: string, manifest: object, mediaType = 'application/vnd.oci.image.manifest.v1+json'): Digest {
    const body = Buffer.from(JSON.stringify(manifest))
    const digest = digestOf(body)
    this.tags.set(tag, { mediaType, body })
    this.tags.set(digest, { mediaType, body })
    return digest
  }

  async manifest(
    source: SourceRef,
    reference: string,
    _accept: readonly string[],
    known: Digest | undefined,
    signal: AbortSignal,
  ): Promise<ManifestAnswer> {
    await this.#answer(source, isDigest(reference) ? 'digest' : `tag ${reference}`, reference, signal)
    const held = this.tags.get(reference)
    if (held === undefined) throw new PantalaError('SOURCE_MANIFEST_UNKNOWN')
    const digest = digestOf(held.body)
    return { mediaType: held.mediaType, digest, body: digest === known ? undefined : held.body }
  }

  async blobLength(source: SourceRef, digest: Digest, signal: AbortSignal): Promise<number> {
    await this.#answer(source, 'length', digest, signal)
    const length = this.lengths.get(digest)
    if (length === undefined) throw new PantalaError('SOURCE_BLOB_UNKNOWN')
    return length
  }

  openBlob(): never {
    throw new TypeError('not scripted')
  }

  smallBlob(): never {
    throw new TypeError('not scripted')
  }

  forward(): never {
    throw new TypeError('not scripted')
  }

  async close(): Promise<void> {}

  async #answer(source: SourceRef, what: string, reference: string, signal: AbortSignal): Promise<void> {
    this.asked.push(what)
    this.sources.push(source)
    await this.gate
    signal.throwIfAborted()
    if (this.failure !== undefined) throw this.failure
    if (this.accepted !== undefined && source.authorization !== this.accepted)
      throw new PantalaError('SOURCE_UNAUTHORIZED', { challenge: 'Basic realm="x"' })
    const objection = this.judge?.(source, reference)
    if (objection !== undefined) throw objection
  }
}
