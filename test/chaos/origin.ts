// Images that nobody has pulled before, pushed to the registry ahead of time, and what its front counted and is told.
import { createHash } from 'node:crypto'
import { digestOf } from '../../shared/digest.ts'
import { makeNoise } from '../harness/small-image.ts'
import { frontUrl, registryName, registryUrl } from './cluster.ts'

const MiB = 1024 * 1024
/** Several layers, one of them small; about 20 MiB in all. */
const layerBytes: readonly number[] = [12 * MiB, 8 * MiB + 4321, 3000]
const repository = 'chaos/app'
/** Images kept ahead of the pulls, so that a registry that is away does not end them. */
const STOCK_COUNT = 3
const REQUEST_MS = 10_000
const RETRY_MS = 250

export interface OriginImage {
  /** As `pantala pull` takes it. */
  readonly reference: string
  /** Config and layers. */
  readonly bytes: number
}

export class Origin {
  readonly #stock: OriginImage[] = []
  readonly #run = createHash('sha256').update(String(process.hrtime.bigint())).digest('hex')
  #made = 0
  #filling: Promise<void> | undefined

  /** An image of its own for each call; waits while the registry takes none. */
  async take(): Promise<OriginImage> {
    while (this.#stock.length === 0) await this.fill()
    const image = this.#stock.shift()!
    this.fill().catch(() => {})
    return image
  }

  /** Makes as many images as are kept in stock. */
  fill(): Promise<void> {
    this.#filling ??= this.#fill().finally(() => {
      this.#filling = undefined
    })
    return this.#filling
  }

  async #fill(): Promise<void> {
    while (this.#stock.length < STOCK_COUNT) {
      const number = this.#made++
      for (;;) {
        try {
          this.#stock.push(await pushImage(`v${number}`, `${this.#run}/${number}`))
          break
        } catch {
          await new Promise(resolve => setTimeout(resolve, RETRY_MS))
        }
      }
    }
  }

  /** Bytes of blobs that left the registry so far. */
  async bytesSent(): Promise<number> {
    const counts = (await (await fetch(`${frontUrl}/counts`)).json()) as Record<string, number>
    return Object.values(counts).reduce((sum, bytes) => sum + bytes, 0)
  }

  /** Has every request answered with the status; 0: none. */
  async answerWith(status: number): Promise<void> {
    await fetch(`${frontUrl}/faults?status=${status}`, { method: 'PUT' })
  }
}

async function pushImage(tag: string, seed: string): Promise<OriginImage> {
  const layers = layerBytes.map((bytes, place) => makeNoise(`${seed}/${place}`, bytes))
  const config = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', seed }))
  const describe = (bytes: Uint8Array, type: string) => ({
    mediaType: `application/vnd.oci.image.${type}`,
    digest: digestOf(bytes),
    size: bytes.byteLength,
  })
  const blobs = [config, ...layers]
  const descriptors = blobs.map((bytes, place) =>
    describe(bytes, place === 0 ? 'config.v1+json' : 'layer.v1.tar'),
  )
  for (const [place, bytes] of blobs.entries()) await pushBlob(descriptors[place]!.digest, bytes)
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  const manifest = { schemaVersion: 2, mediaType, config: descriptors[0], layers: descriptors.slice(1) }
  await ask(`${registryUrl}/v2/${repository}/manifests/${tag}`, {
    method: 'PUT',
    headers: { 'content-type': mediaType },
    body: JSON.stringify(manifest),
  })
  const bytes = descriptors.reduce((sum, { size }) => sum + size, 0)
  return { reference: `${registryName}/${repository}:${tag}`, bytes }
}

async function pushBlob(digest: string, bytes: Uint8Array): Promise<void> {
  const start = await ask(`${registryUrl}/v2/${repository}/blobs/uploads/`, { method: 'POST' })
  const place = new URL(start.headers.get('location')!, registryUrl)
  place.searchParams.set('digest', digest)
  await ask(place.href, {
    method: 'PUT',
    headers: { 'content-type': 'application/octet-stream' },
    body: Buffer.from(bytes),
  })
}

async function ask(url: string, init: RequestInit): Promise<Response> {
  const answer = await fetch(url, { ...init, signal: AbortSignal.timeout(REQUEST_MS) })
  if (!answer.ok) throw new Error(`${init.method} ${url}: ${answer.status} ${await answer.text()}`)
  await answer.arrayBuffer()
  return answer
}
