// A registry of a test's own that decides who may read which repository, and can say that it holds what it does not. Counts every request.
import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { type Digest, digestOf } from '../../shared/digest.ts'
import { FakeRegistry, sendBytes, sendRanged } from './fake-registry.ts'

const manifestType = 'application/vnd.oci.image.manifest.v1+json'

/** What is thrown away at once: 403, or 401 with this challenge. */
export const challenge = 'Basic realm="private registry"'

export interface PushedImage {
  readonly manifest: Digest
  readonly config: Digest
  readonly layer: Digest
}

export class PrivateRegistry {
  readonly #http: FakeRegistry
  readonly #content = new Map<string, Buffer>()
  /** Who may read a repository; `403` and `401` name the refusal. Everyone may, unless told. */
  judge: (authorization: string | undefined, repository: string) => 200 | 401 | 403 = () => 200
  /** Lengths that HEAD of a blob is answered with though there is no such blob. */
  readonly pretended = new Map<Digest, number>()

  private constructor(http: FakeRegistry) {
    this.#http = http
    http.on('/v2/*', (request, response) => this.#answer(request, response))
  }

  static async start(): Promise<PrivateRegistry> {
    return new PrivateRegistry(await FakeRegistry.start())
  }

  stop(): Promise<void> {
    return this.#http.stop()
  }

  /** `127.0.0.1:PORT`, as a registry's name. */
  get name(): string {
    return this.#http.name
  }

  /** `HEAD blobs anonymous` and the like, since the last `forget`. */
  get asked(): string[] {
    return this.#http.asked.map(({ method, path, headers }) => {
      const what = /\/(manifests|blobs)\//.exec(path)?.[1] ?? path
      return `${method} ${what} ${headers.authorization ?? 'anonymous'}`
    })
  }

  forget(): void {
    this.#http.asked.length = 0
  }

  /** Makes an image of noise and puts it in a repository. */
  push(repository: string, tag: string, layer: Buffer): PushedImage {
    const config = Buffer.from(JSON.stringify({ noise: randomBytes(8).toString('hex') }))
    const [configDigest, layerDigest] = [digestOf(config), digestOf(layer)]
    this.#content.set(`${repository}/blobs/${configDigest}`, config)
    this.#content.set(`${repository}/blobs/${layerDigest}`, layer)
    const manifest = this.pushManifest(repository, tag, [
      [configDigest, config.byteLength],
      [layerDigest, layer.byteLength],
    ])
    return { manifest, config: configDigest, layer: layerDigest }
  }

  /** A manifest alone, whatever it lists: config first, then layers. */
  pushManifest(repository: string, tag: string, listed: readonly (readonly [Digest, number])[]): Digest {
    const [config, ...layers] = listed.map(([digest, size]) => ({ mediaType: 'a/b', digest, size }))
    const body = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: manifestType, config, layers, annotations: { tag } }),
    )
    for (const reference of [tag, digestOf(body)])
      this.#content.set(`${repository}/manifests/${reference}`, body)
    return digestOf(body)
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const name = (request.url ?? '').slice('/v2/'.length).split('?', 1)[0]!
    const [, repository = '', kind, reference = ''] = /^(.+)\/(manifests|blobs)\/([^/]+)$/.exec(name) ?? []
    const verdict = this.judge(request.headers.authorization, repository)
    if (verdict !== 200) {
      const headers = verdict === 401 ? { 'www-authenticate': challenge } : undefined
      sendBytes(Buffer.from('{}'), headers, verdict)(request, response)
      return
    }
    const content = this.#content.get(name)
    const pretended = kind === 'blobs' ? this.pretended.get(reference as Digest) : undefined
    if (name === '') sendBytes(Buffer.from('{}'))(request, response)
    else if (content !== undefined && kind === 'manifests')
      sendBytes(content, { 'content-type': manifestType, 'docker-content-digest': digestOf(content) })(
        request,
        response,
      )
    else if (content !== undefined) sendRanged(content)(request, response)
    else if (pretended !== undefined && request.method === 'HEAD')
      response.writeHead(200, { 'content-length': String(pretended) }).end()
    else response.writeHead(404).end()
  }
}

/** Every byte that a server sends to one GET, headers and all, until it closes. */
export function readSocket(
  url: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Buffer> {
  const { hostname, port, host } = new URL(url)
  const lines = [`GET ${path} HTTP/1.1`, `host: ${host}`, 'connection: close']
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`)
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect({ host: hostname, port: Number(port) }, () =>
      socket.write(`${lines.join('\r\n')}\r\n\r\n`),
    )
    socket.setTimeout(30_000, () => socket.destroy(new Error('no end of the answer')))
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.once('error', error => reject(error))
    socket.once('close', () => resolve(Buffer.concat(chunks)))
  })
}
