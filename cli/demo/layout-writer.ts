// Writes OCI image layouts with digests that depend on nothing but the content: gzip layers from files, configs, manifests, an index.
import { createHash, randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { pack } from 'tar-stream'
import { type Digest, digestOf } from '../../shared/digest.ts'
import { blobPath, type Descriptor, mediaTypes, refNameAnnotation } from './oci-layout.ts'

/** One entry of a layer's tar. Directories end with a slash and have no content. */
export interface LayerEntry {
  readonly name: string
  readonly mode?: number
  readonly linkTo?: string
  /** Read only when its turn has come, so that a layer needs no memory for all its files. */
  readonly content?: Uint8Array | (() => Promise<Uint8Array>)
}

export interface Layer {
  readonly descriptor: Descriptor
  /** Digest of the tar before gzip (OCI image-spec, config.md, `diff_ids`). */
  readonly diffId: Digest
}

/** What a container of the image runs. */
export interface RunConfig {
  readonly Entrypoint?: readonly string[]
  readonly Cmd?: readonly string[]
  readonly Env?: readonly string[]
  readonly WorkingDir?: string
}

export interface Platform {
  readonly os: string
  readonly architecture: string
}

/** All files carry this time, so that the same content has the same digest on every run. */
const fileTime = new Date(0)

/** Writes one layout; blobs go to their place as they are finished, index.json last. */
export class LayoutWriter {
  readonly directory: string
  /** Called with the bytes of content packed since the last call. */
  onPacked: (bytes: number) => void = () => {}

  constructor(directory: string) {
    this.directory = directory
  }

  async start(): Promise<void> {
    await mkdir(join(this.directory, 'blobs', 'sha256'), { recursive: true })
    await writeFile(join(this.directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  }

  /** Stores small bytes as a blob. */
  async addBlob(bytes: Uint8Array, mediaType: string): Promise<Descriptor> {
    const digest = digestOf(bytes)
    await writeFile(blobPath(this.directory, digest), bytes)
    return { mediaType, digest, size: bytes.byteLength }
  }

  /** Packs entries into a gzip layer. Layers may be made side by side: gzip runs in the thread pool. */
  async addLayer(entries: Iterable<LayerEntry>): Promise<Layer> {
    const temporary = join(this.directory, `layer-${randomUUID()}`)
    const tar = pack({ highWaterMark: tarBufferBytes } as never)
    const diff = createHash('sha256')
    const compressed = createHash('sha256')
    let size = 0
    const feeding = feedTar(tar, entries, bytes => this.onPacked(bytes))
    feeding.catch(error => tar.destroy(error))
    await pipeline(
      tar,
      async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          diff.update(chunk)
          yield chunk
        }
      },
      createGzip({ level: 1, chunkSize: tarBufferBytes }),
      async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          compressed.update(chunk)
          size += chunk.byteLength
          yield chunk
        }
      },
      createWriteStream(temporary),
    )
    await feeding
    const digest: Digest = `sha256:${compressed.digest('hex')}`
    await rename(temporary, blobPath(this.directory, digest))
    return {
      descriptor: { mediaType: mediaTypes.layer, digest, size },
      diffId: `sha256:${diff.digest('hex')}`,
    }
  }

  /** Writes the config and the manifest of one platform; the descriptor carries the platform, as an index wants it. */
  async addManifest(platform: Platform, layers: readonly Layer[], run: RunConfig): Promise<Descriptor> {
    const config = await this.addJson(
      {
        created: fileTime.toISOString(),
        ...platform,
        config: run,
        rootfs: { type: 'layers', diff_ids: layers.map(layer => layer.diffId) },
        history: layers.map(() => ({ created: fileTime.toISOString(), created_by: 'pantala demo' })),
      },
      mediaTypes.config,
    )
    const manifest = await this.addJson(
      {
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        config,
        layers: layers.map(layer => layer.descriptor),
      },
      mediaTypes.manifest,
    )
    return { ...manifest, platform }
  }

  /** Writes an image index over manifests of several platforms. */
  async addIndex(manifests: readonly Descriptor[]): Promise<Descriptor> {
    return this.addJson({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }, mediaTypes.index)
  }

  async addJson(content: unknown, mediaType: string): Promise<Descriptor> {
    return this.addBlob(Buffer.from(JSON.stringify(content)), mediaType)
  }

  /** Writes index.json, which makes the layout whole. Entries without a tag (as referrers) are found by digest only. */
  async finish(tags: ReadonlyMap<string, Descriptor>, untagged: readonly Descriptor[] = []): Promise<void> {
    const tagged = [...tags].map(([tag, descriptor]) => ({
      ...descriptor,
      annotations: { [refNameAnnotation]: tag },
    }))
    const index = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [...tagged, ...untagged] }
    await writeFile(join(this.directory, 'index.json'), JSON.stringify(index))
  }
}

/** Bytes that tar and gzip hand on at a time. */
const tarBufferBytes = 256 * 1024

/** Writes the entries one after the other. */
async function feedTar(
  tar: ReturnType<typeof pack>,
  entries: Iterable<LayerEntry>,
  onPacked: (bytes: number) => void,
): Promise<void> {
  for (const entry of entries) {
    const content = typeof entry.content === 'function' ? await entry.content() : entry.content
    const type = entry.linkTo !== undefined ? 'symlink' : entry.name.endsWith('/') ? 'directory' : 'file'
    const mode = entry.mode ?? (type === 'directory' ? 0o755 : 0o644)
    const header = { name: entry.name, mode, type, mtime: fileTime, uid: 0, gid: 0 } as const
    await new Promise<void>((resolve, reject) => {
      const done = (error?: Error | null) => (error ? reject(error) : resolve())
      if (type === 'symlink') tar.entry({ ...header, linkname: entry.linkTo ?? '' }, done)
      else if (type === 'directory') tar.entry(header, done)
      else writeFileEntry(tar, { ...header, type }, content ?? new Uint8Array(0), done)
    })
    onPacked(content?.byteLength ?? 0)
  }
  tar.finalize()
}

/** Large contents go in slices, so that gzip gets its work in parts and memory stays flat. */
function writeFileEntry(
  tar: ReturnType<typeof pack>,
  header: { readonly name: string; readonly mode: number; readonly mtime: Date; readonly type: 'file' },
  content: Uint8Array,
  done: (error?: Error | null) => void,
): void {
  const sink = tar.entry({ ...header, size: content.byteLength }, done)
  let offset = 0
  const feed = () => {
    while (offset < content.byteLength) {
      const slice = content.subarray(offset, offset + tarBufferBytes)
      offset += slice.byteLength
      if (!sink.write(Buffer.from(slice.buffer, slice.byteOffset, slice.byteLength))) {
        sink.once('drain', feed)
        return
      }
    }
    sink.end(null)
  }
  feed()
}
