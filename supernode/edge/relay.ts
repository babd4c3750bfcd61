// Fetches manifests, blob lengths and small blobs from the source once for all who ask, and never gives one credential's answer to another.
import { createHmac, randomBytes } from 'node:crypto'
import { ByteLru } from '../../shared/byte-lru.ts'
import type { Clock } from '../../shared/clock.ts'
import { Coalescer } from '../../shared/coalesce.ts'
import { type Digest, DigestCheck, isDigest, parseDigest } from '../../shared/digest.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { Register, Relay, Relayed, SourceRef } from '../../shared/protocol/messages.ts'
import type { SourceClient } from '../../shared/source/source-client.ts'
import { Gate } from './gate.ts'

/** Manifests and small blobs kept, in bytes together. */
const BODIES_BYTES_MAX = 128 * 1024 * 1024
const BODIES_MAX = 50_000
/** Answers remembered: who may have what. */
const ANSWERS_MAX = 100_000
/** How long the source's yes to a credential counts for content that never changes, in ms. */
const ACCESS_FRESH_MS = 60_000
/** Longest that one question to the source may take, in ms. */
const SOURCE_TIMEOUT_MS = 30_000
const SOURCE_REQUESTS_MAX = 64
const SOURCE_REQUESTS_WAITING_MAX = 4096

interface Answer {
  readonly mediaType: string
  readonly digest: Digest | undefined
  readonly length: number
  at: number
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
  readonly #credentialKey = randomBytes(32)
  readonly #bodies = new ByteLru<Digest, Uint8Array>({ bytesMax: BODIES_BYTES_MAX, entriesMax: BODIES_MAX })
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
    init: { tagFreshMs: number },
  ) {
    this.#source = components.source
    this.#clock = components.clock
    this.#logger = components.logger
    this.#onResult = components.onResult ?? (() => {})
    this.#tagFreshMs = init.tagFreshMs
  }

  /** @throws PantalaError the source's, OVERLOADED, DEADLINE_PASSED, or the signal's reason */
  async relay(
    request: Omit<Relay, 'type' | 'id'>,
    signal: AbortSignal,
  ): Promise<Omit<Relayed, 'type' | 'id'>> {
    const { kind, source, reference, accept, known } = request
    const key = this.#keyOf(kind, source, reference, [...new Set(accept)].sort())
    const fetchAnswer =
      kind === 'manifest'
        ? (inner: AbortSignal) => this.#fetchManifest(key, source, reference, accept, inner)
        : (inner: AbortSignal) => this.#fetchLength(key, source, parseDigest(reference), inner)
    const freshMs = isDigest(reference) ? ACCESS_FRESH_MS : this.#tagFreshMs
    const { answer, stale } = await this.#answer(key, freshMs, fetchAnswer, signal)
    const { mediaType, digest, length } = answer
    if (kind === 'blob-length' || digest === undefined) return { mediaType, length, stale }
    if (digest === known) return { mediaType, digest, length, stale }
    const body = this.#bodies.get(digest)
    if (body !== undefined) return { mediaType, digest, length, body, stale }
    // Dropped from the cache meanwhile: ask once more, now without the answer that is remembered.
    this.#answers.delete(key)
    const again = await this.#answer(key, 0, fetchAnswer, signal)
    const late = again.answer.digest === undefined ? undefined : this.#bodies.get(again.answer.digest)
    if (late === undefined) throw new PantalaError('OVERLOADED', { detail: 'the manifest cache is full' })
    return { ...again.answer, body: late, stale: again.stale }
  }

  /**
   * A small blob whole. The body is fetched once; another credential is asked about at the source (HEAD) before it gets the same body.
   * @throws PantalaError the source's, SOURCE_LENGTH_WRONG, SOURCE_DIGEST_MISMATCH, OVERLOADED, or the signal's reason
   */
  async smallBlob(
    request: Pick<Register, 'digest' | 'size' | 'source'>,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const { digest, size, source } = request
    const key = this.#keyOf('blob', source, digest, [])
    await this.#answer(
      key,
      ACCESS_FRESH_MS,
      inner => this.#fetchBlob(key, source, digest, size, inner),
      signal,
    )
    const body = this.#bodies.get(digest)
    if (body === undefined) throw new PantalaError('OVERLOADED', { detail: 'the blob cache is full' })
    if (body.byteLength !== size)
      throw new PantalaError('SOURCE_LENGTH_WRONG', { detail: `${body.byteLength} bytes, not ${size}` })
    return body
  }

  /** The answer remembered, if it is fresh; else the source's; else, where the source is away, the one remembered. */
  async #answer(
    key: string,
    freshMs: number,
    fetchAnswer: (signal: AbortSignal) => Promise<Answer>,
    signal: AbortSignal,
  ): Promise<{ answer: Answer; stale: boolean }> {
    const remembered = this.#answers.get(key)
    const bodyGone = remembered?.digest !== undefined && this.#bodies.get(remembered.digest) === undefined
    if (remembered !== undefined && !bodyGone && this.#clock.monotonic() - remembered.at < freshMs) {
      this.counts.hits++
      this.#onResult('shared')
      return { answer: remembered, stale: false }
    }
    let asked = false
    try {
      const answer = await this.#coalescer.join(
        key,
        inner => {
          asked = true
          return this.#ask(fetchAnswer, inner)
        },
        signal,
      )
      this.#onResult(asked ? 'fetched' : 'shared')
      return { answer, stale: false }
    } catch (error) {
      if (remembered === undefined || bodyGone || !isAway(error) || signal.aborted) {
        this.#onResult('failed')
        throw error
      }
      this.counts.stale++
      this.#onResult('stale')
      this.#logger?.warn({ err: error, digest: remembered.digest }, 'source is away, answering from memory')
      return { answer: remembered, stale: true }
    }
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
    const cached = last === undefined ? undefined : this.#bodies.get(last)
    const got = await this.#source.manifest(source, reference, accept, cached && last, signal)
    const body = got.body ?? cached
    if (body === undefined) throw new PantalaError('SOURCE_STATUS', { detail: 'no manifest in the answer' })
    if (got.body !== undefined) this.#bodies.set(got.digest, got.body, got.body.byteLength)
    return this.#remember(key, { mediaType: got.mediaType, digest: got.digest, length: body.byteLength })
  }

  async #fetchLength(key: string, source: SourceRef, digest: Digest, signal: AbortSignal): Promise<Answer> {
    const length = await this.#source.blobLength(source, digest, signal)
    return this.#remember(key, { mediaType: '', digest: undefined, length })
  }

  async #fetchBlob(
    key: string,
    source: SourceRef,
    digest: Digest,
    size: number,
    signal: AbortSignal,
  ): Promise<Answer> {
    if (this.#bodies.get(digest) === undefined) {
      // Different credentials at once still fetch the body once: the others wait, then ask with HEAD.
      const body = `body ${digest}`
      let mine = false
      await this.#coalescer
        .join(
          body,
          inner => {
            mine = true
            return this.#download(source, digest, size, inner)
          },
          signal,
        )
        .catch(error => {
          if (mine) throw error
        })
      if (mine) return this.#remember(key, { mediaType: '', digest, length: size })
      if (this.#bodies.get(digest) === undefined) {
        await this.#download(source, digest, size, signal)
        return this.#remember(key, { mediaType: '', digest, length: size })
      }
    }
    const length = await this.#source.blobLength(source, digest, signal)
    if (length !== size)
      throw new PantalaError('SOURCE_LENGTH_WRONG', { detail: `${length} bytes, not ${size}` })
    return this.#remember(key, { mediaType: '', digest, length })
  }

  async #download(source: SourceRef, digest: Digest, size: number, signal: AbortSignal): Promise<void> {
    const opened = await this.#source.openBlob(source, digest, 0, undefined, signal)
    const bytes = new Uint8Array(size)
    let length = 0
    try {
      for await (const chunk of opened.body) {
        if (length + chunk.byteLength > size)
          throw new PantalaError('SOURCE_LENGTH_WRONG', { detail: `more than ${size} bytes` })
        bytes.set(chunk, length)
        length += chunk.byteLength
      }
    } finally {
      opened.body.destroy()
    }
    if (length !== size)
      throw new PantalaError('SOURCE_LENGTH_WRONG', { detail: `${length} bytes, not ${size}` })
    const check = new DigestCheck(digest)
    check.update(bytes)
    if (!check.matches()) throw new PantalaError('SOURCE_DIGEST_MISMATCH', { detail: digest })
    this.#bodies.set(digest, bytes, bytes.byteLength)
  }

  #remember(key: string, answer: Omit<Answer, 'at'>): Answer {
    const remembered = { ...answer, at: this.#clock.monotonic() }
    this.#answers.set(key, remembered, 1)
    return remembered
  }

  /** Names a question and who asks it; the credential only as an HMAC under a key of this process. */
  #keyOf(kind: string, source: SourceRef, reference: string, accept: readonly string[]): string {
    const credential = createHmac('sha256', this.#credentialKey)
      .update(source.authorization ?? '')
      .digest('base64')
    return JSON.stringify([kind, source.registry, source.repository, reference, accept, credential])
  }
}

function isAway(error: unknown): boolean {
  return (
    isPantalaError(error, 'SOURCE_AWAY') ||
    isPantalaError(error, 'SOURCE_STALLED') ||
    isPantalaError(error, 'SOURCE_STATUS') ||
    isPantalaError(error, 'OVERLOADED')
  )
}
