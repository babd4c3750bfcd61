// Passes pushes, deletions and upload sessions through to the registry itself, unchanged: bodies both ways as they come, never kept.
import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { PantalaError } from '../../shared/errors.ts'
import type { WriteAnswer } from '../../shared/source/write-client.ts'
import { passStream } from './body-sender.ts'
import { hopHeaders, namedByConnection } from './hop-headers.ts'
import { isOfStream } from './http2-exchange.ts'
import { type OciRequest, type OciTarget, quoteAsked, readOciName } from './oci-path.ts'
import type { Face, ProxyComponents, ProxyExchange } from './proxy-context.ts'
import { changeParameter, parameters } from './raw-query.ts'
import { endAnswer, hasBody, isSending, readRequestBody } from './request-body.ts'
import type { UploadLocations } from './upload-location.ts'

/** A push is cut when neither side moved for so long, in ms. */
const STALLED_WRITE_MS = 60_000

/** How long a registry may take to answer once it has the whole body, in ms: it may first copy a large blob to where it belongs. */
const WRITE_ANSWER_MS = 300_000

export interface WriteComponents extends Pick<ProxyComponents, 'writes' | 'notes'> {
  readonly locations: UploadLocations
}

/** Besides headers of one connection: `host` is meant for this hop, and the others are promises about the registry's own address. */
const ownHeaders: ReadonlySet<string> = new Set(['host', 'alt-svc', 'strict-transport-security'])

const methodsOf: Readonly<Record<OciTarget['kind'], readonly string[]>> = {
  root: [],
  manifest: ['PUT', 'DELETE'],
  blob: ['DELETE'],
  tags: [],
  referrers: [],
  upload: ['GET', 'HEAD', 'POST', 'PATCH', 'PUT', 'DELETE'],
}

/** True if the method on this target is for the registry itself to answer. */
export function isWrite(method: string, target: OciTarget): boolean {
  return methodsOf[target.kind].includes(method)
}

/** Methods that a target knows, for an Allow header. */
export function allowedMethods(target: OciTarget, writes: boolean): string {
  const reads = target.kind === 'upload' ? [] : ['GET', 'HEAD']
  return [...reads, ...(writes ? methodsOf[target.kind] : [])].join(', ')
}

/** One request that writes. */
export interface WriteExchange {
  readonly asked: OciRequest
  readonly exchange: ProxyExchange
  readonly request: IncomingMessage
  readonly face: Face
}

export interface WriteRouteInit {
  /** A client that takes no byte of the answer for this long is cut, in ms. */
  readonly stalledSendMs: number
}

/** Passes the request on and its answer back; resolves when the last byte left. @throws PantalaError; after headers the socket must be cut */
export async function serveWrite(
  components: WriteComponents,
  write: WriteExchange,
  init: WriteRouteInit,
): Promise<boolean> {
  const { exchange, request } = write
  const method = request.method!
  const stalled = new AbortController()
  const answered = new AbortController()
  const signal = AbortSignal.any([exchange.signal, stalled.signal])
  const watch = new StallWatch(stalled)
  try {
    const path = pathFor(components, write)
    const body = bodyOf(write, watch, AbortSignal.any([signal, answered.signal]))
    const headers = endToEnd(request.headers)
    const answer = await components.writes.write(exchange.source, { method, path, headers, body }, signal)
    // Before the client hears of it: what it asks next must not be answered from before.
    noteChanges(components, write, answer)
    watch.stop()
    setHead(components, write, path, answer)
    const end = (): Promise<void> => {
      answered.abort(new PantalaError('DEADLINE_PASSED', { detail: 'answered before the body was read' }))
      return endAnswer(request, exchange.response)
    }
    await passBody(write, answer, { ...init, signal, end })
    return true
  } catch (error) {
    if (mayHaveReached(error)) noteChanges(components, write, undefined)
    throw error
  } finally {
    watch.stop()
    answered.abort(new PantalaError('DEADLINE_PASSED', { detail: 'the request is over' }))
  }
}

function bodyOf({ request, exchange }: WriteExchange, watch: StallWatch, signal: AbortSignal) {
  if (!hasBody(request)) {
    watch.waitForAnswer()
    return undefined
  }
  const chunks = readRequestBody(request, {
    signal,
    onBegin: () => {
      if (request.headers.expect !== undefined) exchange.response.writeContinue()
    },
    onChunk: () => watch.moved(),
  })
  return untilEnd(chunks, () => watch.waitForAnswer())
}

async function* untilEnd(chunks: AsyncGenerator<Uint8Array>, onEnd: () => void): AsyncGenerator<Uint8Array> {
  yield* chunks
  onEnd()
}

/** Path and query at the registry: its own name for the repository, and the rest as the client wrote it. */
function pathFor({ locations }: WriteComponents, { asked, exchange, face }: WriteExchange): string {
  const { registry, repository, rest, target } = asked
  const session = target.kind === 'upload' ? target.session : ''
  if (session.startsWith('~')) {
    const sealed = locations.open(session, asked)
    if (sealed === undefined)
      throw new PantalaError('PATH_UNKNOWN', { detail: `${quoteAsked(session)}: not an upload of this host` })
    return sealed + (sealed.includes('?') ? exchange.query.replace('?', '&') : exchange.query)
  }
  const query = changeParameter(exchange.query, 'from', name => {
    // Of another registry nothing can be mounted; it says so itself.
    const from = readOciName(name, exchange.ns, face)
    return from.registry === registry ? from.repository : name
  })
  return `/v2/${repository}/${rest}${query}`
}

/** What one side meant for the other. */
function endToEnd(
  headers: Readonly<Record<string, string | readonly string[] | undefined>>,
): Record<string, string | readonly string[]> {
  const named = namedByConnection(headers['connection'])
  const kept: Record<string, string | readonly string[]> = {}
  for (const [name, value] of Object.entries(headers))
    if (
      value !== undefined &&
      !hopHeaders.has(name) &&
      !ownHeaders.has(name) &&
      !named.has(name) &&
      !name.startsWith(':')
    )
      kept[name] = value
  return kept
}

function setHead(
  { locations }: WriteComponents,
  { asked, exchange, request }: WriteExchange,
  path: string,
  { status, headers, origin }: WriteAnswer,
): void {
  const { response, ns } = exchange
  for (const [name, value] of Object.entries(endToEnd(headers))) response.setHeader(name, value)
  const { location } = headers
  if (typeof location === 'string')
    response.setHeader('location', locations.rewrite(location, { ...asked, ns, path, origin }))
  // What is still to come of the body is thrown away: no other request can follow on this connection.
  if (isSending(request) && !isOfStream(request)) response.setHeader('connection', 'close')
  response.writeHead(status)
}

async function passBody(
  { exchange: { response }, request }: WriteExchange,
  { status, body }: WriteAnswer,
  init: WriteRouteInit & { readonly signal: AbortSignal; readonly end: () => Promise<void> },
): Promise<void> {
  if (request.method === 'HEAD' || status === 204 || status === 304) {
    body.destroy()
    response.flushHeaders()
    await init.end()
    return
  }
  await passStream(body as unknown as Readable, response, init)
}

/** Nothing reached a registry that refused the connection, or that may not be contacted. */
function mayHaveReached(error: unknown): boolean {
  return !(error instanceof PantalaError && error.entry.blame === 'caller')
}

/** Tells what may have changed; `answer` undefined: the registry did not say. A refusal by status 4xx changed nothing. */
function noteChanges(
  { notes }: WriteComponents,
  { asked, exchange, request }: WriteExchange,
  answer: WriteAnswer | undefined,
): void {
  const { target } = asked
  if (request.method === 'GET' || request.method === 'HEAD') return
  if (answer !== undefined && answer.status >= 400 && answer.status < 500) return
  const references = new Set<string>()
  if (target.kind === 'manifest') {
    references.add(target.reference)
    for (const tag of parameters(exchange.query, 'tag')) references.add(tag)
  }
  if (target.kind === 'blob') references.add(target.digest)
  if (target.kind === 'upload')
    for (const name of ['digest', 'mount'])
      for (const digest of parameters(exchange.query, name)) references.add(digest)
  for (const reference of references) notes.noteWrite(exchange.source, reference)
}

/** Aborts when nothing moved for too long. */
class StallWatch {
  readonly #stalled: AbortController
  #timer: NodeJS.Timeout
  #isOver = false

  constructor(stalled: AbortController) {
    this.#stalled = stalled
    this.#timer = this.#start(STALLED_WRITE_MS, 'neither side moved')
  }

  moved(): void {
    if (!this.#isOver) this.#timer.refresh()
  }

  /** The body is out: now it is the registry's turn. */
  waitForAnswer(): void {
    // A body may end after its answer.
    if (this.#isOver) return
    clearTimeout(this.#timer)
    this.#timer = this.#start(WRITE_ANSWER_MS, 'the registry has the body, and did not answer')
  }

  stop(): void {
    this.#isOver = true
    clearTimeout(this.#timer)
  }

  #start(ms: number, what: string): NodeJS.Timeout {
    return setTimeout(() => {
      this.#stalled.abort(new PantalaError('SOURCE_STALLED', { detail: `${what} for ${ms} ms` }))
    }, ms)
  }
}
