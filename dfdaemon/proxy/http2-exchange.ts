// Makes requests and responses of HTTP/2 look as those of HTTP/1.1 do, so that the desk and its routes need not tell them apart.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'

/** Headers of one connection, which HTTP/2 has no use for (RFC 9113, section 8.2.2). */
const connectionHeaders = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
])

/** True for a request of a stream. The version that a request names says nothing: HTTP/1.1's parser lets a line pass that ends in `HTTP/2.0`. */
export function isOfStream(request: IncomingMessage | Http2ServerRequest): request is Http2ServerRequest {
  return 'stream' in request
}

/** A request as it would have come over HTTP/1.1; one that came so passes unchanged. */
export function plainRequest(request: IncomingMessage | Http2ServerRequest): IncomingMessage {
  if (!isOfStream(request)) return request
  const { stream } = request
  const headers: Record<string, string | string[] | undefined> = {}
  for (const [name, value] of Object.entries(request.headers))
    if (!name.startsWith(':')) headers[name] = value
  headers.host ??= request.authority
  // A body of unknown length: what asks whether there is one looks here.
  if (!stream.endAfterHeaders && headers['content-length'] === undefined)
    headers['transfer-encoding'] = 'chunked'
  const rawHeaders = Object.entries(headers).flatMap(([name, value]) =>
    [value].flat().flatMap(one => (one === undefined ? [] : [name, one])),
  )
  Object.defineProperties(request, {
    headers: { value: headers },
    rawHeaders: { value: rawHeaders },
  })
  // A client that resets its stream is told by the response's close; this would end the process.
  request.on('error', () => {})
  return request as unknown as IncomingMessage
}

/** A response to be used as one over HTTP/1.1 is; destroying it before its end resets the stream with an error, never ends it cleanly. */
export function plainResponse(response: ServerResponse | Http2ServerResponse): ServerResponse {
  if (!('stream' in response)) return response
  const { stream } = response
  const writeHead = response.writeHead.bind(response) as (
    status: number,
    headers: object,
  ) => Http2ServerResponse
  Object.defineProperties(response, {
    destroyed: { get: () => stream.destroyed || stream.closed },
    destroy: {
      value: (error?: Error) => {
        if (!stream.destroyed) stream.destroy(error ?? new Error('answer cut'))
        return response
      },
    },
    writeHead: {
      value: (status: number, headers: Record<string, unknown> = {}) =>
        writeHead(
          status,
          Object.fromEntries(
            Object.entries(headers).filter(([name]) => !connectionHeaders.has(name.toLowerCase())),
          ),
        ),
    },
  })
  return response as unknown as ServerResponse
}
