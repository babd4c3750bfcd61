// Serves every request to the registry, whichever listener it came by: bounds them, sends each to its route, turns errors into OCI answers.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '../../shared/clock.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import { type BlobRouteComponents, serveBlob } from './blob-route.ts'
import { servePassedOn, serveReferrers } from './forward-route.ts'
import { serveKeptBlob } from './kept-blob-route.ts'
import { LayersAhead } from './layers-ahead.ts'
import { serveManifest } from './manifest-route.ts'
import { answerError } from './oci-error.ts'
import { type OciRequest, quoteAsked, readOciPath, sourceOf } from './oci-path.ts'
import {
  type Face,
  type ProxyComponents,
  type ProxyExchange,
  type PullResult,
  versionHeader,
} from './proxy-context.ts'
import { dropParameter } from './raw-query.ts'
import { endAnswer, hasBody } from './request-body.ts'
import { RootRoute } from './root-route.ts'
import { serveDespiteToken } from './unfit-token.ts'
import { UploadLocations } from './upload-location.ts'
import { allowedMethods, isWrite, serveWrite, type WriteExchange } from './write-route.ts'

export interface RequestDeskInit {
  /** Requests served at the same time; more are refused with 503, never 429 (podman and containerd take that badly). */
  readonly requestsMax: number
  /** A client that takes no byte for this long is cut, in ms. */
  readonly stalledSendMs: number
  /** Until headers or an error, in ms; runtimes themselves would wait for ever. Writes have bounds of their own. */
  readonly answerMs?: number
  /** False: pushes and deletions are refused. */
  readonly writes: boolean
  /** True if the next layer is fetched while one is sent. */
  readonly readAhead: boolean
}

const ANSWER_MS = 60_000
const PATH_CHARS_MAX = 4096

export class RequestDesk {
  readonly #c: ProxyComponents
  readonly #init: RequestDeskInit
  readonly #root: RootRoute
  readonly #blobs: BlobRouteComponents
  readonly #locations = new UploadLocations()
  #running = 0
  #closing: Promise<void> | undefined
  #onIdle: (() => void) | undefined

  constructor(components: ProxyComponents & { clock: Clock }, init: RequestDeskInit) {
    this.#c = components
    this.#init = init
    this.#root = new RootRoute(components)
    this.#blobs = { ...components, ahead: init.readAhead ? new LayersAhead(components) : undefined }
  }

  /** Requests being served. */
  get running(): number {
    return this.#running
  }

  /** True for what is the registry's content or its lists; other requests to the same host (token services, pages) are not for this desk. */
  takes(request: IncomingMessage, face: Face): boolean {
    const { path } = splitUrl(request.url ?? '')
    const { method = '' } = request
    if (!path.startsWith('/v2')) return false
    try {
      return this.#answers(method, readOciPath(path, undefined, face))
    } catch (error) {
      return isReading(method) && !isPantalaError(error, 'PATH_UNKNOWN')
    }
  }

  #answers(method: string, { target }: OciRequest): boolean {
    const isRead = isReading(method) && target.kind !== 'upload'
    return isRead || (this.#init.writes && isWrite(method, target))
  }

  /** Takes no more requests and lets those running finish within `graceMs`. Every listener calls it; the first sets the time. */
  close(graceMs: number): Promise<void> {
    this.#closing ??= this.#close(graceMs)
    return this.#closing
  }

  async #close(graceMs: number): Promise<void> {
    this.#blobs.ahead?.stop()
    if (this.#running === 0 || graceMs <= 0) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, graceMs)
      this.#onIdle = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** Answers one request; settles when its answer is sent, or cut. Never rejects. */
  async serve(request: IncomingMessage, response: ServerResponse, face: Face): Promise<void> {
    const admitted = this.#tryAdmit(request, response, face)
    this.#running++
    const atOnce = admitted.asked && this.#serveAtOnce(admitted.asked, request, response)
    if (atOnce !== undefined) return this.#finish(atOnce, request, response)
    for (const [name, value] of Object.entries(versionHeader)) response.setHeader(name, value)
    const gone = new AbortController()
    const ended = Promise.withResolvers<boolean>()
    // The answer's bound holds also for a part that overlooks the signal.
    const abort = (detail: string): void => {
      const reason = new PantalaError('DEADLINE_PASSED', { detail })
      gone.abort(reason)
      ended.reject(reason)
    }
    const onClose = (): void => {
      // An answer that was sent to its end closes, too, before its sender hears of it.
      // A stream of HTTP/2 that was reset counts as finished, too, but was never ended.
      if (!response.writableEnded || !response.writableFinished) abort('the client went away')
    }
    response.once('close', onClose)
    const answerMs = this.#init.answerMs ?? ANSWER_MS
    const deadline = setTimeout(() => {
      if (!response.headersSent) abort(`no answer within ${answerMs} ms`)
    }, answerMs)
    let count: ((result: PullResult) => void) | undefined
    try {
      const { asked } = admitted
      if (asked === undefined) throw admitted.fault
      const exchange = makeExchange(asked, request, response, gone.signal)
      const writes = isWrite(request.method!, asked.target)
      count = this.#counterOf(asked, writes)
      if (writes) clearTimeout(deadline)
      const work = writes ? this.#write({ asked, exchange, request, face }) : this.#read(asked, exchange)
      work.then(ended.resolve, ended.reject)
      const whole = await ended.promise
      count?.(whole ? 'ok' : 'aborted')
    } catch (error) {
      const result = this.#fail(request, response, error)
      count?.(result)
    } finally {
      clearTimeout(deadline)
      response.off('close', onClose)
      this.#leave()
    }
  }

  /** What takes no question and no wait; undefined if it does. */
  #serveAtOnce(
    asked: OciRequest,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> | undefined {
    try {
      return serveKeptBlob(this.#blobs, { asked, request, response }, this.#init)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async #finish(sending: Promise<void>, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { metrics } = this.#c
    try {
      await sending
      metrics.countPull('ok')
    } catch (error) {
      metrics.countPull(this.#fail(request, response, error))
    } finally {
      this.#leave()
    }
  }

  #leave(): void {
    this.#running--
    if (this.#running === 0) this.#onIdle?.()
  }

  #counterOf({ target }: OciRequest, writes: boolean): ((result: PullResult) => void) | undefined {
    const { metrics } = this.#c
    if (writes) return result => metrics.countWrite(result)
    const isPull = target.kind === 'manifest' || target.kind === 'blob'
    return isPull ? result => metrics.countPull(result) : undefined
  }

  /** What is asked for, or why it is not served. */
  #tryAdmit(
    request: IncomingMessage,
    response: ServerResponse,
    face: Face,
  ): { readonly asked?: OciRequest; readonly fault?: unknown } {
    try {
      return { asked: this.#admit(request, response, face) }
    } catch (fault) {
      return { fault }
    }
  }

  /** @throws PantalaError METHOD_UNSUPPORTED | OVERLOADED | SHUTTING_DOWN, or what is wrong with the path */
  #admit(request: IncomingMessage, response: ServerResponse, face: Face): OciRequest {
    if (this.#closing !== undefined) throw new PantalaError('SHUTTING_DOWN')
    if (this.#running >= this.#init.requestsMax) {
      throw new PantalaError('OVERLOADED', { detail: `${this.#init.requestsMax} requests are being served` })
    }
    const url = request.url ?? ''
    if (url.length > PATH_CHARS_MAX || !url.startsWith('/v2'))
      throw new PantalaError('PATH_UNKNOWN', { detail: describeUrl(url) })
    const { path, query } = splitUrl(url)
    const method = request.method ?? ''
    const asked = readOciPath(path, readNs(query), face)
    if (this.#answers(method, asked)) return asked
    response.setHeader('allow', allowedMethods(asked.target, this.#init.writes))
    throw new PantalaError('METHOD_UNSUPPORTED', { detail: `${method} ${describeUrl(url)}` })
  }

  #write(write: WriteExchange): Promise<boolean> {
    return serveWrite({ ...this.#c, locations: this.#locations }, write, this.#init)
  }

  #read(asked: OciRequest, exchange: ProxyExchange): Promise<boolean> {
    const isPull = asked.target.kind === 'manifest' || asked.target.kind === 'blob'
    if (!asked.isByPath || !isPull) return this.#route(asked, exchange)
    return serveDespiteToken(exchange, each => this.#route(asked, each))
  }

  #route(asked: OciRequest, exchange: ProxyExchange): Promise<boolean> {
    const { target, repository } = asked
    switch (target.kind) {
      case 'root':
        return this.#root.serve(exchange)
      case 'manifest':
        return serveManifest(this.#c, exchange, target.reference, this.#init)
      case 'blob':
        return serveBlob(this.#blobs, exchange, target.digest, this.#init)
      case 'tags':
        return servePassedOn(this.#c, exchange, `/v2/${repository}/tags/list${exchange.query}`)
      case 'referrers':
        return serveReferrers(
          this.#c,
          exchange,
          target.digest,
          `/v2/${repository}/referrers/${target.digest}${exchange.query}`,
        )
      case 'upload':
        throw new PantalaError('METHOD_UNSUPPORTED')
    }
  }

  /** Answers with the error, or cuts the socket if an answer has begun. */
  #fail(request: IncomingMessage, response: ServerResponse, thrown: unknown): PullResult {
    const url = describeUrl(request.url ?? '')
    const left = response.destroyed || (response.headersSent && isPantalaError(thrown, 'DEADLINE_PASSED'))
    if (left) {
      response.destroy()
      return 'aborted'
    }
    if (response.headersSent) {
      this.#c.logger.warn({ err: thrown, url }, 'body cut')
      response.destroy()
      return 'failed'
    }
    const { status, headers, body } = answerError(thrown)
    response.writeHead(status, {
      ...headers,
      'content-length': Buffer.byteLength(body),
      ...(hasBody(request) || this.#closing !== undefined ? { connection: 'close' } : {}),
    })
    if (request.method !== 'HEAD') response.write(body)
    void endAnswer(request, response)
    const level = status >= 500 ? 'warn' : 'debug'
    this.#c.logger[level]({ err: thrown, url, status }, 'request failed')
    const isOurs = !isPantalaError(thrown) || thrown.entry.blame !== 'caller'
    return isOurs && status >= 500 ? 'failed' : 'refused'
  }
}

function makeExchange(
  asked: OciRequest,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): ProxyExchange {
  const { path, query } = splitUrl(request.url ?? '')
  return {
    source: sourceOf(asked, request.headers.authorization),
    method: request.method === 'HEAD' ? 'HEAD' : 'GET',
    headers: request.headers,
    path,
    ns: readNs(query),
    query: dropParameter(query, 'ns'),
    response,
    signal,
  }
}

/** Path, and query with its question mark or empty. */
function splitUrl(url: string): { path: string; query: string } {
  const mark = url.indexOf('?')
  return mark < 0 ? { path: url, query: '' } : { path: url.slice(0, mark), query: url.slice(mark) }
}

function readNs(query: string): string | undefined {
  return query === '' ? undefined : new URLSearchParams(query).get('ns') || undefined
}

/** The path alone: what a query holds is nobody's business. */
function describeUrl(url: string): string {
  return quoteAsked(splitUrl(url).path)
}

function isReading(method: string): boolean {
  return method === 'GET' || method === 'HEAD'
}
