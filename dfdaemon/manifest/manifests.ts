// Gives runtimes their manifests: from this host while that is right, else from the source, asked once for all who want the same; and says
// who may read what a manifest lists. Serves no HTTP.
import type { Clock } from '../../shared/clock.ts'
import { Coalescer } from '../../shared/coalesce.ts'
import { type Digest, isDigest } from '../../shared/digest.ts'
import { type ErrorCode, isPantalaError, PantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import type { SourceClient } from '../../shared/source/source-client.ts'
import type { SchedulerClient } from '../scheduler/scheduler-client.ts'
import { classifyAccept, takesMediaType } from './accept-class.ts'
import { AccessMemory, type ScopeKey } from './access-memory.ts'
import { BlobSizes } from './blob-sizes.ts'
import { readManifest } from './manifest-content.ts'
import { ManifestStore, type StoredManifest } from './manifest-store.ts'
import { type Origin, SourceAsker } from './source-asker.ts'
import { TagMemory } from './tag-memory.ts'

/** Different questions to the source under way at the same time. */
const QUESTIONS_MAX = 512

export interface ManifestsComponents {
  readonly scheduler: SchedulerClient
  readonly client: SourceClient
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: { countManifestStale(): void }
}

export interface ManifestsInit {
  /** Directory of the manifests' own; made if absent. */
  readonly dataDir: string
  /** How long a tag is served without asking the source, in ms. */
  readonly tagFreshMs: number
  /** Manifest bodies on disk, in bytes. */
  readonly cacheBytesMax: number
}

export interface ManifestRequest {
  readonly source: SourceRef
  /** Tag or digest. */
  readonly reference: string
  /** The runtime's Accept header or headers; empty: anything. */
  readonly accept: readonly string[]
}

export interface Manifest {
  readonly mediaType: string
  readonly digest: Digest
  readonly body: Uint8Array
  /** True if the source is away and this is the last known answer. */
  readonly stale: boolean
}

export class Manifests {
  readonly #components: ManifestsComponents
  readonly #store: ManifestStore
  readonly #tags: TagMemory
  readonly #access: AccessMemory
  readonly #sizes = new BlobSizes()
  readonly #asker: SourceAsker
  readonly #coalescer = new Coalescer({ distinctMax: QUESTIONS_MAX })

  constructor(components: ManifestsComponents, init: ManifestsInit) {
    const { scheduler, client, clock, logger } = components
    this.#components = components
    this.#store = new ManifestStore(
      { logger },
      { directory: init.dataDir, cacheBytesMax: init.cacheBytesMax },
    )
    this.#tags = new TagMemory({ clock, store: this.#store }, { tagFreshMs: init.tagFreshMs })
    this.#access = new AccessMemory({ clock })
    this.#asker = new SourceAsker({ scheduler, client, logger })
  }

  /** @throws PantalaError DATA_DIR_UNUSABLE */
  async start(): Promise<void> {
    await this.#store.start((name, tag) => this.#tags.restore(name, tag))
  }

  async stop(): Promise<void> {
    await this.#store.stop()
  }

  /**
   * A manifest that the caller may have, under the caller's own credentials.
   * @throws PantalaError the source's, REFERENCE_INVALID | NAME_INVALID | UPSTREAM_* | OVERLOADED, or the signal's reason
   */
  async get(request: ManifestRequest, signal: AbortSignal): Promise<Manifest> {
    signal.throwIfAborted()
    const accepted = classifyAccept(request.accept)
    const scope = this.#access.scopeOf(request.source)
    const manifest = isDigest(request.reference)
      ? await this.#getByDigest(request.source, scope, request.reference, accepted, signal)
      : await this.#getByTag(request.source, scope, request.reference, accepted, signal)
    this.#noteListed(scope, manifest)
    return manifest
  }

  /** Length in bytes of a blob listed by a manifest seen, or confirmed by the source; undefined if unknown or claimed in two ways. */
  sizeOf(digest: Digest): number | undefined {
    return this.#sizes.sizeOf(digest)
  }

  /** True if the caller was given a manifest that lists the digest, or the source accepted the caller for it a moment ago. */
  mayRead(source: SourceRef, digest: Digest): boolean {
    return this.#access.mayRead(this.#access.scopeOf(source), digest)
  }

  /**
   * Makes sure that the caller may read a blob, by asking the source for its length under the caller's credentials unless that is known.
   * While the source is away, its yes of the last hour holds.
   * @throws PantalaError the source's, or the signal's reason
   */
  async checkAccess(source: SourceRef, digest: Digest, signal: AbortSignal): Promise<void> {
    const scope = this.#access.scopeOf(source)
    if (this.#access.mayRead(scope, digest)) return
    try {
      const { length, stale } = await this.#coalescer.join(
        `length ${scope} ${digest}`,
        inner => this.#asker.blobLength(source, digest, inner),
        signal,
      )
      if (stale) return refuseStaleWord(source)
      this.#sizes.confirm(digest, length)
      this.#access.grantChecked(scope, digest)
    } catch (error) {
      if (signal.aborted) throw signal.reason
      if (!isAway(error)) this.#access.revoke(scope, digest)
      else if (this.#access.mayReadWhileAway(scope, digest)) return
      throw error
    }
  }

  async #getByDigest(
    source: SourceRef,
    scope: ScopeKey,
    digest: Digest,
    accepted: readonly string[],
    signal: AbortSignal,
  ): Promise<Manifest> {
    const held = await this.#store.get(digest)
    const usable = held !== undefined && takesMediaType(accepted, held.mediaType) ? held : undefined
    if (usable !== undefined && this.#access.mayRead(scope, digest))
      return { ...usable, digest, stale: false }
    const key = JSON.stringify(['digest', scope, digest, accepted])
    try {
      const origin = await this.#ask(key, source, digest, accepted, usable && digest, signal)
      if (origin.stale) refuseStaleWord(source)
      const manifest = await this.#keep(origin, usable)
      if (manifest.stale) this.#noteStale(source, scope, digest, digest)
      else this.#access.grantChecked(scope, digest)
      return manifest
    } catch (error) {
      if (signal.aborted) throw signal.reason
      if (!isAway(error)) this.#access.revoke(scope, digest)
      else if (usable !== undefined && this.#access.mayReadWhileAway(scope, digest))
        return this.#serveStale(source, scope, digest, { ...usable, digest }, error)
      throw error
    }
  }

  async #getByTag(
    source: SourceRef,
    scope: ScopeKey,
    tag: string,
    accepted: readonly string[],
    signal: AbortSignal,
  ): Promise<Manifest> {
    const place = this.#tags.placeOf(source, scope, tag, accepted)
    const last = this.#tags.get(place)
    const held = last && (await this.#store.get(last.digest))
    if (last !== undefined && held !== undefined && this.#tags.isFresh(last)) {
      this.#access.grantServed(scope, last.digest)
      return { mediaType: last.mediaType, digest: last.digest, body: held.body, stale: false }
    }
    // What another caller saw saves the body's way as well: the source still decides who may have it.
    const known = held === undefined ? this.#tags.hint(place) : last?.digest
    const base = held ?? (known && (await this.#store.get(known)))
    try {
      const origin = await this.#ask(`tag ${place.key}`, source, tag, accepted, base && known, signal)
      if (origin.stale) refuseStaleWord(source)
      const manifest = await this.#keep(origin, base)
      if (manifest.stale) this.#noteStale(source, scope, tag, manifest.digest)
      else {
        this.#tags.set(place, manifest)
        this.#access.grantChecked(scope, manifest.digest)
      }
      return manifest
    } catch (error) {
      if (signal.aborted) throw signal.reason
      if (!isAway(error)) this.#tags.delete(place)
      else if (last !== undefined && held !== undefined && this.#tags.mayServeStale(place, last))
        return this.#serveStale(
          source,
          scope,
          tag,
          { mediaType: last.mediaType, digest: last.digest, body: held.body },
          error,
        )
      throw error
    }
  }

  #ask(
    key: string,
    source: SourceRef,
    reference: string,
    accepted: readonly string[],
    known: Digest | undefined,
    signal: AbortSignal,
  ): Promise<Origin> {
    const question = { source, reference, accept: accepted, known }
    return this.#coalescer.join(key, inner => this.#asker.manifest(question, inner), signal)
  }

  /** Completes an answer with the body held, or holds the body it brought. */
  async #keep(origin: Origin, held: StoredManifest | undefined): Promise<Manifest> {
    const { mediaType, digest, stale } = origin
    const body = origin.body ?? held?.body ?? (await this.#store.get(digest))?.body
    if (body === undefined) throw new PantalaError('OVERLOADED', { detail: 'the manifest cache is full' })
    if (origin.body !== undefined) {
      // Bodies are shared among repositories: what the bytes call themselves counts more than what one source says.
      this.#store.put(digest, { mediaType: readManifest(body).mediaType ?? mediaType, body })
    }
    return { mediaType, digest, body, stale }
  }

  #noteListed(scope: ScopeKey, manifest: Manifest): void {
    const { listed } = readManifest(manifest.body)
    // By tag the runtime learns the digest and asks for that next.
    this.#access.grantListed(scope, [manifest.digest, ...listed.keys()], manifest.digest)
    for (const [digest, bytes] of listed) if (bytes !== undefined) this.#sizes.claim(digest, bytes)
  }

  #serveStale(
    source: SourceRef,
    scope: ScopeKey,
    reference: string,
    manifest: Omit<Manifest, 'stale'>,
    error: unknown,
  ): Manifest {
    this.#noteStale(source, scope, reference, manifest.digest, error)
    return { ...manifest, stale: true }
  }

  #noteStale(source: SourceRef, scope: ScopeKey, reference: string, digest: Digest, error?: unknown): void {
    this.#access.grantServed(scope, digest)
    const { logger, metrics } = this.#components
    const { registry, repository } = source
    const reason = isPantalaError(error) ? error.message : undefined
    logger.warn(
      { registry, repository, reference, digest, reason },
      'the source is away: serving the last known manifest',
    )
    metrics.countManifestStale()
  }
}

const awayCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'SOURCE_AWAY',
  'SOURCE_STATUS',
  'SOURCE_STALLED',
  'SOURCE_LENGTH_WRONG',
  'SOURCE_DIGEST_MISMATCH',
  'OVERLOADED',
  'DEADLINE_PASSED',
])

/**
 * The supernode answers from memory while the source is away, and does not tell since when. That is enough for what anyone may see; a caller
 * with a credential has what this host heard of the source itself.
 */
function refuseStaleWord(source: SourceRef): void {
  if (source.authorization !== undefined)
    throw new PantalaError('SOURCE_AWAY', { detail: `${source.registry}: the supernode cannot reach it` })
}

/** True if the source said nothing about the content or the caller. */
function isAway(error: unknown): boolean {
  return isPantalaError(error) && awayCodes.has(error.code)
}
