// Reads an OCI image layout directory: which manifests it holds under which tags, and where each blob lies. Checks nothing against digests.
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, isDigest } from '../../shared/digest.ts'

/** Content descriptor (OCI image-spec, descriptor.md), as far as it is used here. */
export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
  readonly artifactType?: string
  readonly platform?: { readonly architecture: string; readonly os: string; readonly variant?: string }
  readonly annotations?: Readonly<Record<string, string>>
}

/** An image index or image manifest, as far as it is used here. */
export interface Manifest {
  readonly schemaVersion: 2
  readonly mediaType: string
  readonly artifactType?: string
  readonly config?: Descriptor
  readonly layers?: readonly Descriptor[]
  readonly manifests?: readonly Descriptor[]
  readonly subject?: Descriptor
  readonly annotations?: Readonly<Record<string, string>>
}

export const mediaTypes = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
} as const

/** Annotation of index.json that holds a tag (OCI image-spec, annotations.md). */
export const refNameAnnotation = 'org.opencontainers.image.ref.name'

/** A manifest's bytes as they lie in the layout, with what was read from them. */
export interface StoredManifest {
  readonly descriptor: Descriptor
  readonly body: Buffer
  readonly manifest: Manifest
}

/** An opened layout; manifests are in memory, blobs stay on disk. */
export interface OciLayout {
  readonly directory: string
  readonly tags: ReadonlyMap<string, Digest>
  readonly manifests: ReadonlyMap<Digest, StoredManifest>
  /** Every blob that a manifest names, with its length in bytes; manifests themselves are not among them. */
  readonly blobs: ReadonlyMap<Digest, Descriptor>
}

/** Path of a blob's file in a layout. */
export function blobPath(directory: string, digest: Digest): string {
  const [algorithm, hex] = digest.split(':') as [string, string]
  return join(directory, 'blobs', algorithm, hex)
}

/**
 * Reads index.json and every manifest it leads to.
 * @throws Error if the directory is not a layout or a manifest in it is missing or malformed
 */
export async function openLayout(directory: string): Promise<OciLayout> {
  const root = JSON.parse(await readFile(join(directory, 'index.json'), 'utf8')) as Manifest
  const tags = new Map<string, Digest>()
  const manifests = new Map<Digest, StoredManifest>()
  const blobs = new Map<Digest, Descriptor>()
  const queue = [...(root.manifests ?? [])]
  for (const descriptor of queue) {
    const tag = descriptor.annotations?.[refNameAnnotation]
    if (tag !== undefined) tags.set(tag, descriptor.digest)
  }
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    if (!isDigest(next.digest)) throw new Error(`${directory}: ${String(next.digest)} is not a digest`)
    if (manifests.has(next.digest)) continue
    const body = await readFile(blobPath(directory, next.digest))
    const manifest = JSON.parse(body.toString('utf8')) as Manifest
    manifests.set(next.digest, { descriptor: next, body, manifest })
    queue.push(...(manifest.manifests ?? []))
    for (const blob of [manifest.config, ...(manifest.layers ?? [])]) {
      if (blob !== undefined) blobs.set(blob.digest, blob)
    }
  }
  return { directory, tags, manifests, blobs }
}

/** What a pull of one platform costs: its manifests and blobs, each once. */
export interface PlatformImage {
  readonly index: StoredManifest | undefined
  readonly manifest: StoredManifest
  readonly config: Descriptor
  readonly layers: readonly Descriptor[]
  /** Sum of the manifests' and distinct blobs' lengths, in bytes. */
  readonly bytes: number
}

/** Finds what a client of `architecture` (OCI name, e.g. amd64) pulls for a tag; undefined if there is nothing for it. */
export function findPlatformImage(
  layout: OciLayout,
  tag: string,
  architecture: string,
): PlatformImage | undefined {
  const digest = layout.tags.get(tag)
  const top = digest === undefined ? undefined : layout.manifests.get(digest)
  if (top === undefined) return undefined
  const choice = top.manifest.manifests?.find(entry => entry.platform?.architecture === architecture)
  const index = top.manifest.manifests === undefined ? undefined : top
  const manifest =
    index === undefined ? top : choice === undefined ? undefined : layout.manifests.get(choice.digest)
  if (manifest?.manifest.config === undefined) return undefined
  const layers = manifest.manifest.layers ?? []
  const distinct = new Map([manifest.manifest.config, ...layers].map(blob => [blob.digest, blob.size]))
  const blobBytes = [...distinct.values()].reduce((sum, size) => sum + size, 0)
  return {
    index,
    manifest,
    config: manifest.manifest.config,
    layers,
    bytes: (index?.body.byteLength ?? 0) + manifest.body.byteLength + blobBytes,
  }
}

/** True if every blob and manifest of the layout is there with its length. */
export async function hasAllLengths(layout: OciLayout): Promise<boolean> {
  const wanted = [...layout.blobs.values(), ...[...layout.manifests.values()].map(entry => entry.descriptor)]
  const lengths = await Promise.all(
    wanted.map(blob =>
      stat(blobPath(layout.directory, blob.digest)).then(
        file => file.size === blob.size,
        () => false,
      ),
    ),
  )
  return lengths.every(Boolean)
}
