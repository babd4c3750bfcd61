// Passes tags/list, referrers and the API's root on to the source: its answer is the answer, but for the fallback that the specification asks for.
import type { Readable } from 'node:stream'
import type { Digest } from '../../shared/digest.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import type { ForwardAnswer } from '../../shared/source/source-client.ts'
import { BodySender, passStream } from './body-sender.ts'
import { rewriteLinks } from './paging-link.ts'
import { headerText, type ProxyComponents, type ProxyExchange } from './proxy-context.ts'

/** Headers of the source that are handed on. */
const passedBack = [
  'content-type',
  'content-length',
  'www-authenticate',
  'oci-filters-applied',
  'docker-distribution-api-version',
]

/** Headers of the client that are handed on; the credential goes by the source reference. */
const passedOn = ['accept', 'user-agent']

const indexType = 'application/vnd.oci.image.index.v1+json'

/** A referrers tag holds so many digits of the digest at most. */
const TAG_HEX_MAX = 64

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
 * Referrers of a manifest. Where the source has no such API, the index under the referrers tag answers (distribution-spec, "Listing Referrers"
 * and "Referrers Tag Schema"). Without one the source's 404 does: a client told of an API that is not there would keep no such tag, and what
 * it pushes would be listed nowhere.
 */
export async function serveReferrers(
  components: Pick<ProxyComponents, 'registry' | 'manifests'>,
  exchange: ProxyExchange,
  subject: Digest,
  path: string,
): Promise<boolean> {
  const answer = await forward(components, exchange, path)
  if (answer.status !== 404) return passBack(answer, exchange)
  const body = await findTaggedIndex(components, exchange, subject).catch((error: unknown) => {
    answer.body.destroy()
    throw error
  })
  if (body === undefined) return passBack(answer, exchange)
  answer.body.destroy()
  const { response, method } = exchange
  response.writeHead(200, { 'content-type': indexType, 'content-length': body.byteLength })
  if (method === 'HEAD') response.end()
  else await new BodySender(response, { stalledSendMs: STALLED_PASS_MS }).takeWhole(body)
  return true
}

/** What older clients kept under the tag made of the subject's digest; undefined if there is none, or no index. */
async function findTaggedIndex(
  { manifests }: Pick<ProxyComponents, 'manifests'>,
  { source, signal }: ProxyExchange,
  subject: Digest,
): Promise<Uint8Array | undefined> {
  const [algorithm, hex] = subject.split(':') as [string, string]
  const reference = `${algorithm}-${hex.slice(0, TAG_HEX_MAX)}`
  try {
    const manifest = await manifests.get({ source, reference, accept: [indexType] }, signal)
    return manifest.mediaType === indexType ? manifest.body : undefined
  } catch (error) {
    if (isPantalaError(error, 'SOURCE_MANIFEST_UNKNOWN')) return undefined
    throw error
  }
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
  const { response, method, signal } = exchange
  if (signal.aborted || answer.status >= 500) {
    answer.body.destroy()
    signal.throwIfAborted()
    throw new PantalaError('SOURCE_STATUS', {
      detail: `${method} ${exchange.source.registry} answered ${answer.status}`,
    })
  }
  for (const name of passedBack) {
    const value = answer.headers[name]
    if (value !== undefined) response.setHeader(name, value)
  }
  const links = answer.headers['link'] && rewriteLinks(answer.headers['link'], exchange)
  if (links) response.setHeader('link', links)
  response.writeHead(answer.status)
  if (method === 'HEAD') {
    answer.body.destroy()
    response.end()
    return true
  }
  const init = { stalledSendMs: STALLED_PASS_MS, signal }
  await passStream(answer.body as unknown as Readable, response, init)
  return true
}
