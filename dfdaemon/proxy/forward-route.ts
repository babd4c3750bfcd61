// Passes tags/list, referrers and the API's root on to the source: its answer is the answer, but for the fallback that the specification asks for.
import type { Readable } from 'node:stream'

import { PantalaError } from '../../shared/errors.ts'
import type { ForwardAnswer } from '../../shared/source/source-client.ts'
import { passStream } from './body-sender.ts'
import { headerText, type ProxyComponents, type ProxyExchange } from './proxy-context.ts'

/** Headers of the source that are handed on. */
const passedBack = [
  'content-type',
  'content-length',
  'link',
  'www-authenticate',
  'oci-filters-applied',
  'docker-distribution-api-version',
]

/** Headers of the client that are handed on; the credential goes by the source reference. */
const passedOn = ['accept', 'user-agent']

const emptyIndex = JSON.stringify({
  schemaVersion: 2,
  mediaType: 'application/vnd.oci.image.index.v1+json',
  manifests: [],
})

/** A body that is passed on may stop moving for this long before it is cut, in ms. */
const STALLED_PASS_MS = 30_000

/** @throws PantalaError before anything was sent */
export async function servePassedOn(
  components: Pick<ProxyComponents, 'registry'>,
  exchange: ProxyExchange,
  path: string,
): Promise<boolean> {
  const answer = await forward(components, exchange, path)
  return passBack(answer, exchange)
}

/**
 * Referrers of a manifest; an empty index where the source has no such API, so that clients need not fall back to tags themselves
 * (distribution-spec, "Listing Referrers").
 */
export async function serveReferrers(
  components: Pick<ProxyComponents, 'registry'>,
  exchange: ProxyExchange,
  path: string,
): Promise<boolean> {
  const answer = await forward(components, exchange, path)
  if (answer.status !== 404) return passBack(answer, exchange)
  answer.body.destroy()
  const { response, method } = exchange
  response.writeHead(200, {
    'content-type': 'application/vnd.oci.image.index.v1+json',
    'content-length': Buffer.byteLength(emptyIndex),
  })
  response.end(method === 'HEAD' ? undefined : emptyIndex)
  return true
}

function forward(
  { registry }: Pick<ProxyComponents, 'registry'>,
  exchange: ProxyExchange,
  path: string,
): Promise<ForwardAnswer> {
  const headers: Record<string, string> = {}
  for (const name of passedOn) {
    const value = headerText(exchange, name)
    if (value !== undefined) headers[name] = value
  }
  return registry.forward(exchange.source, exchange.method, path, headers, exchange.signal)
}

async function passBack(answer: ForwardAnswer, exchange: ProxyExchange): Promise<boolean> {
  const { response, method } = exchange
  if (answer.status >= 500) {
    answer.body.destroy()
    throw new PantalaError('SOURCE_STATUS', {
      detail: `${method} ${exchange.source.registry} answered ${answer.status}`,
    })
  }
  for (const name of passedBack) {
    const value = answer.headers[name]
    if (value !== undefined) response.setHeader(name, value)
  }
  response.writeHead(answer.status)
  if (method === 'HEAD') {
    answer.body.destroy()
    response.end()
    return true
  }
  const init = { stalledSendMs: STALLED_PASS_MS, signal: exchange.signal }
  await passStream(answer.body as unknown as Readable, response, init)
  return true
}
