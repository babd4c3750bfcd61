// Writes what was pulled as an OCI image layout (image-spec, image-layout.md): each blob moved into place once it is verified.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { finished } from 'node:stream/promises'
import type { Digest } from '../../shared/digest.ts'
import type { TakeChunk } from './fetch-blob.ts'
import { isMissing } from './missing-file.ts'

export interface IndexEntry {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
  readonly annotations?: Readonly<Record<string, string>>
}

/** One blob being written. */
export interface BlobOutput {
  readonly take: TakeChunk
  /** Moves the blob into place; call only after its digest was checked. */
  commit(): Promise<void>
  /** Removes what was written. */
  discard(): Promise<void>
}

export class LayoutOutput {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  async open(): Promise<void> {
    await mkdir(join(this.#directory, 'blobs'), { recursive: true })
  }

  /** Opens a blob for writing beside its place. */
  async createBlob(digest: Digest): Promise<BlobOutput> {
    const place = this.#place(digest)
    await mkdir(dirname(place), { recursive: true })
    const partial = `${place}.${randomUUID()}.partial`
    const file = createWriteStream(partial, { highWaterMark: 1024 * 1024 })
    let failure: Error | undefined
    file.on('error', error => {
      failure = error
    })
    return {
      take: chunk => {
        if (failure !== undefined) return Promise.reject(failure)
        if (file.write(chunk)) return undefined
        return once(file, 'drain').then(() => {})
      },
      commit: async () => {
        file.end()
        await finished(file)
        await rename(partial, place)
      },
      discard: async () => {
        file.destroy()
        // Only once the file is closed is it sure to be there to be removed.
        await finished(file).catch(() => {})
        await rm(partial, { force: true })
      },
    }
  }

  async writeBlob(digest: Digest, bytes: Uint8Array): Promise<void> {
    const blob = await this.createBlob(digest)
    await blob.take(Buffer.from(bytes))
    await blob.commit()
  }

  /** Adds the image to index.json, in place of one with the same digest and name, and writes the layout's marker. */
  async addToIndex(entry: IndexEntry): Promise<void> {
    const file = join(this.#directory, 'index.json')
    const name = 'org.opencontainers.image.ref.name'
    const others = (await this.#readIndex(file)).filter(
      other => other.digest !== entry.digest && other.annotations?.[name] !== entry.annotations?.[name],
    )
    const index = {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [...others, entry],
    }
    await writeAtomically(join(this.#directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
    await writeAtomically(file, JSON.stringify(index, undefined, 2))
  }

  async #readIndex(file: string): Promise<IndexEntry[]> {
    try {
      const { manifests } = JSON.parse(await readFile(file, 'utf8')) as { manifests?: IndexEntry[] }
      return manifests ?? []
    } catch (error) {
      if (isMissing(error)) return []
      throw new Error(`${file} is there but is no OCI index`, { cause: error })
    }
  }

  #place(digest: Digest): string {
    const [algorithm, hex] = digest.split(':') as [string, string]
    return join(this.#directory, 'blobs', algorithm, hex)
  }
}

async function writeAtomically(file: string, text: string): Promise<void> {
  const partial = `${file}.${randomUUID()}.partial`
  await writeFile(partial, text)
  await rename(partial, file)
}
