// Fills a docker-registry with many small blobs, manifests that name them, and large blobs; everything different, the same on every run.
import { createHash } from 'node:crypto'
import { mediaTypes } from '../../../cli/demo/oci-layout.ts'
import { makeNoise } from '../../harness/small-image.ts'

const REPOSITORY = 'bench/many'
const PUSHES_AT_ONCE = 8

/** Paths under the registry's URL. */
export interface Pushed {
  readonly path: string
  readonly digest: string
}

export class ManyPusher {
  readonly #url: string
  #configDigest = ''
  #configBytes = 0

  constructor(registryUrl: string) {
    this.#url = registryUrl
  }

  /** Blobs of `bytes` bytes. */
  async pushBlobs(name: string, count: number, bytes: number): Promise<Pushed[]> {
    return inTurns(count, async index => {
      const digest = await this.#pushBlob(makeNoise(`${name}/${index}`, bytes))
      return { path: `/v2/${REPOSITORY}/blobs/${digest}`, digest }
    })
  }

  /** Manifests of about 1 KiB, by digest. */
  async pushManifests(name: string, count: number): Promise<Pushed[]> {
    if (this.#configDigest === '') {
      const config = Buffer.from(
        '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}',
      )
      this.#configBytes = config.byteLength
      this.#configDigest = await this.#pushBlob(config)
    }
    return inTurns(count, async index => {
      const body = JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        config: {
          mediaType: 'application/vnd.oci.image.config.v1+json',
          digest: this.#configDigest,
          size: this.#configBytes,
        },
        layers: [],
        annotations: { name: `${name}-${index}`, filler: 'x'.repeat(600) },
      })
      const digest = `sha256:${createHash('sha256').update(body).digest('hex')}`
      const path = `/v2/${REPOSITORY}/manifests/${digest}`
      const headers = { 'content-type': mediaTypes.manifest }
      await expectStatus(fetch(`${this.#url}${path}`, { method: 'PUT', headers, body }), 201)
      return { path, digest }
    })
  }

  async #pushBlob(bytes: Uint8Array): Promise<string> {
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
    const opened = await expectStatus(
      fetch(`${this.#url}/v2/${REPOSITORY}/blobs/uploads/`, { method: 'POST' }),
      202,
    )
    const location = new URL(opened.headers.get('location') ?? '', this.#url)
    location.searchParams.set('digest', digest)
    const headers = { 'content-type': 'application/octet-stream' }
    await expectStatus(fetch(location, { method: 'PUT', headers, body: new Uint8Array(bytes) }), 201)
    return digest
  }
}

async function inTurns<T>(count: number, work: (index: number) => Promise<T>): Promise<T[]> {
  const done: T[] = []
  let next = 0
  const run = async () => {
    for (let index = next++; index < count; index = next++) done[index] = await work(index)
  }
  await Promise.all(Array.from({ length: PUSHES_AT_ONCE }, run))
  return done
}

async function expectStatus(asked: Promise<Response>, status: number): Promise<Response> {
  const answer = await asked
  const text = await answer.text()
  if (answer.status !== status)
    throw new Error(`docker-registry answered ${answer.status}: ${text.slice(0, 300)}`)
  return answer
}
