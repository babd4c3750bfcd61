// Makes small, deterministic multi-layer images as OCI layouts, in a fraction of a second; their layers are noise, so gzip changes no size.
import { createCipheriv, createHash } from 'node:crypto'
import { type Layer, LayoutWriter } from '../../cli/demo/layout-writer.ts'
import { type Descriptor, type OciLayout, openLayout } from '../../cli/demo/oci-layout.ts'

export interface SmallImageOptions {
  /** Where the layout goes; made if absent. */
  readonly directory: string
  /** Same seed, same digests. */
  readonly seed?: string
  readonly tag?: string
  /** Compressed length of each layer, in bytes, to within a few hundred. */
  readonly layerBytes?: readonly number[]
  /** Puts the manifest under an index of linux/amd64 and linux/arm64 (default), or leaves it bare. */
  readonly index?: boolean
  /** Adds this many bytes of labels to the config, so that it is no small blob. */
  readonly configBytes?: number
}

const MiB = 1024 * 1024

/** Layer sizes that take in a tiny layer, several pieces with a short last one, and one larger than two MiB. */
export const defaultLayerBytes: readonly number[] = [2_000, 1.5 * MiB, 6 * MiB + 12_345, 3 * MiB]

export async function makeSmallImage(options: SmallImageOptions): Promise<OciLayout> {
  const seed = options.seed ?? 'small'
  const writer = new LayoutWriter(options.directory)
  await writer.start()
  const sizes = options.layerBytes ?? defaultLayerBytes
  const layers = await Promise.all(
    sizes.map((bytes, number) =>
      writer.addLayer([{ name: `layer-${number}.bin`, content: makeNoise(`${seed}/${number}`, bytes) }]),
    ),
  )
  const top = await addManifests(writer, layers, options)
  await writer.finish(new Map([[options.tag ?? 'v1', top]]))
  return openLayout(options.directory)
}

async function addManifests(
  writer: LayoutWriter,
  layers: readonly Layer[],
  options: SmallImageOptions,
): Promise<Descriptor> {
  const run = {
    Entrypoint: ['/layer-0.bin'],
    Env: options.configBytes === undefined ? [] : [`NOISE=${'x'.repeat(options.configBytes)}`],
  }
  const amd64 = await writer.addManifest({ os: 'linux', architecture: 'amd64' }, layers, run)
  if (options.index === false) return amd64
  const arm64 = await writer.addManifest({ os: 'linux', architecture: 'arm64' }, layers.slice(0, 1), run)
  return writer.addIndex([amd64, arm64])
}

/** `length` bytes that look random and depend on `seed` only. */
export function makeNoise(seed: string, length: number): Uint8Array {
  const key = createHash('sha256').update(seed).digest()
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  return cipher.update(Buffer.alloc(Math.floor(length)))
}
