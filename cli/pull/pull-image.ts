// Pulls one image through a registry face as a runtime would: manifest, platform, all blobs side by side, every digest checked.
import { Agent, request } from 'undici'
import { type Digest, digestOf, isDigest, parseDigest } from '../../shared/digest.ts'
import { MANIFEST_BYTES_MAX } from '../../shared/protocol/messages.ts'
import { type Descriptor, type Manifest, mediaTypes } from '../demo/oci-layout.ts'
import { fetchBlob } from './fetch-blob.ts'
import { LayoutOutput } from './layout-output.ts'
import type { ImageReference } from './reference.ts'

export interface PullOptions {
  /** Base URL of the registry face, as http://127.0.0.1:65001. */
  readonly registryUrl: string
  readonly image: ImageReference
  readonly platform: { readonly os: string; readonly architecture: string }
  /** Directory of an OCI image layout to write; nothing is kept without it. */
  readonly output?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Blobs fetched side by side; containerd's CRI and docker take 3. */
  readonly blobsAtOnce?: number
}

export interface PulledBlob {
  readonly digest: string
  readonly size: number
  /** From request to last byte verified, in ms. */
  readonly ms: number
}

export interface Pulled {
  /** Digest of what the reference named. */
  readonly digest: string
  readonly bytes: number
  readonly blobs: readonly PulledBlob[]
}

export interface PullProgress {
  /** The image's size became known, in bytes, manifests not counted. */
  onSize?(bytes: number): void
  onBytes?(bytes: number): void
}

const manifestTypes = [
  mediaTypes.index,
  mediaTypes.manifest,
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ')

/** @throws Error that names what failed and why, or the signal's reason */
export async function pullImage(
  options: PullOptions,
  progress: PullProgress,
  signal: AbortSignal,
): Promise<Pulled> {
  const blobsAtOnce = options.blobsAtOnce ?? 3
  const agent = new Agent({ connections: blobsAtOnce + 1, headersTimeout: 120_000, bodyTimeout: 120_000 })
  const output = options.output === undefined ? undefined : new LayoutOutput(options.output)
  try {
    await output?.open()
    const pull = new ImagePull(options, progress, agent, output, signal)
    return await pull.run(blobsAtOnce)
  } finally {
    await agent.destroy()
  }
}

interface FetchedManifest {
  readonly digest: Digest
  readonly mediaType: string
  readonly bytes: Uint8Array
  readonly manifest: Manifest
}

class ImagePull {
  readonly #options: PullOptions
  readonly #progress: PullProgress
  readonly #agent: Agent
  readonly #output: LayoutOutput | undefined
  readonly #signal: AbortSignal

  constructor(
    options: PullOptions,
    progress: PullProgress,
    agent: Agent,
    output: LayoutOutput | undefined,
    signal: AbortSignal,
  ) {
    this.#options = options
    this.#progress = progress
    this.#agent = agent
    this.#output = output
    this.#signal = signal
  }

  async run(blobsAtOnce: number): Promise<Pulled> {
    const top = await this.#manifest(this.#options.image.reference)
    const image = top.manifest.manifests === undefined ? top : await this.#manifest(this.#choose(top).digest)
    const { config, layers } = image.manifest
    const wanted = new Map(
      [...(layers ?? []), ...(config === undefined ? [] : [config])].map(blob => [blob.digest, blob]),
    )
    this.#progress.onSize?.([...wanted.values()].reduce((sum, blob) => sum + blob.size, 0))
    const blobs = await this.#blobs([...wanted.values()], blobsAtOnce)
    await this.#keep(top, image)
    const manifests = new Map([top, image].map(one => [one.digest, one.bytes.byteLength]))
    const sizes = [...manifests.values(), ...blobs.map(blob => blob.size)]
    return { digest: top.digest, bytes: sizes.reduce((sum, size) => sum + size, 0), blobs }
  }

  #choose(top: FetchedManifest): Descriptor {
    const { os, architecture } = this.#options.platform
    const entries = top.manifest.manifests ?? []
    const found = entries.find(
      entry => entry.platform?.os === os && entry.platform.architecture === architecture,
    )
    if (found !== undefined) return found
    const there = entries.map(entry => `${entry.platform?.os}/${entry.platform?.architecture}`).join(', ')
    throw new Error(`the image has nothing for ${os}/${architecture}; it has ${there}`)
  }

  async #manifest(reference: string): Promise<FetchedManifest> {
    const { statusCode, headers, body } = await request(this.#url(`manifests/${reference}`), {
      dispatcher: this.#agent,
      signal: this.#signal,
      headers: { ...this.#options.headers, accept: manifestTypes },
    })
    const chunks: Buffer[] = []
    let length = 0
    for await (const chunk of body as AsyncIterable<Buffer>) {
      length += chunk.byteLength
      if (length > MANIFEST_BYTES_MAX)
        throw new Error(`manifest ${reference} is larger than ${MANIFEST_BYTES_MAX} bytes`)
      chunks.push(chunk)
    }
    const bytes = Buffer.concat(chunks)
    if (statusCode !== 200)
      throw new Error(
        `manifest ${reference} was answered with ${statusCode}: ${bytes.toString('utf8', 0, 500)}`,
      )
    const told = headers['docker-content-digest']
    const digest = parseDigest(
      isDigest(reference) ? reference : typeof told === 'string' ? told : digestOf(bytes),
    )
    const algorithm = digest.startsWith('sha512:') ? 'sha512' : 'sha256'
    if (digestOf(bytes, algorithm) !== digest)
      throw new Error(`manifest ${reference} does not have the digest ${digest}`)
    const manifest = JSON.parse(bytes.toString('utf8')) as Manifest
    return { digest, mediaType: String(headers['content-type'] ?? mediaTypes.manifest), bytes, manifest }
  }

  async #blobs(wanted: Descriptor[], atOnce: number): Promise<PulledBlob[]> {
    const stop = new AbortController()
    const signal = AbortSignal.any([this.#signal, stop.signal])
    const done: PulledBlob[] = []
    const work = async (): Promise<void> => {
      for (let blob = wanted.shift(); blob !== undefined; blob = wanted.shift()) {
        const startedAt = performance.now()
        await this.#blob(blob, signal)
        done.push({ digest: blob.digest, size: blob.size, ms: Math.round(performance.now() - startedAt) })
      }
    }
    const workers = Array.from({ length: atOnce }, () =>
      work().catch(error => {
        stop.abort(error)
        throw error
      }),
    )
    const results = await Promise.allSettled(workers)
    this.#signal.throwIfAborted()
    if (results.some(result => result.status === 'rejected')) throw stop.signal.reason
    return done
  }

  async #blob(blob: Descriptor, signal: AbortSignal): Promise<void> {
    const digest = parseDigest(blob.digest)
    const file = await this.#output?.createBlob(digest)
    const wish = {
      url: this.#url(`blobs/${digest}`),
      digest,
      size: blob.size,
      headers: this.#options.headers ?? {},
    }
    try {
      await fetchBlob(
        wish,
        this.#agent,
        chunk => {
          this.#progress.onBytes?.(chunk.byteLength)
          return file?.take(chunk)
        },
        signal,
      )
      await file?.commit()
    } catch (error) {
      await file?.discard()
      throw error
    }
  }

  async #keep(top: FetchedManifest, image: FetchedManifest): Promise<void> {
    if (this.#output === undefined) return
    for (const one of new Set([top, image])) await this.#output.writeBlob(one.digest, one.bytes)
    const { repository, registry, reference } = this.#options.image
    const name = `${registry === undefined ? '' : `${registry}/`}${repository}${isDigest(reference) ? '@' : ':'}${reference}`
    await this.#output.addToIndex({
      mediaType: image.mediaType,
      digest: image.digest,
      size: image.bytes.byteLength,
      annotations: {
        'org.opencontainers.image.ref.name': isDigest(reference) ? name : reference,
        'io.pantala.image.name': name,
      },
    })
  }

  #url(path: string): string {
    const { registry, repository } = this.#options.image
    const ns = registry === undefined ? '' : `?ns=${encodeURIComponent(registry)}`
    return `${this.#options.registryUrl.replace(/\/$/, '')}/v2/${repository}/${path}${ns}`
  }
}
