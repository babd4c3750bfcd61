// Keeps manifest bodies by task key and public tags on disk (level), bounded in bytes. Knows nothing of sources or rights, and no secret.
import { mkdir, rm } from 'node:fs/promises'
import { Level } from 'level'
import { ByteLru } from '../../shared/byte-lru.ts'
import { type Digest, digestAlgorithm, digestOf, isDigest } from '../../shared/digest.ts'
import { toPantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { contentOf, isTaskKey, type TaskKey } from '../../shared/task-key.ts'

/** Bodies held in memory in front of the disk, in bytes. */
const MEMORY_BYTES_MAX = 8 * 1024 * 1024
const BODIES_MAX = 50_000
const TAGS_MAX = 20_000
/** Writes that wait for the disk; beyond it the disk is not told, and the memory serves until it forgets. */
const WRITES_WAITING_MAX = 1_024

export interface StoredManifest {
  readonly mediaType: string
  readonly body: Uint8Array
}

/** What a tag pointed to, and when the source said so (ms since 1970). */
export interface StoredTag {
  readonly digest: Digest
  readonly mediaType: string
  readonly at: number
}

type Write = { type: 'put'; key: string; value: Uint8Array } | { type: 'del'; key: string }

interface IndexEntry {
  readonly mediaType: string
  readonly bytes: number
}

export class ManifestStore {
  readonly #logger: Logger
  readonly #directory: string
  readonly #cacheBytesMax: number
  readonly #memory = new ByteLru<Digest, Uint8Array>({ bytesMax: MEMORY_BYTES_MAX, entriesMax: BODIES_MAX })
  /** All bodies on disk, least recently used first. */
  readonly #index = new Map<Digest, IndexEntry>()
  /** Names of tags on disk, oldest first. */
  readonly #tagNames = new Set<string>()
  #bytes = 0
  #database: Level<string, Uint8Array> | undefined
  #writing: Promise<void> = Promise.resolve()
  #waiting: Write[] = []

  constructor(
    components: { readonly logger: Logger },
    init: { readonly directory: string; readonly cacheBytesMax: number },
  ) {
    this.#logger = components.logger
    this.#directory = init.directory
    this.#cacheBytesMax = init.cacheBytesMax
  }

  /** Bytes of bodies on disk. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * Opens the database and tells every tag kept; a corrupt one is removed, with a warning.
   * @throws PantalaError DATA_DIR_UNUSABLE
   */
  async start(onTag: (name: string, tag: StoredTag) => void): Promise<void> {
    try {
      await mkdir(this.#directory, { recursive: true })
      await this.#open(onTag)
    } catch (error) {
      await this.#database?.close().catch(() => {})
      const cause = (error as Error).cause as (Error & { code?: string }) | undefined
      if (cause?.code !== 'LEVEL_CORRUPTION' && (error as { code?: string }).code !== 'LEVEL_CORRUPTION')
        throw toPantalaError(
          error,
          'DATA_DIR_UNUSABLE',
          `${this.#directory}: ${cause?.message ?? String(error)}`,
        )
      this.#logger.warn(
        { err: error, directory: this.#directory },
        'manifests on disk are corrupt, starting without',
      )
      this.#index.clear()
      this.#tagNames.clear()
      this.#bytes = 0
      await rm(this.#directory, { recursive: true, force: true })
      await this.#open(onTag)
    }
  }

  /** Waits for writes under way. */
  async stop(): Promise<void> {
    await this.#writing
    await this.#database?.close()
    this.#database = undefined
  }

  has(digest: TaskKey): boolean {
    return this.#index.has(digest)
  }

  /** A body with its media type; undefined if it is not held or no longer what it was. */
  async get(digest: TaskKey): Promise<StoredManifest | undefined> {
    const entry = this.#index.get(digest)
    if (entry === undefined) return undefined
    this.#index.delete(digest)
    this.#index.set(digest, entry)
    const inMemory = this.#memory.get(digest)
    if (inMemory !== undefined) return { mediaType: entry.mediaType, body: inMemory }
    const body = await this.#database?.get(`b ${digest}`).catch(() => undefined)
    if (body === undefined || digestOf(body, digestAlgorithm(digest)) !== contentOf(digest)) {
      this.#logger.warn({ digest }, 'a manifest on disk is gone or corrupt')
      this.#forget(digest)
      return undefined
    }
    this.#memory.set(digest, body, body.byteLength)
    return { mediaType: entry.mediaType, body }
  }

  /** Keeps a body, whose digest the caller checked; a new media type replaces the old. */
  put(digest: TaskKey, manifest: StoredManifest): void {
    const { mediaType } = manifest
    // A body of its own: the one given may be a view that keeps a whole network frame alive.
    const body = Uint8Array.from(manifest.body)
    const known = this.#index.get(digest)
    this.#memory.set(digest, body, body.byteLength)
    if (known?.mediaType === mediaType || body.byteLength > this.#cacheBytesMax) return
    this.#bytes += body.byteLength - (known?.bytes ?? 0)
    this.#index.delete(digest)
    this.#index.set(digest, { mediaType, bytes: body.byteLength })
    if (known === undefined) this.#write({ type: 'put', key: `b ${digest}`, value: body })
    this.#write({ type: 'put', key: `m ${digest}`, value: encode({ mediaType, bytes: body.byteLength }) })
    for (const oldest of this.#index.keys()) {
      if (this.#bytes <= this.#cacheBytesMax && this.#index.size <= BODIES_MAX) break
      this.#forget(oldest)
    }
  }

  /** Keeps a tag that anyone may see. */
  putTag(name: string, tag: StoredTag): void {
    this.#tagNames.delete(name)
    this.#tagNames.add(name)
    this.#write({ type: 'put', key: `t ${name}`, value: encode(tag) })
    if (this.#tagNames.size > TAGS_MAX) this.deleteTag(this.#tagNames.values().next().value!)
  }

  deleteTag(name: string): void {
    if (this.#tagNames.delete(name)) this.#write({ type: 'del', key: `t ${name}` })
  }

  async #open(onTag: (name: string, tag: StoredTag) => void): Promise<void> {
    const database = new Level<string, Uint8Array>(this.#directory, { valueEncoding: 'view' })
    this.#database = database
    await database.open()
    for await (const [key, value] of database.iterator({ gte: 'm ', lt: 'm!' })) {
      const digest = key.slice(2)
      const { mediaType, bytes } = decode(value)
      if (!isTaskKey(digest) || typeof mediaType !== 'string' || typeof bytes !== 'number') continue
      this.#index.set(digest, { mediaType, bytes })
      this.#bytes += bytes
    }
    for await (const key of database.keys({ gte: 'b ', lt: 'b!' }))
      if (!this.#index.has(key.slice(2) as Digest)) this.#write({ type: 'del', key })
    for await (const [key, value] of database.iterator({ gte: 't ', lt: 't!' })) {
      const { digest, mediaType, at } = decode(value)
      if (
        typeof digest !== 'string' ||
        !isDigest(digest) ||
        typeof mediaType !== 'string' ||
        typeof at !== 'number'
      )
        continue
      this.#tagNames.add(key.slice(2))
      onTag(key.slice(2), { digest, mediaType, at })
    }
  }

  #forget(digest: Digest): void {
    const entry = this.#index.get(digest)
    if (entry === undefined) return
    this.#index.delete(digest)
    this.#memory.delete(digest)
    this.#bytes -= entry.bytes
    for (const key of [`m ${digest}`, `b ${digest}`]) this.#write({ type: 'del', key })
  }

  #write(write: Write): void {
    // A put that is dropped costs a fetch later; a delete must not be lost.
    if (write.type === 'put' && this.#waiting.length >= WRITES_WAITING_MAX) return
    this.#waiting.push(write)
    if (this.#waiting.length > 1) return
    this.#writing = this.#writing.then(async () => {
      const writes = this.#waiting
      this.#waiting = []
      await this.#database
        ?.batch(writes)
        .catch(error => this.#logger.error({ err: error }, 'manifests were not written to disk'))
    })
  }
}

function encode(record: object): Uint8Array {
  return Buffer.from(JSON.stringify(record))
}

function decode(value: Uint8Array): Record<string, unknown> {
  try {
    const record: unknown = JSON.parse(Buffer.from(value).toString('utf8'))
    return typeof record === 'object' && record !== null ? (record as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}
