// Answers manifests by tag or digest: the three headers that runtimes can't do without, and the body as the source gave it.
import { isDigest } from '../../shared/digest.ts'
import { BodySender } from './body-sender.ts'
import { headerText, type ProxyComponents, type ProxyExchange } from './proxy-context.ts'

/** Media types read from an Accept header, at most. */
const ACCEPT_TYPES_MAX = 64

export interface ManifestRouteInit {
  /** A client that takes no byte for this long is cut, in ms. */
  readonly stalledSendMs: number
}

/** Sends the manifest; true if the client took it. @throws PantalaError; after headers the socket must be cut */
export async function serveManifest(
  components: Pick<ProxyComponents, 'manifests'>,
  exchange: ProxyExchange,
  reference: string,
  init: ManifestRouteInit,
): Promise<boolean> {
  const accept = readAccept(headerText(exchange, 'accept'))
  const manifest = await components.manifests.get(
    { source: exchange.source, reference, accept },
    exchange.signal,
  )
  const { response, method } = exchange
  const etag = `"${manifest.digest}"`
  const headers = {
    'content-type': manifest.mediaType,
    'docker-content-digest': isDigest(reference) ? reference : manifest.digest,
    etag,
    ...(manifest.stale ? { warning: '110 - "response is stale"' } : {}),
  }
  if (headerText(exchange, 'if-none-match') === etag) {
    response.writeHead(304, headers).end()
    return true
  }
  response.writeHead(200, { ...headers, 'content-length': manifest.body.byteLength })
  if (method === 'HEAD') response.end()
  else await new BodySender(response, init).takeWhole(manifest.body)
  return true
}

/** Media types of an Accept header, sorted, parameters left out; empty where any type will do. */
export function readAccept(header: string | undefined): string[] {
  const types = (header ?? '')
    .split(',')
    .slice(0, ACCEPT_TYPES_MAX)
    .map(entry => entry.split(';')[0]!.trim().toLowerCase())
    .filter(type => /^[\w.+*-]+\/[\w.+*-]+$/.test(type))
  if (types.length === 0 || types.includes('*/*')) return []
  return [...new Set(types)].sort()
}
