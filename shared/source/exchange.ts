// One HTTP request to a source over pooled undici agents, redirects followed by hand; knows nothing of registries, tokens or retries.
import { type Dispatcher, errors, request } from 'undici'
import { Agents, type AgentsComponents } from './reach/agents.ts'
import { SourceFailure, showUrl } from './source-failure.ts'
import type { Endpoint, Upstreams } from './upstreams.ts'

const REDIRECTS_MAX = 5
/** Bytes of a body that wait for their reader; large, so that the socket is not paused and resumed for every read. */
const BODY_HIGH_WATER_BYTES = 512 * 1024

export interface ExchangeInit {
  readonly stallTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly headersTimeoutMs: number
}

export interface Exchange {
  readonly status: number
  /** Names in lower case; a repeated header is joined by commas. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Dispatcher.ResponseData['body']
  /** `GET https://…`, without query, for details of errors. */
  readonly asked: string
}

export class Exchanges {
  readonly #upstreams: Upstreams
  readonly #init: ExchangeInit
  readonly #agents: Agents

  /** @throws PantalaError CONFIG_INVALID for files of certificates or keys that cannot be used */
  constructor(components: AgentsComponents, init: ExchangeInit) {
    this.#upstreams = components.upstreams
    this.#init = init
    this.#agents = new Agents(components, init)
  }

  /**
   * Sends the request and follows redirects; `authorization` goes to `url`'s own origin only. The caller reads or destroys the body.
   * @throws SourceFailure SOURCE_AWAY | SOURCE_STALLED | SOURCE_STATUS | UPSTREAM_FORBIDDEN, or the signal's reason
   */
  async send(
    endpoint: Endpoint,
    method: 'GET' | 'HEAD',
    url: URL,
    headers: Readonly<Record<string, string>>,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<Exchange> {
    let target = url
    let credentials = authorization
    for (let hop = 0; ; hop++) {
      const exchange = await this.#sendOnce(endpoint, method, target, headers, credentials, signal)
      const location = exchange.headers['location']
      if (!isRedirect(exchange.status) || location === undefined) return exchange
      discardBody(exchange.body)
      if (hop >= REDIRECTS_MAX)
        throw new SourceFailure('SOURCE_STATUS', {
          detail: `${exchange.asked} redirected more than ${REDIRECTS_MAX} times`,
          status: exchange.status,
        })
      target = this.#nextTarget(endpoint, target, location, exchange)
      // Once the way led elsewhere they are gone for good: another server may not say what is asked with them.
      if (target.origin !== url.origin) credentials = undefined
    }
  }

  /**
   * Sends a form, to be answered by its own server: a redirect is the answer. The caller reads or destroys the body.
   * @throws as `send`
   */
  post(
    endpoint: Endpoint,
    url: URL,
    headers: Readonly<Record<string, string>>,
    form: URLSearchParams,
    signal: AbortSignal,
  ): Promise<Exchange> {
    const all = { ...headers, 'content-type': 'application/x-www-form-urlencoded' }
    return this.#sendOnce(endpoint, 'POST', url, all, undefined, signal, form.toString())
  }

  async close(): Promise<void> {
    await this.#agents.close()
  }

  #nextTarget(endpoint: Endpoint, from: URL, location: string, exchange: Exchange): URL {
    const { asked, status } = exchange
    const next = URL.canParse(location, from) ? new URL(location, from) : undefined
    const plain = next?.protocol === 'http:'
    // Never from TLS to plain HTTP, not even where the registry itself is spoken to in plain.
    const mayBePlain = endpoint.insecure && from.protocol === 'http:'
    if (next === undefined || !(next.protocol === 'https:' || (plain && mayBePlain)))
      throw new SourceFailure('SOURCE_STATUS', {
        detail: `${asked} redirected to ${plain ? 'plain HTTP' : 'no usable URL'}`,
        status,
      })
    next.username = ''
    next.password = ''
    return next
  }

  async #sendOnce(
    endpoint: Endpoint,
    method: 'GET' | 'HEAD' | 'POST',
    url: URL,
    headers: Readonly<Record<string, string>>,
    authorization: string | undefined,
    signal: AbortSignal,
    body?: string,
  ): Promise<Exchange> {
    const asked = `${method} ${showUrl(url)}`
    const elsewhere = url.hostname !== new URL(endpoint.origin).hostname
    const refusal = this.#upstreams.refusalOf(url.hostname, url.hostname, elsewhere)
    if (refusal !== undefined)
      throw new SourceFailure('UPSTREAM_FORBIDDEN', { detail: `${asked}: ${refusal}` })
    const { agent, proxied } = this.#agents.agentFor(endpoint, url)
    try {
      const answer = await request(url, {
        method,
        ...(body === undefined ? {} : { body }),
        headers: { ...headers, ...(authorization === undefined ? {} : { authorization }) },
        signal,
        dispatcher: agent,
        headersTimeout: this.#init.headersTimeoutMs,
        bodyTimeout: this.#init.stallTimeoutMs,
        highWaterMark: BODY_HIGH_WATER_BYTES,
      })
      // A body that breaks after its reader went away must not end the process.
      answer.body.on('error', () => {})
      return { status: answer.statusCode, headers: flattenHeaders(answer.headers), body: answer.body, asked }
    } catch (error) {
      if (signal.aborted) throw signal.reason
      throw explainFailure(error, proxied ? `${asked} through the HTTP proxy` : asked)
    }
  }
}

/** Lets go of a body nobody wants; a short one is drained so that its connection can be used again. */
export function discardBody(body: Exchange['body']): void {
  body.dump({ limit: 16 * 1024 }).catch(() => {})
}

/**
 * Reads a whole body.
 * @throws SourceFailure SOURCE_LENGTH_WRONG (more than `bytesMax`) | SOURCE_AWAY | SOURCE_STALLED, or the signal's reason
 */
export async function readBody(exchange: Exchange, bytesMax: number, signal: AbortSignal): Promise<Buffer> {
  const { body, asked } = exchange
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of body) {
      bytes += chunk.byteLength
      if (bytes > bytesMax)
        throw new SourceFailure('SOURCE_LENGTH_WRONG', {
          detail: `${asked} sent more than ${bytesMax} bytes`,
        })
      chunks.push(chunk)
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason
    throw error instanceof SourceFailure ? error : explainFailure(error, asked)
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
}

function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308
}

function flattenHeaders(headers: Dispatcher.ResponseData['headers']): Record<string, string> {
  const flat: Record<string, string> = Object.create(null)
  for (const [name, value] of Object.entries(headers))
    if (value !== undefined) flat[name.toLowerCase()] = Array.isArray(value) ? value.join(', ') : value
  return flat
}

/** Network errors in words of this project. Texts of undici and Node name hosts and ports, never header values. */
export function explainFailure(error: unknown, asked: string): SourceFailure {
  const code = (error as { code?: unknown } | null)?.code
  if (error instanceof errors.HeadersTimeoutError || error instanceof errors.BodyTimeoutError)
    return new SourceFailure('SOURCE_STALLED', { detail: `${asked} stalled`, cause: error })
  if (code === 'FORBIDDEN_ADDRESS')
    return new SourceFailure('UPSTREAM_FORBIDDEN', { detail: `${asked}: ${(error as Error).message}` })
  const refused = /^Proxy response \((\d{3})\)/.exec((error as Error | null)?.message ?? '')
  const reason =
    refused !== null ? `it answered ${refused[1]}` : typeof code === 'string' ? code : 'network error'
  return new SourceFailure('SOURCE_AWAY', { detail: `${asked} failed (${reason})`, cause: error })
}
