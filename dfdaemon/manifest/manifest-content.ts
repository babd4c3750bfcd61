// Reads what a manifest or index says about other content: digests, lengths, its own media type. Trusts none of it.
import { type Digest, isDigest } from '../../shared/digest.ts'
import { BLOB_BYTES_MAX } from '../../shared/piece.ts'

export interface ManifestContent {
  /** Media type the manifest gives itself; undefined if none. */
  readonly mediaType: string | undefined
  /** Config, layers and sub-manifests with their lengths in bytes, as claimed; undefined where none is. */
  readonly listed: ReadonlyMap<Digest, number | undefined>
  /** The config blob of an image. */
  readonly config: Digest | undefined
  /** Layers of an image in their order, each once; without those that are to be fetched from elsewhere than the registry. */
  readonly layers: readonly Digest[]
}

/** Digests taken from one manifest, at most. */
const LISTED_MAX = 4_096

const nothing: ManifestContent = { mediaType: undefined, listed: new Map(), config: undefined, layers: [] }

/** What the bytes say; nothing, if they are no manifest. Never throws. */
export function readManifest(body: Uint8Array): ManifestContent {
  let manifest: unknown
  try {
    manifest = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8'))
  } catch {
    return nothing
  }
  if (!isRecord(manifest)) return nothing
  const listed = new Map<Digest, number | undefined>()
  const list = (descriptor: unknown, name = 'digest') => {
    if (!isRecord(descriptor) || listed.size >= LISTED_MAX) return
    const digest = descriptor[name]
    const { size } = descriptor
    if (typeof digest !== 'string' || !isDigest(digest)) return
    const sound =
      typeof size === 'number' && Number.isSafeInteger(size) && size >= 0 && size <= BLOB_BYTES_MAX
    listed.set(digest, sound ? size : undefined)
  }
  list(manifest['config'])
  const [config] = listed.keys()
  for (const part of ['layers', 'manifests', 'blobs'])
    for (const descriptor of asArray(manifest[part])) list(descriptor)
  for (const layer of asArray(manifest['fsLayers'])) list(layer, 'blobSum')
  const { mediaType } = manifest
  const sound =
    typeof mediaType === 'string' && /^[a-z0-9!#$&^_.+-]{1,127}\/[a-z0-9!#$&^_.+-]{1,127}$/.test(mediaType)
  return { mediaType: sound ? mediaType : undefined, listed, config, layers: readLayers(manifest) }
}

function readLayers(manifest: Record<string, unknown>): Digest[] {
  const layers = new Set<Digest>()
  for (const layer of asArray(manifest['layers']).slice(0, LISTED_MAX)) {
    if (!isRecord(layer) || asArray(layer['urls']).length > 0) continue
    const { digest } = layer
    if (typeof digest === 'string' && isDigest(digest)) layers.add(digest)
  }
  return [...layers]
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function asArray(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}
