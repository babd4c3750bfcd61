// Pulls an image as `pantala pull` does, for a fraction of its processor time: the same requests side by side, every digest checked; keeps, resumes and redirects nothing.
import { type Descriptor, type Manifest, mediaTypes } from '../../../cli/demo/oci-layout.ts'
import { DigestCheck, digestAlgorithm, digestOf, isDigest, parseDigest } from '../../../shared/digest.ts'
import { type LeanAnswer, LeanConnection, leanHeader, leanRequest, type TakePart } from './connection.ts'

export interface LeanImage {
  /** Base URL of a registry or of a dfdaemon's proxy; plain HTTP. */
  readonly registryUrl: string
  readonly repository: string
  /** Tag or digest. */
  readonly reference: string
}

/** Blobs fetched side by side, as containerd, docker and `pantala pull` do. */
const BLOBS_AT_ONCE = 3
const manifestTypes = `${mediaTypes.index}, ${mediaTypes.manifest}`

/**
 * Bytes of manifests and blobs.
 * @param onBytes told of each part of a blob
 * @param signal ends every request
 * @throws Error that names what failed and why, or the signal's reason
 */
export async function pullLean(
  image: LeanImage,
  onBytes: (bytes: number) => void,
  signal: AbortSignal,
): Promise<number> {
  const stop = new AbortController()
  const line = () => new Line(image, AbortSignal.any([signal, stop.signal]))
  const { blobs, bytes } = await readManifests(line(), image.reference)
  const lines = Array.from({ length: Math.min(BLOBS_AT_ONCE, blobs.length) }, line)
  const queue = blobs.values()
  await Promise.all(
    lines.map(async own => {
      try {
        for (const blob of queue) await fetchBlob(own, blob, onBytes)
      } catch (error) {
        stop.abort(error)
      } finally {
        own.close()
      }
    }),
  )
  signal.throwIfAborted()
  stop.signal.throwIfAborted()
  return bytes + blobs.reduce((sum, blob) => sum + blob.size, 0)
}

/** A connection that is opened when it is needed, and again after a server closed it in good order. */
class Line {
  readonly #image: LeanImage
  readonly #signal: AbortSignal
  #connection: LeanConnection | undefined

  constructor(image: LeanImage, signal: AbortSignal) {
    this.#image = image
    this.#signal = signal
  }

  async ask(path: string, accept?: string, take?: TakePart): Promise<LeanAnswer> {
    const { registryUrl, repository } = this.#image
    if (this.#connection?.isOpen !== true)
      this.#connection = await LeanConnection.open(registryUrl, { signal: this.#signal })
    return this.#connection.ask(leanRequest(registryUrl, `/v2/${repository}/${path}`, accept), take)
  }

  close(): void {
    this.#connection?.close()
  }
}

/** The image's distinct blobs, and bytes of the manifests that lead to them. */
async function readManifests(
  line: Line,
  reference: string,
): Promise<{ blobs: readonly Descriptor[]; bytes: number }> {
  try {
    const top = await readManifest(line, reference)
    const own = top.manifest.manifests?.find(
      ({ platform }) => platform?.os === 'linux' && platform.architecture === 'amd64',
    )
    if (own === undefined && top.manifest.manifests !== undefined)
      throw new Error(`${reference} has nothing for linux/amd64`)
    const image = own === undefined ? undefined : await readManifest(line, own.digest)
    const { layers = [], config } = (image ?? top).manifest
    const blobs = new Map(
      [...layers, ...(config === undefined ? [] : [config])].map(blob => [blob.digest, blob]),
    )
    return { blobs: [...blobs.values()], bytes: top.bytes + (image?.bytes ?? 0) }
  } finally {
    line.close()
  }
}

async function readManifest(line: Line, reference: string): Promise<{ manifest: Manifest; bytes: number }> {
  const answer = await line.ask(`manifests/${reference}`, manifestTypes)
  expectWhole(answer, `manifest ${reference}`)
  const told = isDigest(reference) ? reference : leanHeader(answer, 'docker-content-digest')
  const { body } = answer
  const digest = parseDigest(told ?? digestOf(body))
  if (digestOf(body, digestAlgorithm(digest)) !== digest)
    throw new Error(`manifest ${reference} does not have the digest ${digest}`)
  return { manifest: JSON.parse(body.toString('utf8')) as Manifest, bytes: body.byteLength }
}

async function fetchBlob(line: Line, blob: Descriptor, onBytes: (bytes: number) => void): Promise<void> {
  const name = `blob ${blob.digest}`
  const check = new DigestCheck(parseDigest(blob.digest))
  const take = (part: Buffer): void => {
    check.update(part)
    if (check.bytes > blob.size) throw new Error(`more than its ${blob.size} bytes`)
    onBytes(part.byteLength)
  }
  const answer = await line.ask(`blobs/${blob.digest}`, undefined, take).catch((error: Error) => {
    throw new Error(`${name}: ${error.message}`, { cause: error })
  })
  expectWhole(answer, name)
  if (check.bytes !== blob.size) throw new Error(`${name} has ${check.bytes} bytes, not ${blob.size}`)
  if (!check.matches()) throw new Error(`${name} came with bytes that do not have its digest`)
}

function expectWhole({ status, body }: LeanAnswer, what: string): void {
  if (status !== 200) throw new Error(`${what} was answered with ${status}: ${body.toString('utf8', 0, 500)}`)
}
