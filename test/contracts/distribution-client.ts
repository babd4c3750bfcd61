// A client of the distribution API that follows every Location and Link as it is told, and content for it to push. No knowledge of who answers.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type Digest, digestOf } from '../../shared/digest.ts'

/** What the registry at the end of the way can do. */
export interface DistributionFeatures {
  /** `api`: the referrers API; `tag`: clients keep an index under a tag. */
  readonly referrers: 'api' | 'tag'
  readonly sortedTags: boolean
  readonly tagPaging: boolean
  readonly tagDelete: boolean
  /** Chunks that are out of order are refused. */
  readonly chunkOrder: boolean
  /** Manifests and blobs by sha512 are taken. */
  readonly sha512: boolean
}

/** Who is tested. */
export interface DistributionTarget {
  /** `http://host:port`, without a slash at the end. */
  readonly url: string
  /** Stands before every repository name, with its slash. */
  readonly prefix?: string
  /** Sent as `ns` with every request that begins something; never added to a Location. */
  readonly ns?: string
  stop(): Promise<void>
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Buffer
}

export interface Sent {
  readonly headers?: Record<string, string>
  readonly body?: Uint8Array | string
}

export const types = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  empty: 'application/vnd.oci.empty.v1+json',
  bytes: 'application/octet-stream',
} as const

export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
  readonly artifactType?: string
  readonly annotations?: Readonly<Record<string, string>>
}

export function describeBytes(bytes: Uint8Array, mediaType: string, algorithm?: 'sha512'): Descriptor {
  return { mediaType, digest: digestOf(bytes, algorithm), size: bytes.byteLength }
}

export class DistributionClient {
  readonly target: DistributionTarget

  constructor(target: DistributionTarget) {
    this.target = target
  }

  /** `/v2/<name>/<rest>` with what names the registry. */
  path(repository: string, rest: string, query = ''): string {
    const { prefix = '', ns } = this.target
    const all = [query, ns === undefined ? '' : `ns=${encodeURIComponent(ns)}`].filter(part => part !== '')
    return `/v2/${prefix}${repository}/${rest}${all.length === 0 ? '' : `?${all.join('&')}`}`
  }

  async send(method: string, path: string, { headers = {}, body }: Sent = {}): Promise<Answer> {
    const answer = await fetch(new URL(path, this.target.url), {
      method,
      headers,
      redirect: 'manual',
      ...(body === undefined ? {} : { body: body as Uint8Array<ArrayBuffer> }),
    })
    return { status: answer.status, headers: answer.headers, body: Buffer.from(await answer.arrayBuffer()) }
  }

  /** Where the answer sends the client: it must be the same endpoint. */
  location(answer: Answer): string {
    const location = answer.headers.get('location')
    assert.ok(location, 'an answer without Location')
    const url = new URL(location, this.target.url)
    assert.equal(url.origin, new URL(this.target.url).origin, `Location leads away: ${location}`)
    return `${url.pathname}${url.search}`
  }

  /** Begins an upload; its Location. */
  async begin(repository: string, query = ''): Promise<string> {
    const headers = { 'content-length': '0' }
    const answer = await this.send('POST', this.path(repository, 'blobs/uploads/', query), { headers })
    assert.equal(answer.status, 202)
    return this.location(answer)
  }

  /** Closes an upload, with or without a last chunk. */
  close(location: string, digest: Digest, sent: Sent = {}): Promise<Answer> {
    const joint = location.includes('?') ? '&' : '?'
    return this.send('PUT', `${location}${joint}digest=${encodeURIComponent(digest)}`, sent)
  }

  async pushBlob(repository: string, bytes: Uint8Array, digest = digestOf(bytes)): Promise<Answer> {
    const location = await this.begin(repository)
    const answer = await this.close(location, digest, {
      headers: { 'content-type': types.bytes },
      body: bytes,
    })
    assert.equal(answer.status, 201, answer.body.toString())
    return answer
  }

  putManifest(repository: string, reference: string, manifest: object, query = ''): Promise<Answer> {
    const { mediaType } = manifest as { mediaType: string }
    const body = JSON.stringify(manifest)
    const headers = { 'content-type': mediaType }
    return this.send('PUT', this.path(repository, `manifests/${reference}`, query), { headers, body })
  }

  getManifest(repository: string, reference: string, method = 'GET'): Promise<Answer> {
    const headers = { accept: `${types.manifest}, ${types.index}` }
    return this.send(method, this.path(repository, `manifests/${reference}`), { headers })
  }

  getBlob(repository: string, digest: Digest, method = 'GET', headers = {}): Promise<Answer> {
    return this.send(method, this.path(repository, `blobs/${digest}`), { headers })
  }

  /** Pushes an image of one small layer and a config under a tag; what was pushed. */
  async pushImage(repository: string, tag: string, more: object = {}): Promise<PushedImage> {
    const layer = randomBytes(70_000)
    const config = Buffer.from(
      JSON.stringify({ architecture: 'amd64', os: 'linux', noise: tag + Math.random() }),
    )
    for (const bytes of [layer, config]) await this.pushBlob(repository, bytes)
    const manifest = {
      schemaVersion: 2,
      mediaType: types.manifest,
      config: describeBytes(config, types.config),
      layers: [describeBytes(layer, types.layer)],
      ...more,
    }
    const answer = await this.putManifest(repository, tag, manifest)
    assert.equal(answer.status, 201, answer.body.toString())
    const body = Buffer.from(JSON.stringify(manifest))
    return { layer, config, body, digest: digestOf(body), answer }
  }
}

export interface PushedImage {
  readonly layer: Buffer
  readonly config: Buffer
  /** The manifest's bytes, and their digest. */
  readonly body: Buffer
  readonly digest: Digest
  /** The registry's answer to the manifest. */
  readonly answer: Answer
}
