// The embedded source registry: serves OCI layouts read-only over HTTP, keeps a log of what it was asked and what it really sent, and can be told to fail.
import { open } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { type Digest, isDigest } from '../../shared/digest.ts'
import { blobPath, type OciLayout, type StoredManifest } from './oci-layout.ts'
import { type BodySource, sendBody } from './registry-body.ts'
import { type Bent, FaultTable, type SourceFault } from './registry-faults.ts'

/** One request as the source saw it. */
export interface LoggedRequest {
  readonly kind: 'base' | 'manifest' | 'blob' | 'tags' | 'referrers' | 'other'
  readonly method: string
  readonly path: string
  readonly repository: string
  /** Tag or digest; empty where there is none. */
  readonly reference: string
  /** The Range header, as sent. */
  readonly range: string | undefined
  readonly authorization: string | undefined
  readonly userAgent: string | undefined
  status: number
  /** First byte of the content that the body held, and how many bytes of body really left. */
  offset: number
  bytes: number
  /** When it came, in ms since the registry started. */
  readonly atMs: number
  /** False while the answer is under way. */
  done: boolean
}

export interface RegistryOptions {
  /** 0 (default): any free port. */
  readonly port?: number
  /** Loopback unless told otherwise. */
  readonly host?: string
}

/** Entries kept in the log; older ones are forgotten, their bytes stay in the sum. */
const LOG_ENTRIES_MAX = 100_000

export class SourceRegistry {
  readonly #server: Server
  readonly #options: RegistryOptions
  readonly #layouts = new Map<string, OciLayout[]>()
  readonly #faults = new FaultTable()
  readonly #sockets = new Set<Socket>()
  readonly #started = performance.now()
  /** Every request since the last `forget`, oldest first. */
  readonly log: LoggedRequest[] = []
  #bytesSent = 0
  #url = ''

  constructor(options: RegistryOptions = {}) {
    this.#options = options
    this.#server = createServer({ keepAliveTimeout: 30_000, noDelay: true }, (request, response) => {
      this.#answer(request, response).catch(() => response.destroy())
    })
    this.#server.on('connection', socket => this.#welcome(socket))
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(this.#options.port ?? 0, this.#options.host ?? '127.0.0.1', resolve)
    })
    const { port } = this.#server.address() as AddressInfo
    this.#url = `http://${this.#options.host ?? '127.0.0.1'}:${port}`
  }

  /** Cuts what is open and stops listening. */
  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }

  /** `http://127.0.0.1:PORT`, without a slash at the end. */
  get url(): string {
    return this.#url
  }

  /** Bytes of bodies that really left, manifests, blobs and errors together. */
  get bytesSent(): number {
    return this.#bytesSent
  }

  /** Serves the layout's tags and blobs under a repository name, besides what is there. */
  addImage(repository: string, layout: OciLayout): void {
    this.#layouts.set(repository, [...(this.#layouts.get(repository) ?? []), layout])
  }

  /** Puts a fault in force; returns the way to lift it. */
  fail(fault: SourceFault): () => void {
    const lift = this.#faults.add(fault)
    if (fault.kind === 'away') for (const socket of this.#sockets) socket.destroy()
    return lift
  }

  /** Lifts all faults. */
  heal(): void {
    this.#faults.clear()
  }

  /** Empties the log and the sum of bytes. */
  forget(): void {
    this.log.length = 0
    this.#bytesSent = 0
  }

  #welcome(socket: Socket): void {
    if (this.#faults.away) {
      socket.destroy()
      return
    }
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const route = parseRoute(request.url ?? '/')
    const entry = this.#record(request, route)
    response.once('close', () => {
      entry.done = true
    })
    const target = route.kind === 'blob' || route.kind === 'manifest' ? route.kind : 'other'
    const bent = this.#faults.bend(target, route.reference)
    if (bent.cut) return void request.socket.destroy()
    if (bent.delayMs > 0) await new Promise(resolve => setTimeout(resolve, bent.delayMs))
    response.setHeader('Docker-Distribution-Api-Version', 'registry/2.0')
    const exchange: Exchange = {
      request,
      response,
      route,
      entry,
      bent,
      count: bytes => this.#count(entry, bytes),
    }
    if (bent.credentials !== undefined && !hasCredentials(request, bent.credentials)) {
      response.setHeader('WWW-Authenticate', 'Basic realm="pantala test"')
      return refuse(exchange, 401, 'UNAUTHORIZED')
    }
    if (bent.status !== undefined) {
      if (bent.status.retryAfterSeconds !== undefined)
        response.setHeader('Retry-After', bent.status.retryAfterSeconds)
      return refuse(exchange, bent.status.status, 'UNAVAILABLE')
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') return refuse(exchange, 405, 'UNSUPPORTED')
    await this.#serve(exchange)
  }

  async #serve(exchange: Exchange): Promise<void> {
    const { route } = exchange
    if (route.kind === 'base') return sendJson(exchange, {})
    if (route.kind === 'other') return refuse(exchange, 404, 'NAME_UNKNOWN')
    const layouts = this.#layouts.get(route.repository)
    if (layouts === undefined) return refuse(exchange, 404, 'NAME_UNKNOWN')
    if (route.kind === 'manifest') return sendManifest(exchange, findManifest(layouts, route.reference))
    if (route.kind === 'blob') return sendBlob(exchange, layouts)
    if (route.kind === 'tags') {
      const tags = [...new Set(layouts.flatMap(layout => [...layout.tags.keys()]))].sort()
      return sendJson(exchange, { name: route.repository, tags })
    }
    return sendReferrers(exchange, layouts)
  }

  #record(request: IncomingMessage, route: Route): LoggedRequest {
    const entry: LoggedRequest = {
      ...route,
      method: request.method ?? '',
      path: request.url ?? '',
      range: request.headers.range,
      authorization: request.headers.authorization,
      userAgent: request.headers['user-agent'],
      status: 0,
      offset: 0,
      bytes: 0,
      atMs: performance.now() - this.#started,
      done: false,
    }
    if (this.log.length >= LOG_ENTRIES_MAX) this.log.splice(0, LOG_ENTRIES_MAX / 10)
    this.log.push(entry)
    return entry
  }

  #count(entry: LoggedRequest, bytes: number): void {
    entry.bytes += bytes
    this.#bytesSent += bytes
  }
}

interface Route {
  readonly kind: LoggedRequest['kind']
  readonly repository: string
  readonly reference: string
}

interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly route: Route
  readonly entry: LoggedRequest
  readonly bent: Bent
  readonly count: (bytes: number) => void
}

function parseRoute(url: string): Route {
  const path = decodeURI(url.split('?', 1)[0] ?? '/')
  if (path === '/v2/' || path === '/v2') return { kind: 'base', repository: '', reference: '' }
  const match = /^\/v2\/(.+)\/(manifests|blobs|tags|referrers)\/([^/]+)$/.exec(path)
  if (match === null) return { kind: 'other', repository: '', reference: '' }
  const [, repository, word, reference] = match as unknown as [string, string, string, string]
  const kinds = { manifests: 'manifest', blobs: 'blob', tags: 'tags', referrers: 'referrers' } as const
  return { kind: kinds[word as keyof typeof kinds], repository, reference }
}

function hasCredentials(request: IncomingMessage, wanted: { user: string; password: string }): boolean {
  const token = Buffer.from(`${wanted.user}:${wanted.password}`).toString('base64')
  return request.headers.authorization === `Basic ${token}`
}

function findManifest(layouts: readonly OciLayout[], reference: string): StoredManifest | undefined {
  for (const layout of layouts) {
    const digest = isDigest(reference) ? reference : layout.tags.get(reference)
    const found = digest === undefined ? undefined : layout.manifests.get(digest)
    if (found !== undefined) return found
  }
  return undefined
}

function sendManifest(exchange: Exchange, found: StoredManifest | undefined): Promise<void> {
  if (found === undefined) return refuse(exchange, 404, 'MANIFEST_UNKNOWN')
  const { digest, mediaType } = found.descriptor
  return send(exchange, bytesSource(found.body), digest, mediaType)
}

async function sendBlob(exchange: Exchange, layouts: readonly OciLayout[]): Promise<void> {
  const { reference } = exchange.route
  if (!isDigest(reference)) return refuse(exchange, 400, 'DIGEST_INVALID')
  const layout = layouts.find(candidate => candidate.blobs.has(reference))
  const blob = layout?.blobs.get(reference)
  if (layout === undefined || blob === undefined) return refuse(exchange, 404, 'BLOB_UNKNOWN')
  const file = await open(blobPath(layout.directory, reference))
  try {
    const read: BodySource['read'] = async (into, position) =>
      (await file.read(into, 0, into.byteLength, position)).bytesRead
    await send(exchange, { size: blob.size, read }, reference, 'application/octet-stream')
  } finally {
    await file.close()
  }
}

/** Referrers of a digest (OCI distribution-spec, "Listing Referrers"). */
function sendReferrers(exchange: Exchange, layouts: readonly OciLayout[]): Promise<void> {
  const manifests = layouts
    .flatMap(layout => [...layout.manifests.values()])
    .filter(entry => entry.manifest.subject?.digest === exchange.route.reference)
    .map(entry => ({
      mediaType: entry.descriptor.mediaType,
      digest: entry.descriptor.digest,
      size: entry.descriptor.size,
      artifactType: entry.manifest.artifactType ?? entry.manifest.config?.mediaType,
      annotations: entry.manifest.annotations,
    }))
  const mediaType = 'application/vnd.oci.image.index.v1+json'
  const body = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests }))
  return send(exchange, bytesSource(body), undefined, mediaType)
}

function sendJson(exchange: Exchange, content: unknown): Promise<void> {
  return send(exchange, bytesSource(Buffer.from(JSON.stringify(content))), undefined, 'application/json')
}

function refuse(exchange: Exchange, status: number, code: string): Promise<void> {
  exchange.response.statusCode = status
  const message = `the embedded registry answers ${status} for ${exchange.entry.path}`
  return sendJson(exchange, { errors: [{ code, message }] })
}

function bytesSource(body: Buffer): BodySource {
  return {
    size: body.byteLength,
    read: async (into, position) => body.copy(into, 0, position, position + into.byteLength),
  }
}

async function send(
  exchange: Exchange,
  source: BodySource,
  digest: Digest | undefined,
  mediaType: string,
): Promise<void> {
  if (digest !== undefined) {
    exchange.response.setHeader('Docker-Content-Digest', digest)
    exchange.response.setHeader('ETag', `"${digest}"`)
  }
  exchange.response.setHeader('Content-Type', mediaType)
  await sendBody(exchange, source)
}
