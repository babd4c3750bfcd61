// Asks for manifests, lengths, blobs and lists in the words of the OCI distribution API, and checks what comes. Keeps no content.
import { type Digest, digestAlgorithm, digestOf, isDigest } from '../digest.ts'
import { PantalaError } from '../errors.ts'
import { MANIFEST_BYTES_MAX, type SourceRef } from '../protocol/messages.ts'
import { readContentRange, readLength, readMediaType } from './answer-headers.ts'
import type { EndpointTry, EndpointWalk } from './endpoint-walk.ts'
import { discardBody, type Exchange, readBody } from './exchange.ts'
import { isForwardablePath } from './forwardable-path.ts'
import type { BlobAnswer, ForwardAnswer, ManifestAnswer, SourceClient } from './source-client.ts'
import { failureOfStatus, SourceFailure } from './source-failure.ts'

/** Asked for where the caller names no types: every manifest there is. */
const manifestMediaTypes: readonly string[] = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.v1+prettyjws',
  'application/vnd.oci.artifact.manifest.v1+json',
  '*/*',
]

const repositoryPattern =
  /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/
const tagPattern = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/
const REPOSITORY_CHARS_MAX = 255
/** A manifest's body must be there after so long, however it drips, in ms. */
const MANIFEST_MS_MAX = 60_000

/** The questions of a SourceClient, for clients' requests or for this service's own. */
export class RegistryRequests implements Omit<SourceClient, 'close'> {
  readonly #walk: EndpointWalk
  readonly #isOwn: boolean

  constructor(walk: EndpointWalk, init: { readonly isOwn: boolean }) {
    this.#walk = walk
    this.#isOwn = init.isOwn
  }

  async manifest(
    source: SourceRef,
    reference: string,
    accept: readonly string[],
    known: Digest | undefined,
    signal: AbortSignal,
  ): Promise<ManifestAnswer> {
    checkRepository(source)
    if (!isDigest(reference) && !tagPattern.test(reference))
      throw new PantalaError('REFERENCE_INVALID', { detail: JSON.stringify(reference.slice(0, 160)) })
    const path = `manifests/${reference}`
    const headers = { accept: acceptHeader(accept) }
    return this.#tryEach(source, signal, async attempt => {
      if (known !== undefined) {
        const unchanged = await confirmKnown(attempt, path, headers, known, known === reference)
        if (unchanged !== undefined) return unchanged
      }
      const exchange = await attempt.send('GET', path, headers)
      expectStatus(exchange, [200], 'manifest')
      const bounded = AbortSignal.any([attempt.signal, AbortSignal.timeout(MANIFEST_MS_MAX)])
      const body = await readBody(exchange, MANIFEST_BYTES_MAX, bounded).catch(error => {
        if (bounded.aborted && !attempt.signal.aborted)
          throw new SourceFailure('SOURCE_STALLED', { detail: `${exchange.asked} took too long` })
        throw error
      })
      return {
        mediaType: readMediaType(exchange.headers, body),
        digest: checkDigest(exchange, reference, body),
        body,
      }
    })
  }

  async blobLength(source: SourceRef, digest: Digest, signal: AbortSignal): Promise<number> {
    checkRepository(source)
    const path = `blobs/${digest}`
    return this.#tryEach(source, signal, async attempt => {
      const head = await attempt.send('HEAD', path, {})
      discardBody(head.body)
      const length = head.status === 200 ? readLength(head.headers) : undefined
      if (length !== undefined) return length
      if (head.status === 401 || head.status === 404)
        throw failureOfStatus(head.status, head.asked, 'blob', head.headers)
      // Some sources answer HEAD without a length, or sign their redirects for GET only.
      const get = await attempt.send('GET', path, { range: 'bytes=0-0' })
      get.body.destroy()
      // An empty blob has no byte 0: then the length stands in the refusal.
      const range = get.status === 206 || get.status === 416 ? readContentRange(get.headers) : undefined
      const size = get.status === 200 ? readLength(get.headers) : range?.size
      if (size !== undefined) return size
      if (get.status === 200 || get.status === 206)
        throw new SourceFailure('SOURCE_STATUS', {
          detail: `${get.asked} tells no length`,
          status: get.status,
        })
      throw failureOfStatus(get.status, get.asked, 'blob', get.headers)
    })
  }

  async openBlob(
    source: SourceRef,
    digest: Digest,
    offset: number,
    length: number | undefined,
    signal: AbortSignal,
    passOver = 0,
  ): Promise<BlobAnswer> {
    checkRepository(source)
    const end = length === undefined ? '' : String(offset + length - 1)
    const headers: Record<string, string> =
      offset > 0 || end !== '' ? { range: `bytes=${offset}-${end}` } : {}
    return this.#walk.tryEach({ source, isOwn: this.#isOwn, passOver }, signal, async attempt => {
      const exchange = await attempt.send('GET', `blobs/${digest}`, headers)
      if (exchange.status === 416) {
        // Some registries name a length here that they do not send: the connection cannot be used again.
        exchange.body.destroy()
        throw new SourceFailure('SOURCE_LENGTH_WRONG', { detail: `${exchange.asked} has no byte ${offset}` })
      }
      expectStatus(exchange, [200, 206], 'blob')
      const { body } = exchange
      const { rivals, fails } = attempt
      const failed = (message: string) => fails({ message: `${exchange.asked}: ${message}`, retryAfterMs: 0 })
      if (exchange.status === 200)
        return { offset: 0, size: readLength(exchange.headers), body, hasRival: rivals(), failed }
      const range = readContentRange(exchange.headers)
      if (range?.first === undefined || range.first > offset) {
        body.destroy()
        throw new SourceFailure('SOURCE_STATUS', {
          detail: `${exchange.asked} answered 206 with another range than asked`,
          status: 206,
        })
      }
      return { offset: range.first, size: range.size, body, hasRival: rivals(), failed }
    })
  }

  async smallBlob(source: SourceRef, digest: Digest, size: number, signal: AbortSignal): Promise<Uint8Array> {
    checkRepository(source)
    return this.#tryEach(source, signal, async attempt => {
      const exchange = await attempt.send('GET', `blobs/${digest}`, {})
      expectStatus(exchange, [200], 'blob')
      const bytes = await readBody(exchange, size, attempt.signal)
      if (bytes.byteLength !== size)
        throw new SourceFailure('SOURCE_LENGTH_WRONG', {
          detail: `${exchange.asked} sent ${bytes.byteLength} bytes, not ${size}`,
        })
      checkDigest(exchange, digest, bytes)
      return bytes
    })
  }

  async forward(
    source: SourceRef,
    method: 'GET' | 'HEAD',
    path: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<ForwardAnswer> {
    if (!path.startsWith('/v2/') || !isForwardablePath(path))
      throw new PantalaError('PATH_UNKNOWN', { detail: JSON.stringify(path.slice(0, 160)) })
    return this.#tryEach(source, signal, async attempt => {
      const exchange = await attempt.forward(method, path.slice('/v2/'.length), headers)
      if (attempt.hasNext && exchange.status >= 400) {
        discardBody(exchange.body)
        throw failureOfStatus(exchange.status, exchange.asked, 'other', exchange.headers)
      }
      return { status: exchange.status, headers: exchange.headers, body: exchange.body }
    })
  }

  #tryEach<T>(source: SourceRef, signal: AbortSignal, run: (attempt: EndpointTry) => Promise<T>): Promise<T> {
    return this.#walk.tryEach({ source, isOwn: this.#isOwn }, signal, run)
  }
}

/**
 * HEAD of a manifest: an answer without body if it still is `known`; undefined if a GET must tell. Asked for by that very digest, any success
 * will do: the caller may have it.
 */
async function confirmKnown(
  attempt: EndpointTry,
  path: string,
  headers: Readonly<Record<string, string>>,
  known: Digest,
  byDigest: boolean,
): Promise<ManifestAnswer | undefined> {
  const exchange = await attempt.send('HEAD', path, headers)
  discardBody(exchange.body)
  if (exchange.status === 401 || exchange.status === 404)
    throw failureOfStatus(exchange.status, exchange.asked, 'manifest', exchange.headers)
  const named = exchange.headers['docker-content-digest'] ?? (byDigest ? known : undefined)
  if (exchange.status !== 200 || named !== known) return undefined
  const mediaType = readMediaType(exchange.headers, undefined)
  return mediaType === '' ? undefined : { mediaType, digest: known, body: undefined }
}

function checkRepository(source: SourceRef): void {
  const { repository } = source
  if (repository.length > REPOSITORY_CHARS_MAX || !repositoryPattern.test(repository))
    throw new PantalaError('NAME_INVALID', { detail: JSON.stringify(repository.slice(0, 160)) })
}

function acceptHeader(accept: readonly string[]): string {
  const usable = accept.filter(type => /^[\x21-\x7e ]{1,200}$/.test(type)).slice(0, 32)
  return (usable.length === 0 ? manifestMediaTypes : usable).join(', ')
}

function expectStatus(exchange: Exchange, statuses: readonly number[], wanted: 'manifest' | 'blob'): void {
  const { status, headers, asked, body } = exchange
  if (!statuses.includes(status)) {
    discardBody(body)
    throw failureOfStatus(status, asked, wanted, headers)
  }
  const encoding = headers['content-encoding']
  if (encoding !== undefined && encoding !== 'identity') {
    body.destroy()
    throw new SourceFailure('SOURCE_STATUS', { detail: `${asked} sent an encoded body unasked`, status: 502 })
  }
}

/** The digest of a manifest's body, held against the one asked for or the one the source names. */
function checkDigest(exchange: Exchange, reference: string, body: Uint8Array): Digest {
  const named = exchange.headers['docker-content-digest'] ?? ''
  const expected = isDigest(reference) ? reference : isDigest(named) ? named : undefined
  if (expected === undefined) return digestOf(body)
  const computed = digestOf(body, digestAlgorithm(expected))
  if (computed !== expected)
    throw new SourceFailure('SOURCE_DIGEST_MISMATCH', { detail: `${exchange.asked} sent ${computed}` })
  return computed
}
