// Says who may read what, as the source says it: a caller is asked about under the caller's own credentials, and content that came under
// credentials stays with its registry. docs/security.md, "Private content", has the rules.
import type { Clock } from '../../shared/clock.ts'
import type { Coalescer } from '../../shared/coalesce.ts'
import type { Digest } from '../../shared/digest.ts'
import { type ErrorCode, isPantalaError, PantalaError } from '../../shared/errors.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import { privateKey, type TaskKey } from '../../shared/task-key.ts'
import { type AccessInit, AccessMemory, type ScopeKey } from './access-memory.ts'
import type { SourceAsker } from './source-asker.ts'
import type { WriteMemory } from './write-memory.ts'

/** How long is waited to hear whether anyone may read a repository, in ms; and how long a question without answer is left alone. */
const PUBLIC_ASK_MS = 3_000
const PUBLIC_AWAY_MS = 5_000

/** A blob that a caller may read: what it is kept under, and how it is to be fetched where it is not held. */
export interface AdmittedBlob {
  readonly key: TaskKey
  /** Without the caller's credentials where anyone may have the blob. */
  readonly source: SourceRef
}

export interface RightsComponents {
  readonly asker: SourceAsker
  readonly clock: Clock
  readonly coalescer: Coalescer
  readonly writes: WriteMemory
  /** Told of each length that the source confirms, in bytes. */
  readonly onLength: (source: SourceRef, digest: Digest, length: number) => void
}

export interface RightsInit extends AccessInit {
  /** True where requests without credentials are sent with credentials of this host's own: what they bring is not everyone's. */
  readonly hasOwnCredentials?: (registry: string) => boolean
}

export class ReadRights {
  readonly memory: AccessMemory
  readonly #c: RightsComponents
  readonly #init: RightsInit

  constructor(components: RightsComponents, init: RightsInit) {
    this.#c = components
    this.#init = init
    this.memory = new AccessMemory({ clock: components.clock }, init)
  }

  /** True if the request carries no credential, neither the caller's nor this host's: what it gets, anyone can get. */
  isOpen(source: SourceRef): boolean {
    return source.authorization === undefined && this.#init.hasOwnCredentials?.(source.registry) !== true
  }

  /** What content that comes in answer to this source's requests is kept under. */
  keyFor(source: SourceRef, digest: Digest): TaskKey {
    return this.isOpen(source) ? digest : privateKey(digest, source.registry)
  }

  /** True if the caller may have content by now, `isPublic` if it was had from some registry without credentials. */
  mayHave(source: SourceRef, scope: ScopeKey, digest: Digest, isPublic: boolean): boolean {
    return this.memory.accepts(scope) && this.#belongs(source, digest, isPublic)
  }

  /** As `mayHave`, where the source cannot be asked. */
  mayHaveWhileAway(source: SourceRef, scope: ScopeKey, digest: Digest, isPublic: boolean): boolean {
    if (this.#c.writes.writtenAt(source, digest) !== undefined) return false
    if (this.isOpen(source)) return isPublic
    return this.memory.acceptsWhileAway(scope) && this.#belongs(source, digest, isPublic)
  }

  /**
   * Makes sure that the caller may read a blob, by asking the source under the caller's credentials unless that is known, and not `fresh`:
   * then it is asked whatever is known.
   * @throws PantalaError the source's, or the signal's reason
   */
  async admit(source: SourceRef, digest: Digest, fresh: boolean, signal: AbortSignal): Promise<AdmittedBlob> {
    const scope = this.memory.scopeOf(source)
    if (fresh || !(await this.#isKnown(source, scope, digest, signal)))
      await this.#check(source, scope, digest, fresh, signal)
    const isPublic = this.isOpen(source) || (await this.isPublic(source, digest, signal))
    return isPublic ? asAnyone(source, digest) : asCaller(source, digest)
  }

  /** What `admit` would say, where that needs nobody to be asked; undefined elsewhere. */
  admitKnown(source: SourceRef, digest: Digest): AdmittedBlob | undefined {
    const isPublic = this.isOpen(source) || this.#isPublicKnown(source)
    if (isPublic === undefined || !this.memory.accepts(this.memory.scopeOf(source))) return undefined
    if (!this.#belongs(source, digest, isPublic)) return undefined
    return isPublic ? asAnyone(source, digest) : asCaller(source, digest)
  }

  /**
   * True if the source gives this repository's content to anyone; asked without credentials, about a digest of the repository. False while
   * nothing can be learnt: then the content stays with its registry.
   */
  async isPublic(source: SourceRef, digest: Digest, signal: AbortSignal): Promise<boolean> {
    const known = this.#isPublicKnown(source)
    if (known !== undefined) return known
    const { registry, repository } = source
    const anyone: SourceRef = { registry, repository }
    const scope = this.memory.scopeOf(anyone)
    try {
      const patience = AbortSignal.any([signal, AbortSignal.timeout(PUBLIC_ASK_MS)])
      await this.#ask(anyone, scope, digest, false, patience)
      return true
    } catch (error) {
      if (signal.aborted) throw signal.reason
      if (isPantalaError(error) && !isAway(error)) this.memory.refuse(scope, this.#init.freshMs)
      else this.memory.postpone(scope, PUBLIC_AWAY_MS)
      return this.memory.acceptsWhileAway(scope)
    }
  }

  /** The same, as far as it is known by now. */
  #isPublicKnown({ registry, repository }: SourceRef): boolean | undefined {
    const anyone: SourceRef = { registry, repository }
    if (!this.isOpen(anyone)) return false
    const scope = this.memory.scopeOf(anyone)
    if (this.memory.accepts(scope)) return true
    return this.memory.isRefused(scope) ? this.memory.acceptsWhileAway(scope) : undefined
  }

  /** What the source's failure means for what is remembered of the caller and the content. */
  noteFailure(source: SourceRef, scope: ScopeKey, digest: Digest | undefined, error: unknown): void {
    if (isAway(error)) return
    this.memory.refuse(scope)
    const isGone =
      isPantalaError(error, 'SOURCE_BLOB_UNKNOWN') || isPantalaError(error, 'SOURCE_MANIFEST_UNKNOWN')
    if (isGone && digest !== undefined) this.memory.forget(source, digest)
  }

  /**
   * A manifest's list is the word of whoever pushed it. It is enough where anyone may have the content; what came under credentials is
   * given to callers of a repository only after the source itself answered for it under that repository.
   */
  #belongs(source: SourceRef, digest: Digest, isPublic: boolean): boolean {
    if (this.#c.writes.writtenAt(source, digest) !== undefined) return false
    const standing = this.memory.standingOf(source, digest)
    return standing === 'confirmed' || (standing === 'listed' && isPublic)
  }

  async #isKnown(source: SourceRef, scope: ScopeKey, digest: Digest, signal: AbortSignal): Promise<boolean> {
    if (!this.memory.accepts(scope) || this.#c.writes.writtenAt(source, digest) !== undefined) return false
    const standing = this.memory.standingOf(source, digest)
    if (standing !== 'listed') return standing === 'confirmed'
    return this.isOpen(source) || (await this.isPublic(source, digest, signal))
  }

  async #check(
    source: SourceRef,
    scope: ScopeKey,
    digest: Digest,
    fresh: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await this.#ask(source, scope, digest, fresh, signal)
    } catch (error) {
      if (signal.aborted) throw signal.reason
      this.noteFailure(source, scope, digest, error)
      if (!isAway(error)) throw error
      const isPublic = this.isOpen(source) || (await this.isPublic(source, digest, signal))
      if (!this.mayHaveWhileAway(source, scope, digest, isPublic)) throw error
    }
  }

  async #ask(
    source: SourceRef,
    scope: ScopeKey,
    digest: Digest,
    fresh: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    const { asker, coalescer, onLength, writes } = this.#c
    const written = writes.writtenAt(source, digest)
    const askedAt = writes.now()
    const isFresh = fresh || written !== undefined
    const { length, stale, ageMs } = await coalescer.join(
      `length ${scope} ${digest} ${isFresh} ${written}`,
      inner => asker.blobLength(source, digest, isFresh, inner),
      signal,
    )
    if (stale) {
      if (!this.isOpen(source)) throw staleWord(source)
      return
    }
    onLength(source, digest, length)
    this.memory.accept(scope, ageMs)
    this.memory.confirm(source, digest)
    writes.settle(source, digest, askedAt)
  }
}

function asAnyone({ registry, repository }: SourceRef, digest: Digest): AdmittedBlob {
  return { key: digest, source: { registry, repository } }
}

function asCaller(source: SourceRef, digest: Digest): AdmittedBlob {
  return { key: privateKey(digest, source.registry), source }
}

/**
 * The supernode answers from memory while the source is away. That is enough for what anyone may see; a caller with a credential has what
 * this host heard of the source itself.
 */
export function staleWord(source: SourceRef): PantalaError {
  return new PantalaError('SOURCE_AWAY', { detail: `${source.registry}: the supernode cannot reach it` })
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

/** True if the source said nothing about the content or the caller. */
export function isAway(error: unknown): boolean {
  return isPantalaError(error) && awayCodes.has(error.code)
}
