// Gives runtimes their manifests: from this host while that is right, else from the source, asked once for all who want the same; and says
// who may read what a manifest lists. Serves no HTTP.
import type { Clock } from '../../shared/clock.ts'
import { Coalescer } from '../../shared/coalesce.ts'
import { type Digest, isDigest } from '../../shared/digest.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import type { SourceClient } from '../../shared/source/source-client.ts'
import type { SchedulerClient } from '../scheduler/scheduler-client.ts'
import { classifyAccept, takesMediaType } from './accept-class.ts'
import type { ScopeKey } from './access-memory.ts'
import { BlobSizes } from './blob-sizes.ts'
import { LayerOrder } from './layer-order.ts'
import { readManifest } from './manifest-content.ts'
import { ManifestStore, type StoredManifest, type StoredTag } from './manifest-store.ts'
import { type AdmittedBlob, isAway, ReadRights, type RightsInit, staleWord } from './read-rights.ts'
import { type ManifestQuestion, type Origin, SourceAsker } from './source-asker.ts'
import { TagMemory } from './tag-memory.ts'
import { WriteMemory } from './write-memory.ts'

/** Different questions to the source under way at the same time, those that wait for their turn at the supernode included. */
const QUESTIONS_MAX = 4096

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
  readonly access: RightsInit
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

interface HeldManifest extends StoredManifest {
  readonly isPublic: boolean
}

export class Manifests {
  readonly #components: ManifestsComponents
  readonly #store: ManifestStore
  readonly #tags: TagMemory
  readonly #rights: ReadRights
  readonly #writes: WriteMemory
  readonly #sizes = new BlobSizes()
  readonly #order = new LayerOrder()
  readonly #asker: SourceAsker
  readonly #coalescer = new Coalescer({ distinctMax: QUESTIONS_MAX })
  readonly #closing = new AbortController()

  constructor(components: ManifestsComponents, init: ManifestsInit) {
    const { scheduler, client, clock, logger } = components
    this.#components = components
    this.#store = new ManifestStore(
      { logger },
      { directory: init.dataDir, cacheBytesMax: init.cacheBytesMax },
    )
    this.#tags = new TagMemory({ clock, store: this.#store }, { tagFreshMs: init.tagFreshMs })
    this.#asker = new SourceAsker({ scheduler, client, logger })
    const onLength = ({ registry }: SourceRef, digest: Digest, length: number): void =>
      this.#sizes.confirm(registry, digest, length)
    this.#writes = new WriteMemory({ clock })
    this.#rights = new ReadRights(
      { asker: this.#asker, coalescer: this.#coalescer, clock, onLength, writes: this.#writes },
      init.access,
    )
  }

  /** @throws PantalaError DATA_DIR_UNUSABLE */
  async start(): Promise<void> {
    await this.#store.start((name, tag) => this.#tags.restore(name, tag))
  }

  async stop(): Promise<void> {
    this.#closing.abort(new PantalaError('SHUTTING_DOWN'))
    await this.#store.stop()
  }

  /**
   * A manifest that the caller may have, under the caller's own credentials.
   * @throws PantalaError the source's, REFERENCE_INVALID | NAME_INVALID | UPSTREAM_* | OVERLOADED, or the signal's reason
   */
  async get(request: ManifestRequest, signal: AbortSignal): Promise<Manifest> {
    signal.throwIfAborted()
    const accepted = classifyAccept(request.accept)
    const scope = this.#rights.memory.scopeOf(request.source)
    const manifest = isDigest(request.reference)
      ? await this.#getByDigest(request.source, scope, request.reference, accepted, signal)
      : await this.#getByTag(request.source, scope, request.reference, accepted, signal)
    this.#noteListed(request.source, manifest)
    return manifest
  }

  /** Length in bytes of a blob, as a manifest of this registry claims it or it confirms it; undefined if unknown or claimed in two ways. */
  sizeOf({ registry }: SourceRef, digest: Digest): number | undefined {
    return this.#sizes.sizeOf(registry, digest)
  }

  /** The layer that a runtime asks for after this one, by the last manifest of this repository that lists it. Says nothing of who may have it. */
  nextLayer(source: SourceRef, layer: Digest): Digest | undefined {
    return this.#order.nextOf(source, layer)
  }

  /**
   * Makes sure that the caller may read a blob, and says what it is kept under. `fresh`: by the source's own word of now, unless it is away.
   * @throws PantalaError the source's, or the signal's reason
   */
  admit(source: SourceRef, digest: Digest, fresh: boolean, signal: AbortSignal): Promise<AdmittedBlob> {
    return this.#rights.admit(source, digest, fresh, signal)
  }

  /** What `admit` would say of a request that is not `fresh`, where that needs nobody to be asked; undefined elsewhere. */
  admitKnown(source: SourceRef, digest: Digest): AdmittedBlob | undefined {
    return this.#rights.admitKnown(source, digest)
  }

  /** Tag or digest: it was pushed or deleted through this host, or may have been. Nothing heard of it before counts any more. */
  noteWrite(source: SourceRef, reference: string): void {
    this.#writes.noteWrite(source, reference)
    if (isDigest(reference)) return
    // The disk forgets what most callers are given, so that it does not come back with the next start.
    const { registry, repository } = source
    const anyone = { registry, repository }
    this.#tags.delete(this.#tags.placeOf(anyone, this.#rights.memory.scopeOf(anyone), reference, []))
  }

  async #getByDigest(
    source: SourceRef,
    scope: ScopeKey,
    digest: Digest,
    accepted: readonly string[],
    signal: AbortSignal,
  ): Promise<Manifest> {
    const held = await this.#held(source, digest)
    const usable = held !== undefined && takesMediaType(accepted, held.mediaType) ? held : undefined
    if (usable !== undefined && this.#rights.mayHave(source, scope, digest, usable.isPublic))
      return { ...usable, digest, stale: false }
    const written = this.#writes.writtenAt(source, digest)
    const askedAt = this.#writes.now()
    const key = JSON.stringify(['digest', scope, digest, accepted, written])
    const question = { source, reference: digest, accept: accepted, known: usable && digest }
    try {
      const origin = await this.#ask(key, { ...question, fresh: written !== undefined }, signal)
      const manifest = await this.#take(source, scope, digest, origin, usable)
      if (!manifest.stale) this.#writes.settle(source, digest, askedAt)
      return manifest
    } catch (error) {
      if (signal.aborted) throw signal.reason
      this.#rights.noteFailure(source, scope, digest, error)
      const mayHave =
        usable !== undefined && this.#rights.mayHaveWhileAway(source, scope, digest, usable.isPublic)
      if (!isAway(error) || !mayHave) throw error
      return this.#serveStale(source, digest, { ...usable, digest }, error)
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
    const remembered = this.#tags.get(place)
    const written = this.#writes.writtenAt(source, tag)
    const last =
      remembered !== undefined && this.#stillHolds(source, remembered, written) ? remembered : undefined
    const fresh = last === undefined && (written !== undefined || remembered !== undefined)
    const held = last && (await this.#held(source, last.digest))
    const { memory } = this.#rights
    const mayHave = this.#rights.isOpen(source) || memory.accepts(scope)
    if (last !== undefined && held !== undefined && mayHave && this.#tags.isFresh(last))
      return { mediaType: last.mediaType, digest: last.digest, body: held.body, stale: false }
    // What another caller saw saves the body's way as well: the source still decides who may have it.
    const known = held === undefined ? this.#tags.hint(place) : last?.digest
    const base = held ?? (known && (await this.#held(source, known)))
    const question = { source, reference: tag, accept: accepted, known: base && known, fresh }
    try {
      const origin = await this.#ask(`tag ${place.key} ${written}`, question, signal)
      const manifest = await this.#take(source, scope, tag, origin, base)
      // Asked before a write and answered after it, it may be of before.
      if (!manifest.stale && this.#writes.writtenAt(source, tag) === written) this.#tags.set(place, manifest)
      return manifest
    } catch (error) {
      if (signal.aborted) throw signal.reason
      this.#rights.noteFailure(source, scope, undefined, error)
      if (!isAway(error)) this.#tags.delete(place)
      else if (last !== undefined && held !== undefined) {
        const { mediaType, digest } = last
        if (this.#rights.isOpen(source) || memory.acceptsWhileAway(scope))
          return this.#serveStale(source, tag, { mediaType, digest, body: held.body }, error)
      }
      throw error
    }
  }

  /** What is held of a manifest that callers of this source may share; `isPublic` if it was had without credentials. */
  async #held(source: SourceRef, digest: Digest): Promise<HeldManifest | undefined> {
    const key = this.#rights.keyFor(source, digest)
    const own = await this.#store.get(key)
    if (own !== undefined) return { ...own, isPublic: key === digest }
    const anyones = key === digest ? undefined : await this.#store.get(digest)
    return anyones && { ...anyones, isPublic: true }
  }

  /** Takes in what the source, or the supernode in its stead, answered. */
  async #take(
    source: SourceRef,
    scope: ScopeKey,
    reference: string,
    origin: Origin,
    held: StoredManifest | undefined,
  ): Promise<Manifest> {
    const isOpen = this.#rights.isOpen(source)
    if (origin.stale && !isOpen) throw staleWord(source)
    const manifest = await this.#keep(source, origin, held)
    if (manifest.stale) this.#noteStale(source, reference, manifest.digest)
    else {
      this.#rights.memory.accept(scope, origin.ageMs)
      this.#rights.memory.confirm(source, manifest.digest)
      if (!isOpen) this.#learnWhetherPublic(source, manifest)
    }
    return manifest
  }

  /** Before its blobs are asked for: then nobody waits for the answer. */
  #learnWhetherPublic(source: SourceRef, { body }: Manifest): void {
    const { config } = readManifest(body)
    if (config === undefined) return
    this.#rights.isPublic(source, config, this.#closing.signal).catch(() => {})
  }

  /** False where the tag, or the manifest it pointed to, was written since. */
  #stillHolds(source: SourceRef, tag: StoredTag, written: number | undefined): boolean {
    const gone = this.#writes.writtenAt(source, tag.digest)
    return (written === undefined || written < tag.at) && (gone === undefined || gone < tag.at)
  }

  #ask(key: string, question: ManifestQuestion, signal: AbortSignal): Promise<Origin> {
    return this.#coalescer.join(key, inner => this.#asker.manifest(question, inner), signal)
  }

  /** Completes an answer with the body held, or holds the body it brought. */
  async #keep(source: SourceRef, origin: Origin, held: StoredManifest | undefined): Promise<Manifest> {
    const { mediaType, digest, stale } = origin
    const body = origin.body ?? held?.body
    if (body === undefined) throw new PantalaError('OVERLOADED', { detail: 'the manifest cache is full' })
    if (origin.body !== undefined) {
      // Bodies are shared among repositories: what the bytes call themselves counts more than what one source says.
      const key = this.#rights.keyFor(source, digest)
      this.#store.put(key, { mediaType: readManifest(body).mediaType ?? mediaType, body })
    }
    return { mediaType, digest, body, stale }
  }

  #noteListed(source: SourceRef, manifest: Manifest): void {
    const { listed, layers } = readManifest(manifest.body)
    this.#rights.memory.list(source, listed.keys())
    this.#order.note(source, layers)
    for (const [digest, bytes] of listed)
      if (bytes !== undefined) this.#sizes.claim(source.registry, digest, bytes)
  }

  #serveStale(
    source: SourceRef,
    reference: string,
    manifest: Omit<Manifest, 'stale'>,
    error: unknown,
  ): Manifest {
    this.#noteStale(source, reference, manifest.digest, error)
    const { mediaType, digest, body } = manifest
    return { mediaType, digest, body, stale: true }
  }

  #noteStale(source: SourceRef, reference: string, digest: Digest, error?: unknown): void {
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
