// Fetches manifests, blob lengths and small blobs from the source once for all who ask: what the source says of content serves everyone whom
// it accepts for the repository, and it is asked about every credential itself. Bodies serve the callers of the registry that sent them.
import { ByteLru } from '../../shared/byte-lru.ts'
import type { Clock } from '../../shared/clock.ts'
import { Coalescer } from '../../shared/coalesce.ts'
import { type Digest, isDigest, parseDigest } from '../../shared/digest.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { Register, Relay, Relayed, SourceRef } from '../../shared/protocol/messages.ts'
import type { SourceClient } from '../../shared/source/source-client.ts'
import { canonicalRegistry } from '../../shared/source/upstreams.ts'
import { contentOf } from '../../shared/task-key.ts'
import { AcceptedCallers } from './accepted-callers.ts'
import { Gate } from './gate.ts'

/** Manifests and small blobs kept, in bytes together. */
const BODIES_BYTES_MAX = 128 * 1024 * 1024
const BODIES_MAX = 50_000
/** Answers remembered. */
const ANSWERS_MAX = 100_000
/** An answer older than this is not given while the source is away, in ms. */
const STALE_MS_MAX = 24 * 3_600_000
/** Longest that one question to the source may take, in ms. */
const SOURCE_TIMEOUT_MS = 30_000
const SOURCE_REQUESTS_MAX = 64
const SOURCE_REQUESTS_WAITING_MAX = 4096

interface Answer {
  readonly mediaType: string
  readonly digest: Digest | undefined
  readonly length: number
  /** When the source said so. */
  readonly at: number
}

/** An answer with how long ago the source last said so to this caller, in ms. */
interface Given {
  readonly answer: Answer
  readonly stale: boolean
  readonly ageMs: number
}

/** One thing that one caller wants of the source. */
interface Wish {
  readonly source: SourceRef
  /** Names the answer: with the caller's credential only where the answer may differ between callers. */
  readonly key: string
  /** Content that never changes: the answer holds for whoever the source accepts. */
  readonly isFixed: boolean
  /** True where the answer is of no use without the body. */
  readonly needsBody: boolean
  fetch(signal: AbortSignal): Promise<Answer>
}

export type RelayResult = 'fetched' | 'shared' | 'stale' | 'failed'

/** Counts since start. */
export interface RelayCounts {
  sourceRequests: number
  hits: number
  stale: number
}

export class SourceRelay {
  readonly counts: RelayCounts = { sourceRequests: 0, hits: 0, stale: 0 }
  readonly #source: SourceClient
  readonly #clock: Clock
  readonly #logger: Logger | undefined
  readonly #onResult: (result: RelayResult) => void
  readonly #tagFreshMs: number
  readonly #freshMs: number
  readonly #callers: AcceptedCallers
  /** By registry and digest: what one registry sent proves nothing of another. */
  readonly #bodies = new ByteLru<string, Uint8Array>({ bytesMax: BODIES_BYTES_MAX, entriesMax: BODIES_MAX })
  readonly #answers = new ByteLru<string, Answer>({ bytesMax: ANSWERS_MAX, entriesMax: ANSWERS_MAX })
  readonly #coalescer = new Coalescer({ distinctMax: SOURCE_REQUESTS_MAX + SOURCE_REQUESTS_WAITING_MAX })
  readonly #gate = new Gate({ runningMax: SOURCE_REQUESTS_MAX, waitingMax: SOURCE_REQUESTS_WAITING_MAX })

  constructor(
    components: {
      source: SourceClient
      clock: Clock
      logger?: Logger
      /** Told of each question's end. */
      onResult?: (result: RelayResult) => void
    },
    init: { readonly tagFreshMs: number; readonly accessFreshMs: number },
  ) {
    this.#source = components.source
    this.#clock = components.clock
    this.#logger = components.logger
    this.#onResult = components.onResult ?? (() => {})
    this.#tagFreshMs = init.tagFreshMs
    this.#freshMs = init.accessFreshMs
    this.#callers = new AcceptedCallers({ clock: components.clock })
  }

  /** @throws PantalaError the source's, OVERLOADED, DEADLINE_PASSED, or the signal's reason */
  async relay(
    request: Omit<Relay, 'type' | 'id'>,
    signal: AbortSignal,
  ): Promise<Omit<Relayed, 'type' | 'id'>> {
    const { kind, source, reference, accept, known } = request
    const wish =
      kind === 'manifest'
        ? this.#wishManifest(source, reference, accept)
        : this.#wishLength(source, reference)
    const { answer, stale, ageMs } = await this.#answer(
      wish,
      request.fresh ? 'now' : this.#freshFor(wish),
      signal,
    )
    const { mediaType, digest, length } = answer
    if (kind === 'blob-length' || digest === undefined) return { mediaType, length, stale, ageMs }
    if (digest === known) return { mediaType, digest, length, stale, ageMs }
    const body = this.#bodies.get(bodyKey(source, digest))
    if (body !== undefined) return { mediaType, digest, length, body, stale, ageMs }
    // Dropped from the cache meanwhile: ask once more, now without the answer that is remembered.
    this.#answers.delete(wish.key)
    const again = await this.#answer(wish, 0, signal)
    const late =
      again.answer.digest === undefined ? undefined : this.#bodies.get(bodyKey(source, again.answer.digest))
    if (late === undefined) throw new PantalaError('OVERLOADED', { detail: 'the manifest cache is full' })
    const { at: _, ...told } = again.answer
    return { ...told, body: late, stale: again.stale, ageMs: again.ageMs }
  }

  /**
   * A small blob whole. The body is fetched once; another credential is asked about at the source (HEAD) before it gets the same body.
   * @throws PantalaError the source's, SOURCE_LENGTH_WRONG, SOURCE_DIGEST_MISMATCH, OVERLOADED, or the signal's reason
   */
  async smallBlob(
    request: Pick<Register, 'digest' | 'size' | 'source'>,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const { size, source } = request
    const digest = contentOf(request.digest)
    const wish: Wish = {
      source,
      key: keyOf('blob', source, digest, []),
      isFixed: true,
      needsBody: true,
      fetch: inner => this.#fetchBlob(source, digest, size, inner),
    }
    await this.#answer(wish, this.#freshMs, signal)
    const body = this.#bodies.get(bodyKey(source, digest))
    if (body === undefined) throw new PantalaError('OVERLOADED', { detail: 'the blob cache is full' })
    if (body.byteLength !== size)
      throw new PantalaError('SOURCE_LENGTH_WRONG', { detail: `${body.byteLength} bytes, not ${size}` })
    return body
  }

  #wishManifest(source: SourceRef, reference: string, accept: readonly string[]): Wish {
    const isFixed = isDigest(reference)
    // What a tag is shown to point to may depend on who asks.
    const caller = isFixed ? [] : [this.#callers.scopeOf(source)]
    const key = keyOf('manifest', source, reference, [...[...new Set(accept)].sort(), ...caller])
    const fetch = (inner: AbortSignal) => this.#fetchManifest(key, source, reference, accept, inner)
    return { source, key, isFixed, needsBody: true, fetch }
  }

  #wishLength(source: SourceRef, reference: string): Wish {
    const digest = parseDigest(reference)
    const key = keyOf('blob-length', source, digest, [])
    const fetch = async (inner: AbortSignal): Promise<Answer> => {
      const length = await this.#source.blobLength(source, digest, inner)
      return this.#stamp({ mediaType: '', digest: undefined, length })
    }
    return { source, key, isFixed: true, needsBody: false, fetch }
  }

  #freshFor(wish: Wish): number {
    return wish.isFixed ? this.#freshMs : this.#tagFreshMs
  }

  /**
   * The answer remembered, if the source accepted this caller a moment ago; else the source's; else, where the source is away and anyone may
   * know and was told, the one remembered. A refusal ends what is remembered of the caller. `now`: the source's own, to a question that begins now.
   */
  async #answer(wish: Wish, freshMs: number | 'now', signal: AbortSignal): Promise<Given> {
    const { source, key } = wish
    const scope = this.#callers.scopeOf(source)
    const remembered = this.#recall(wish)
    if (remembered !== undefined) {
      const ageMs = wish.isFixed ? this.#callers.ageMs(scope) : this.#clock.monotonic() - remembered.at
      if (freshMs !== 'now' && ageMs < freshMs) {
        this.counts.hits++
        this.#onResult('shared')
        return { answer: remembered, stale: false, ageMs: Math.trunc(ageMs) }
      }
    }
    let asked = freshMs === 'now'
    const askedAt = this.#clock.monotonic()
    const ask = (inner: AbortSignal): Promise<Answer> => {
      asked = true
      return this.#ask(wish.fetch, inner)
    }
    try {
      const answer = asked ? await ask(signal) : await this.#coalescer.join(`${scope} ${key}`, ask, signal)
      if (asked) {
        // What a later question brought is not replaced by an earlier one's.
        const known = this.#answers.get(key)
        if (known === undefined || known.at <= askedAt) this.#answers.set(key, { ...answer, at: askedAt }, 1)
        this.#callers.accept(scope)
      }
      this.#onResult(asked ? 'fetched' : 'shared')
      return { answer, stale: false, ageMs: 0 }
    } catch (error) {
      if (signal.aborted) throw error
      if (!isAway(error)) this.#noteRefusal(wish, scope, error)
      else if (freshMs !== 'now' && source.authorization === undefined && remembered !== undefined) {
        // What another caller was told is not yet this one's.
        const ageMs = Math.max(this.#callers.ageMs(scope), this.#clock.monotonic() - remembered.at)
        if (ageMs < STALE_MS_MAX) {
          this.counts.stale++
          this.#onResult('stale')
          this.#logger?.warn(
            { err: error, digest: remembered.digest },
            'source is away, answering from memory',
          )
          return { answer: remembered, stale: true, ageMs: Math.trunc(ageMs) }
        }
      }
      this.#onResult('failed')
      throw error
    }
  }

  /** What is remembered for a wish; nothing, where the body that belongs to it is gone. */
  #recall({ source, key, needsBody }: Wish): Answer | undefined {
    const answer = this.#answers.get(key)
    if (answer?.digest === undefined || !needsBody) return answer
    return this.#bodies.get(bodyKey(source, answer.digest)) === undefined ? undefined : answer
  }

  /** The source said no: to the caller, or that there is no such content in the repository. */
  #noteRefusal(wish: Wish, scope: string, error: unknown): void {
    this.#callers.refuse(scope)
    const isCallers = isPantalaError(error, 'SOURCE_UNAUTHORIZED') || isPantalaError(error, 'SOURCE_DENIED')
    if (!wish.isFixed || !isCallers) this.#answers.delete(wish.key)
  }

  #ask(fetchAnswer: (signal: AbortSignal) => Promise<Answer>, signal: AbortSignal): Promise<Answer> {
    return this.#gate.run(async () => {
      signal.throwIfAborted()
      this.counts.sourceRequests++
      const deadline = AbortSignal.timeout(SOURCE_TIMEOUT_MS)
      try {
        return await fetchAnswer(AbortSignal.any([signal, deadline]))
      } catch (error) {
        if (deadline.aborted && !signal.aborted && !isPantalaError(error))
          throw new PantalaError('SOURCE_STALLED', {
            detail: `no answer in ${SOURCE_TIMEOUT_MS} ms`,
            cause: error,
          })
        throw error
      }
    })
  }

  async #fetchManifest(
    key: string,
    source: SourceRef,
    reference: string,
    accept: readonly string[],
    signal: AbortSignal,
  ): Promise<Answer> {
    const last = this.#answers.get(key)?.digest ?? (isDigest(reference) ? reference : undefined)
    const cached = last === undefined ? undefined : this.#bodies.get(bodyKey(source, last))
    const got = await this.#source.manifest(source, reference, accept, cached && last, signal)
    const body = got.body ?? cached
    if (body === undefined) throw new PantalaError('SOURCE_STATUS', { detail: 'no manifest in the answer' })
    if (got.body !== undefined) this.#bodies.set(bodyKey(source, got.digest), got.body, got.body.byteLength)
    return this.#stamp({ mediaType: got.mediaType, digest: got.digest, length: body.byteLength })
  }

  async #fetchBlob(source: SourceRef, digest: Digest, size: number, signal: AbortSignal): Promise<Answer> {
    const body = bodyKey(source, digest)
    if (this.#bodies.get(body) === undefined) {
      // Different credentials at once still fetch the body once: the others wait, then ask with HEAD.
      let mine = false
      await this.#coalescer
        .join(
          `body ${body}`,
          inner => {
            mine = true
            return this.#download(source, digest, size, inner)
          },
          signal,
        )
        .catch(error => {
          if (mine) throw error
        })
      if (mine) return this.#stamp({ mediaType: '', digest, length: size })
      if (this.#bodies.get(body) === undefined) {
        await this.#download(source, digest, size, signal)
        return this.#stamp({ mediaType: '', digest, length: size })
      }
    }
    const length = await this.#source.blobLength(source, digest, signal)
    if (length !== size)
      throw new PantalaError('SOURCE_LENGTH_WRONG', { detail: `${length} bytes, not ${size}` })
    return this.#stamp({ mediaType: '', digest, length })
  }

  async #download(source: SourceRef, digest: Digest, size: number, signal: AbortSignal): Promise<void> {
    const bytes = await this.#source.smallBlob(source, digest, size, signal)
    this.#bodies.set(bodyKey(source, digest), bytes, bytes.byteLength)
  }

  #stamp(answer: Omit<Answer, 'at'>): Answer {
    return { ...answer, at: this.#clock.monotonic() }
  }
}

function keyOf(kind: string, source: SourceRef, reference: string, more: readonly string[]): string {
  return JSON.stringify([kind, canonicalRegistry(source.registry), source.repository, reference, more])
}

function bodyKey(source: SourceRef, digest: Digest): string {
  return `${canonicalRegistry(source.registry)} ${digest}`
}

function isAway(error: unknown): boolean {
  return (
    isPantalaError(error, 'SOURCE_AWAY') ||
    isPantalaError(error, 'SOURCE_STALLED') ||
    isPantalaError(error, 'SOURCE_STATUS') ||
    isPantalaError(error, 'OVERLOADED')
  )
}
