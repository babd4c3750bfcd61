// Answers blobs: whole, one range or several, streamed while pieces land; a body that fails is cut, never ended cleanly.
import type { Digest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { BlobRequest, ByteSpan, OpenBlob } from '../session/blobs.ts'
import { BodySender } from './body-sender.ts'
import type { LayersAhead } from './layers-ahead.ts'
import { contentRange, frameRanges } from './multipart-ranges.ts'
import { headerText, type ProxyComponents, type ProxyExchange } from './proxy-context.ts'
import { readRange } from './range.ts'

export interface BlobRouteComponents extends Pick<ProxyComponents, 'blobs' | 'manifests' | 'metrics'> {
  /** Absent: nothing is fetched before it is asked for. */
  readonly ahead: LayersAhead | undefined
}

export interface BlobRouteInit {
  /** A client that takes no byte for this long is cut, in ms. */
  readonly stalledSendMs: number
}

const BLOB_TYPE = 'application/octet-stream'

/** Headers of every answer that has the blob, or a part of it. */
export function blobHeaders(digest: Digest) {
  return {
    'content-type': BLOB_TYPE,
    'docker-content-digest': digest,
    'accept-ranges': 'bytes',
    etag: `"${digest}"`,
  }
}

/**
 * Sends the blob, or the ranges asked for; resolves when the last byte left. A HEAD ignores Range (RFC 9110, section 14.2).
 * @throws PantalaError, or the signal's reason when the client went away; after headers the socket must be cut
 */
export async function serveBlob(
  components: BlobRouteComponents,
  exchange: ProxyExchange,
  digest: Digest,
  init: BlobRouteInit,
): Promise<boolean> {
  const { blobs, manifests, metrics } = components
  const { source, signal, response } = exchange
  // Who pushes asks so whether a blob is there, and leaves it out if it is: only the registry itself knows.
  const admitted = await manifests.admit(source, digest, exchange.method === 'HEAD', signal)
  const request: BlobRequest = {
    digest: admitted.key,
    source: admitted.source,
    size: manifests.sizeOf(source, digest),
  }
  const common = blobHeaders(digest)
  if (exchange.method === 'HEAD') {
    const size = await blobs.length(request, signal)
    response.writeHead(200, { ...common, 'content-length': size }).end()
    return true
  }
  const asked = readAskedRange(exchange, common.etag)
  // What a range means depends on the length, which is told or asked for before anything is fetched.
  const size = asked === undefined ? undefined : await blobs.length(request, signal)
  const spans = size === undefined ? undefined : readRange(asked, size)
  if (spans === 'unsatisfiable') refuseRange(exchange, size!)
  const blob = await blobs.open({ ...request, size: size ?? request.size }, spans, signal)
  let leave: (() => void) | undefined
  try {
    signal.throwIfAborted()
    if (size !== undefined && blob.size !== size)
      throw new PantalaError('SOURCE_LENGTH_WRONG', {
        detail: `${size} bytes were told, ${blob.size} are here`,
      })
    const onSent =
      blob.from === 'cache' ? (bytes: number) => metrics.countBlobBytes('cache', bytes) : undefined
    const body = new BodySender(response, { ...init, onSent })
    if (spans !== undefined && spans.length > 1) {
      await sendParts(exchange, blob, spans, body, common)
      return true
    }
    // Who asks for a range may be a lazy puller, which does not go on with the next layer.
    if (asked === undefined) leave = components.ahead?.follow(source, digest)
    const span = spans?.[0] ?? { offset: 0, length: blob.size }
    response.writeHead(spans === undefined ? 200 : 206, {
      ...common,
      'content-length': span.length,
      ...(spans === undefined ? {} : { 'content-range': contentRange(span, blob.size) }),
    })
    if (blob.bytes !== undefined)
      await body.endWith(blob.bytes.subarray(span.offset, span.offset + span.length))
    else {
      await sendSpan(blob, span, body, signal)
      await body.end()
    }
    leave = undefined
    return true
  } finally {
    leave?.()
    blob.close()
  }
}

/** Several ranges: one part each, and no Content-Range of the whole (RFC 9110, section 15.3.7.2). */
async function sendParts(
  { response, signal }: ProxyExchange,
  blob: OpenBlob,
  spans: readonly ByteSpan[],
  body: BodySender,
  headers: Record<string, string>,
): Promise<void> {
  const { contentType, contentLength, parts, end } = frameRanges(spans, blob.size, BLOB_TYPE)
  response.writeHead(206, { ...headers, 'content-type': contentType, 'content-length': contentLength })
  for (const { head, span } of parts) {
    body.put(head)
    await sendSpan(blob, span, body, signal)
  }
  body.put(end)
  await body.end()
}

async function sendSpan(
  blob: OpenBlob,
  { offset, length }: ByteSpan,
  body: BodySender,
  signal: AbortSignal,
): Promise<void> {
  const before = body.bytes
  await blob.send(offset, length, chunk => body.take(chunk), signal)
  const sent = body.bytes - before
  if (sent !== length)
    throw new PantalaError('BLOB_INCOMPLETE', { detail: `${sent} of ${length} bytes were sent` })
}

/**
 * The Range header, unless If-Range names other content: then the whole is asked for (RFC 9110, section 13.1.5). The comparison is the
 * strong one: a weak tag never matches, nor does a date, since no Last-Modified was given.
 */
function readAskedRange(exchange: ProxyExchange, etag: string): string | undefined {
  const condition = headerText(exchange, 'if-range')
  return condition === undefined || condition === etag ? headerText(exchange, 'range') : undefined
}

/** 416 names the length that there is (RFC 9110, section 15.5.17). */
function refuseRange(exchange: ProxyExchange, size: number): never {
  exchange.response.setHeader('content-range', `bytes */${size}`)
  throw new PantalaError('RANGE_INVALID', { detail: `${headerText(exchange, 'range')} of ${size} bytes` })
}
