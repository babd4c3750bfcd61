// Pulls one image through a host's dfdaemon as a runtime would, keeping nothing: every manifest and blob, each checked against its digest.
import { Agent, request } from 'undici'
import { type Digest, DigestCheck, digestOf, parseDigest } from '../../shared/digest.ts'
import type { Descriptor, Manifest } from './oci-layout.ts'
import { mediaTypes } from './oci-layout.ts'

export interface PullTarget {
  /** `http://host:port` of the dfdaemon's proxy, or of any registry. */
  readonly proxyUrl: string
  /** `registry/repository:tag`. */
  readonly ref: string
  /** OCI name of the processor whose image is taken. */
  readonly architecture: string
}

export interface Pulled {
  /** Distinct digests checked: manifests, config, layers. */
  readonly digests: number
  readonly bytes: number
}

export interface PullProgress {
  /** Called with bytes that arrived since the last call. */
  onBytes?(bytes: number): void
}

/** Blobs fetched side by side, as containerd does. */
const blobsAtOnce = 4

/** @throws Error that names the path and what was wrong with it, or the signal's reason */
export async function pullThrough(
  target: PullTarget,
  progress: PullProgress,
  signal: AbortSignal,
): Promise<Pulled> {
  const agent = new Agent({ connections: blobsAtOnce + 1, headersTimeout: 120_000, bodyTimeout: 120_000 })
  const fetcher = new Fetcher(target, progress, agent, signal)
  try {
    const top = await fetcher.manifest(target.ref.slice(target.ref.lastIndexOf(':') + 1))
    const chosen = top.manifests?.find(entry => entry.platform?.architecture === target.architecture)
    if (top.manifests !== undefined && chosen === undefined)
      throw new Error(`no manifest for ${target.architecture} in ${target.ref}`)
    const manifest = chosen === undefined ? top : await fetcher.manifest(chosen.digest)
    const blobs = new Map([...(manifest.layers ?? []), manifest.config!].map(blob => [blob.digest, blob]))
    const queue = [...blobs.values()]
    const work = async () => {
      for (let blob = queue.shift(); blob !== undefined; blob = queue.shift()) await fetcher.blob(blob)
    }
    await Promise.all(Array.from({ length: blobsAtOnce }, work))
    return { digests: fetcher.digests, bytes: fetcher.bytes }
  } finally {
    await agent.destroy()
  }
}

class Fetcher {
  readonly #target: PullTarget
  readonly #progress: PullProgress
  readonly #agent: Agent
  readonly #signal: AbortSignal
  digests = 0
  bytes = 0

  constructor(target: PullTarget, progress: PullProgress, agent: Agent, signal: AbortSignal) {
    this.#target = target
    this.#progress = progress
    this.#agent = agent
    this.#signal = signal
  }

  async manifest(reference: string): Promise<Manifest> {
    const { statusCode, headers, body } = await this.#get(`manifests/${reference}`, {
      accept: `${mediaTypes.index}, ${mediaTypes.manifest}`,
    })
    const bytes = new Uint8Array(await body.arrayBuffer())
    if (statusCode !== 200) throw refusal(`manifests/${reference}`, statusCode, bytes)
    const wanted = parseDigest(reference.includes(':') ? reference : String(headers['docker-content-digest']))
    if (digestOf(bytes) !== wanted)
      throw new Error(`manifest ${reference} does not have the digest ${wanted}`)
    this.#count(bytes.byteLength)
    this.digests++
    return JSON.parse(Buffer.from(bytes).toString('utf8')) as Manifest
  }

  async blob(blob: Descriptor): Promise<void> {
    const { statusCode, body } = await this.#get(`blobs/${blob.digest}`, {})
    if (statusCode !== 200)
      throw refusal(`blobs/${blob.digest}`, statusCode, new Uint8Array(await body.arrayBuffer()))
    const check = new DigestCheck(blob.digest as Digest)
    for await (const chunk of body) {
      check.update(chunk as Uint8Array)
      this.#count((chunk as Uint8Array).byteLength)
    }
    if (check.bytes !== blob.size || !check.matches())
      throw new Error(`blob ${blob.digest} came as ${check.bytes} bytes that do not have its digest`)
    this.digests++
  }

  #get(path: string, headers: Record<string, string>) {
    const [registry, ...rest] = this.#target.ref.slice(0, this.#target.ref.lastIndexOf(':')).split('/')
    const url = `${this.#target.proxyUrl}/v2/${rest.join('/')}/${path}?ns=${registry}`
    return request(url, { dispatcher: this.#agent, signal: this.#signal, headers })
  }

  #count(bytes: number): void {
    this.bytes += bytes
    this.#progress.onBytes?.(bytes)
  }
}

function refusal(path: string, status: number, body: Uint8Array): Error {
  return new Error(`${path} was answered with ${status}: ${Buffer.from(body).toString('utf8').slice(0, 500)}`)
}
