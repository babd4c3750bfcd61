// Pulls with a token that fits another registry, or another name: docker, podman and skopeo learn at GET /v2/ where to get one, which names no
// registry, and ask for the name that they see, which here has the registry in front. What anyone may have needs no token.
import { isPantalaError } from '../../shared/errors.ts'
import type { ProxyExchange } from './proxy-context.ts'

/**
 * Serves without the client's token first, then, where the registry wants one, with it.
 * @throws as `serve`
 */
export async function serveDespiteToken(
  exchange: ProxyExchange,
  serve: (exchange: ProxyExchange) => Promise<boolean>,
): Promise<boolean> {
  const { authorization, ...source } = exchange.source
  if (authorization === undefined || !/^bearer /i.test(authorization)) return serve(exchange)
  try {
    return await serve({ ...exchange, source })
  } catch (error) {
    const isRefusal = isPantalaError(error, 'SOURCE_UNAUTHORIZED') || isPantalaError(error, 'SOURCE_DENIED')
    if (!isRefusal || exchange.response.headersSent || exchange.signal.aborted) throw error
    return serve(exchange)
  }
}
