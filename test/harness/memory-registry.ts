// A whole registry in memory by the OCI distribution specification 1.1: pull, push in every way, discovery, deletion. The origin behind a proxy under test.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type Digest, digestAlgorithm, digestOf, isDigest } from '../../shared/digest.ts'

interface Manifest {
  readonly mediaType: string
  readonly body: Buffer
}

interface Repository {
  readonly blobs: Map<Digest, Buffer>
  readonly manifests: Map<Digest, Manifest>
  readonly tags: Map<string, Digest>
}

/** What a request is about, and the two ends of it. */
interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly url: URL
  readonly name: string
  /** What stands after `manifests/`, `blobs/`, …; empty for tags. */
  readonly last: string
}

export interface MemoryRegistryOptions {
  /** False: as registries of old, 404 to all questions for referrers, and no OCI-Subject. */
  readonly referrers?: boolean
  /** Location with scheme and host, as some registries write it. */
  readonly absoluteLocations?: boolean
  /** Referrers in one answer, at most. */
  readonly pageMax?: number
  /** How long answers about blobs take, in ms. */
  readonly blobDelayMs?: number
}

const indexType = 'application/vnd.oci.image.index.v1+json'

export class MemoryRegistry {
  readonly log: {
    readonly method: string
    readonly path: string
    readonly authorization: string | undefined
  }[] = []
  readonly #options: MemoryRegistryOptions
  readonly #server: Server
  readonly #repositories = new Map<string, Repository>()
  readonly #uploads = new Map<string, Buffer>()
  #sessions = 0

  constructor(options: MemoryRegistryOptions = {}) {
    this.#options = options
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch(() => response.destroy())
    })
  }

  async start(): Promise<void> {
    await new Promise<void>(resolve => this.#server.listen(0, '127.0.0.1', resolve))
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise(resolve => this.#server.close(resolve))
  }

  /** `127.0.0.1:PORT`. */
  get name(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  get url(): string {
    return `http://${this.name}`
  }

  /** Puts a blob there without a push. */
  putBlob(repository: string, bytes: Buffer): Digest {
    const digest = digestOf(bytes)
    this.#repository(repository).blobs.set(digest, bytes)
    return digest
  }

  /** Requests of this method whose path ends so. */
  count(method: string, pathEnd: string): number {
    return this.log.filter(line => line.method === method && line.path.split('?')[0]!.endsWith(pathEnd))
      .length
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.url)
    this.log.push({
      method: request.method!,
      path: request.url!,
      authorization: request.headers.authorization,
    })
    if (url.pathname === '/v2/') return send(response, 200, '{}', { 'content-type': 'application/json' })
    const parts = /^\/v2\/(.+)\/(manifests|blobs|referrers|tags)\/(?:(uploads)\/)?([^/]*)$/.exec(url.pathname)
    if (parts === null) return refuse(response, 404, 'NAME_UNKNOWN')
    const [, name, kind, uploads, last] = parts as unknown as string[]
    const exchange: Exchange = { request, response, url, name: name!, last: decodeURIComponent(last!) }
    if (uploads !== undefined) return this.#upload(exchange)
    if (kind === 'manifests') return this.#manifest(exchange)
    if (kind === 'blobs') return this.#blob(exchange)
    const repository = this.#repositories.get(name!)
    if (repository === undefined) return refuse(response, 404, 'NAME_UNKNOWN')
    return kind === 'tags' ? this.#tags(exchange, repository) : this.#referrers(exchange, repository)
  }

  #repository(name: string): Repository {
    const found = this.#repositories.get(name) ?? { blobs: new Map(), manifests: new Map(), tags: new Map() }
    this.#repositories.set(name, found)
    return found
  }

  #place(path: string): string {
    return this.#options.absoluteLocations === true ? `${this.url}${path}` : path
  }

  async #upload(exchange: Exchange): Promise<void> {
    const { request, response, url, last: session } = exchange
    const { method } = request
    const wanted = url.searchParams.get('digest')
    if (method === 'POST' && session === '') {
      const mounted = url.searchParams.get('mount')
      const from = this.#repositories.get(url.searchParams.get('from') ?? '')
      const bytes = mounted !== null && isDigest(mounted) ? from?.blobs.get(mounted) : undefined
      if (bytes !== undefined) return this.#finish(exchange, bytes, mounted!)
      const body = Buffer.concat(await request.toArray())
      if (wanted !== null) return this.#finish(exchange, body, wanted)
      const id = `session-${++this.#sessions}`
      this.#uploads.set(id, Buffer.alloc(0))
      return this.#describe(exchange, id, 202)
    }
    const held = this.#uploads.get(session)
    // The token must come back as it was given.
    if (held === undefined || url.searchParams.get('_state') !== stateOf(session))
      return refuse(response, 404, 'BLOB_UPLOAD_UNKNOWN')
    if (method === 'GET') return this.#describe(exchange, session, 204)
    if (method === 'DELETE') {
      this.#uploads.delete(session)
      return send(response, 204)
    }
    const first = /^(\d+)-\d+$/.exec(request.headers['content-range'] ?? '')?.[1]
    const all = Buffer.concat([held, ...(await request.toArray())])
    if (first !== undefined && Number(first) !== held.byteLength)
      return this.#describe(exchange, session, 416)
    this.#uploads.set(session, all)
    if (method === 'PATCH') return this.#describe(exchange, session, 202)
    this.#uploads.delete(session)
    return this.#finish(exchange, all, wanted ?? '')
  }

  async #describe({ response, name }: Exchange, session: string, status: number): Promise<void> {
    const bytes = this.#uploads.get(session)!.byteLength
    send(response, status, '', {
      location: this.#place(
        `/v2/${name}/blobs/uploads/${session}?_state=${encodeURIComponent(stateOf(session))}`,
      ),
      range: `0-${Math.max(0, bytes - 1)}`,
      'docker-upload-uuid': session,
    })
  }

  async #finish({ response, name }: Exchange, bytes: Buffer, digest: string): Promise<void> {
    if (!isDigest(digest) || digestOf(bytes, digestAlgorithm(digest)) !== digest)
      return refuse(response, 400, 'DIGEST_INVALID')
    this.#repository(name).blobs.set(digest, bytes)
    send(response, 201, '', {
      location: this.#place(`/v2/${name}/blobs/${digest}`),
      'docker-content-digest': digest,
    })
  }

  async #blob({ request, response, name, last: digest }: Exchange): Promise<void> {
    if (!isDigest(digest)) return refuse(response, 400, 'DIGEST_INVALID')
    const { blobDelayMs = 0 } = this.#options
    if (blobDelayMs > 0) await delay(blobDelayMs)
    const blobs = this.#repositories.get(name)?.blobs
    const bytes = blobs?.get(digest)
    if (bytes === undefined) return refuse(response, 404, 'BLOB_UNKNOWN')
    if (request.method === 'DELETE') {
      blobs!.delete(digest)
      return send(response, 202)
    }
    const headers = { 'content-type': 'application/octet-stream', 'docker-content-digest': digest }
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
    if (range === null) return send(response, 200, bytes, headers, request)
    const [first, last] = [Number(range[1]), Math.min(Number(range[2] || Infinity), bytes.byteLength - 1)]
    if (first > last) return send(response, 416, '', { 'content-range': `bytes */${bytes.byteLength}` })
    const contentRange = `bytes ${first}-${last}/${bytes.byteLength}`
    send(
      response,
      206,
      bytes.subarray(first, last + 1),
      { ...headers, 'content-range': contentRange },
      request,
    )
  }

  async #manifest(exchange: Exchange): Promise<void> {
    const { request, response, name, last: reference } = exchange
    if (request.method === 'PUT') return this.#putManifest(exchange)
    const repository = this.#repositories.get(name)
    const digest = isDigest(reference) ? reference : repository?.tags.get(reference)
    const found = digest === undefined ? undefined : repository?.manifests.get(digest)
    if (found === undefined) return refuse(response, 404, 'MANIFEST_UNKNOWN')
    if (request.method === 'DELETE') {
      if (!isDigest(reference)) repository!.tags.delete(reference)
      else {
        repository!.manifests.delete(reference)
        for (const [tag, target] of repository!.tags) if (target === reference) repository!.tags.delete(tag)
      }
      return send(response, 202)
    }
    const headers = { 'content-type': found.mediaType, 'docker-content-digest': digest! }
    send(response, 200, found.body, headers, request)
  }

  async #putManifest({ request, response, name, last: reference }: Exchange): Promise<void> {
    const body = Buffer.concat(await request.toArray())
    const isByDigest = reference.includes(':')
    if (isByDigest && !isDigest(reference)) return refuse(response, 400, 'DIGEST_INVALID')
    const digest = isDigest(reference) ? digestOf(body, digestAlgorithm(reference)) : digestOf(body)
    if (isByDigest && digest !== reference) return refuse(response, 400, 'DIGEST_INVALID')
    const repository = this.#repository(name)
    const { config, layers = [], subject } = JSON.parse(body.toString())
    for (const part of [config, ...layers])
      if (part !== undefined && !repository.blobs.has(part.digest))
        return refuse(response, 404, 'MANIFEST_BLOB_UNKNOWN')
    repository.manifests.set(digest, { mediaType: request.headers['content-type']!, body })
    if (!isByDigest) repository.tags.set(reference, digest)
    const isNoted = subject !== undefined && this.#options.referrers !== false
    send(response, 201, '', {
      location: this.#place(`/v2/${name}/manifests/${digest}`),
      'docker-content-digest': digest,
      ...(isNoted ? { 'oci-subject': subject.digest } : {}),
    })
  }

  async #tags({ response, url, name }: Exchange, repository: Repository): Promise<void> {
    const last = url.searchParams.get('last') ?? ''
    const asked = url.searchParams.get('n')
    const n = asked === null ? Infinity : Number(asked)
    const rest = [...repository.tags.keys()].sort().filter(tag => tag > last)
    const tags = rest.slice(0, n)
    const next = `/v2/${name}/tags/list?last=${tags.at(-1)}&n=${n}`
    const link = tags.length < rest.length && n > 0 ? { link: `<${next}>; rel="next"` } : {}
    send(response, 200, JSON.stringify({ name, tags }), { 'content-type': 'application/json', ...link })
  }

  async #referrers({ response, url, name, last: subject }: Exchange, repository: Repository): Promise<void> {
    if (this.#options.referrers === false) return refuse(response, 404, 'NAME_UNKNOWN')
    if (!isDigest(subject)) return refuse(response, 400, 'DIGEST_INVALID')
    const filter = url.searchParams.get('artifactType')
    const all = [...repository.manifests].flatMap(([digest, { mediaType, body }]) => {
      const manifest = JSON.parse(body.toString())
      if (manifest.subject?.digest !== subject) return []
      const artifactType = manifest.artifactType ?? manifest.config?.mediaType
      const { annotations } = manifest
      return [{ mediaType, digest, size: body.byteLength, artifactType, annotations }]
    })
    const wanted = all.filter(entry => filter === null || entry.artifactType === filter)
    const from = Number(url.searchParams.get('page') ?? 0)
    const manifests = wanted.slice(from, from + (this.#options.pageMax ?? Infinity))
    const until = from + manifests.length
    const query = filter === null ? '' : `&artifactType=${encodeURIComponent(filter)}`
    const next = `<${this.url}/v2/${name}/referrers/${subject}?page=${until}${query}>; rel="next"`
    send(response, 200, JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }), {
      'content-type': indexType,
      ...(filter === null ? {} : { 'oci-filters-applied': 'artifactType' }),
      ...(until < wanted.length ? { link: next } : {}),
    })
  }
}

/** A token full of what is easily spelled anew. */
function stateOf(session: string): string {
  return Buffer.from(`${session}>>>???~`).toString('base64')
}

function send(
  response: ServerResponse,
  status: number,
  body: string | Buffer = '',
  headers: Readonly<Record<string, string | undefined>> = {},
  request?: IncomingMessage,
): void {
  const length = status === 204 ? {} : { 'content-length': Buffer.byteLength(body) }
  response.writeHead(status, JSON.parse(JSON.stringify({ ...headers, ...length })))
  response.end(request?.method === 'HEAD' ? undefined : body)
}

function refuse(response: ServerResponse, status: number, code: string): void {
  const body = JSON.stringify({ errors: [{ code, message: `the registry says ${status}` }] })
  send(response, status, body, { 'content-type': 'application/json' })
}
