// Answers blobs: whole or one range, streamed while pieces land; a body that fails is cut, never ended cleanly.
import type { Digest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { BlobRequest } from '../session/blobs.ts'
import { BodySender } from './body-sender.ts'
import { headerText, type ProxyComponents, type ProxyExchange } from './proxy-context.ts'
import { readRange } from './range.ts'

export interface BlobRouteInit {
  /** A client that takes no byte for this long is cut, in ms. */
  readonly stalledSendMs: number
}

/** Sends the blob; resolves when its last byte left. @throws PantalaError, or the signal's reason when the client went away; after headers the socket must be cut */
export async function serveBlob(
  components: Pick<ProxyComponents, 'blobs' | 'manifests' | 'metrics'>,
  exchange: ProxyExchange,
  digest: Digest,
  init: BlobRouteInit,
): Promise<boolean> {
  const { blobs, manifests, metrics } = components
  const { source, signal, response } = exchange
  if (!manifests.mayRead(source, digest)) await manifests.checkAccess(source, digest, signal)
  const request: BlobRequest = { digest, source, size: manifests.sizeOf(digest) }
  const common = {
    'content-type': 'application/octet-stream',
    'docker-content-digest': digest,
    'accept-ranges': 'bytes',
    etag: `"${digest}"`,
  }
  if (exchange.method === 'HEAD') {
    const size = await blobs.length(request, signal)
    response.writeHead(200, { ...common, 'content-length': size }).end()
    return true
  }
  const asked = readAskedRange(exchange, common.etag)
  if (asked !== undefined && readRange(asked, await blobs.length(request, signal)) === 'unsatisfiable') {
    refuseRange(exchange, await blobs.length(request, signal))
  }
  const blob = await blobs.open(request, signal)
  try {
    signal.throwIfAborted()
    const range = readRange(asked, blob.size)
    if (range === 'unsatisfiable') refuseRange(exchange, blob.size)
    const { offset, length } = range ?? { offset: 0, length: blob.size }
    if (range === undefined) response.writeHead(200, { ...common, 'content-length': length })
    else {
      const end = offset + length - 1
      const contentRange = `bytes ${offset}-${end}/${blob.size}`
      response.writeHead(206, { ...common, 'content-length': length, 'content-range': contentRange })
    }
    const onSent =
      blob.from === 'cache' ? (bytes: number) => metrics.countBlobBytes('cache', bytes) : undefined
    const body = new BodySender(response, { ...init, onSent })
    await blob.send(offset, length, chunk => body.take(chunk), signal)
    if (body.bytes !== length)
      throw new PantalaError('BLOB_INCOMPLETE', { detail: `${body.bytes} of ${length} bytes were sent` })
    await body.end()
    return true
  } finally {
    blob.close()
  }
}

/** The Range header, unless If-Range names other content: then the whole is asked for (RFC 9110, section 13.1.5). */
function readAskedRange(exchange: ProxyExchange, etag: string): string | undefined {
  const condition = headerText(exchange, 'if-range')
  return condition === undefined || condition === etag ? headerText(exchange, 'range') : undefined
}

function refuseRange(exchange: ProxyExchange, size: number): never {
  exchange.response.setHeader('content-range', `bytes */${size}`)
  throw new PantalaError('RANGE_INVALID', { detail: `${headerText(exchange, 'range')} of ${size} bytes` })
}
