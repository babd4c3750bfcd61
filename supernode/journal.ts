// Keeps on disk which tasks there are and their piece hashes, so that a restart knows them; who holds what is told anew by the hosts.
import { mkdir, rm } from 'node:fs/promises'
import { decode, encode } from 'cborg'
import { Level } from 'level'
import { Bitfield } from '../shared/bitfield.ts'
import type { Clock, Timer } from '../shared/clock.ts'
import type { Digest } from '../shared/digest.ts'
import { toPantalaError } from '../shared/errors.ts'
import type { Logger } from '../shared/logger.ts'
import { isSoundGeometry, PIECE_HASH_BYTES, pieceCount } from '../shared/piece.ts'
import { PIECES_MAX } from '../shared/protocol/limits.ts'
import { isTaskKey } from '../shared/task-key.ts'
import type { EventSink } from './outbox.ts'
import type { ClusterState } from './state/cluster-state.ts'
import type { StateEvent } from './state/events.ts'
import type { Task } from './state/task.ts'

/** Changes gather for this long before they are written, in ms: what a crash may lose, and hosts then report again. */
const FLUSH_MS = 200
/** Tasks written in one batch. */
const BATCH_TASKS_MAX = 256
/** Format of the entries; others are left out on reading. */
const FORMAT = 1

interface Entry {
  readonly format: number
  readonly size: number
  readonly pieceSize: number
  readonly registry?: string
  readonly repository?: string
  readonly hashed: Uint8Array
  readonly hashes: Uint8Array
}

type Database = Level<string, Uint8Array>

export class Journal implements EventSink {
  readonly #directory: string
  readonly #state: ClusterState
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #dirty = new Set<Digest>()
  #database: Database | undefined
  #timer: Timer | undefined
  #writing: Promise<void> = Promise.resolve()

  constructor(
    components: { state: ClusterState; clock: Clock; logger: Logger },
    init: { directory: string },
  ) {
    this.#state = components.state
    this.#clock = components.clock
    this.#logger = components.logger
    this.#directory = init.directory
  }

  /**
   * Opens the journal and puts its tasks into the state; `settleMs` is how long their holders have to come back. A corrupt journal is
   * removed, with a warning, and the start goes on without.
   * @returns how many tasks were read
   * @throws PantalaError DATA_DIR_UNUSABLE
   */
  async start(settleMs: number): Promise<number> {
    await mkdir(this.#directory, { recursive: true }).catch(error => {
      throw toPantalaError(error, 'DATA_DIR_UNUSABLE', (error as Error).message)
    })
    try {
      this.#database = await openDatabase(this.#directory)
      return await this.#restore(this.#database, settleMs)
    } catch (error) {
      // Held by another process, or not ours to open: no reason to remove anything.
      if (!isCorruption(error)) {
        await this.#database?.close().catch(() => {})
        const cause = (error as Error).cause as Error | undefined
        throw toPantalaError(
          error,
          'DATA_DIR_UNUSABLE',
          `${this.#directory}: ${cause?.message ?? String(error)}`,
        )
      }
      this.#logger.warn({ err: error, directory: this.#directory }, 'journal is corrupt, starting without it')
      await this.#database?.close().catch(() => {})
      await rm(this.#directory, { recursive: true, force: true })
      this.#database = await openDatabase(this.#directory)
      return 0
    }
  }

  async stop(): Promise<void> {
    this.#timer?.cancel()
    await this.#writing
    while (this.#dirty.size > 0) await this.#write()
    await this.#database?.close()
    this.#database = undefined
  }

  /** Notes which task an event changed; what is written is the task as it is then. */
  record(event: StateEvent): void {
    switch (event.type) {
      case 'task-known':
      case 'hashes-known':
      case 'task-reset':
      case 'task-forgotten':
        this.#dirty.add(event.digest)
        this.#writeLater()
        return
    }
  }

  #writeLater(): void {
    if (this.#timer !== undefined || this.#database === undefined) return
    this.#timer = this.#clock.after(FLUSH_MS, () => {
      this.#writing = this.#write()
        .catch(error => this.#logger.error({ err: error }, 'journal was not written'))
        .finally(() => {
          this.#timer = undefined
          if (this.#dirty.size > 0) this.#writeLater()
        })
    })
  }

  async #write(): Promise<void> {
    const digests = [...this.#dirty].slice(0, BATCH_TASKS_MAX)
    for (const digest of digests) this.#dirty.delete(digest)
    const { tasks } = this.#state
    await this.#database!.batch(
      digests.map(digest => {
        const task = tasks.get(digest)
        return task === undefined
          ? { type: 'del' as const, key: digest }
          : { type: 'put' as const, key: digest, value: encodeTask(task) }
      }),
    )
  }

  async #restore(database: Database, settleMs: number): Promise<number> {
    const at = this.#clock.monotonic()
    let count = 0
    let wrong = 0
    for await (const [digest, value] of database.iterator()) {
      const entry = decodeEntry(value)
      if (!isTaskKey(digest) || entry === undefined) {
        wrong++
        continue
      }
      const { size, pieceSize, registry, repository, hashed, hashes } = entry
      const settleUntil = at + settleMs
      this.#state.apply({
        type: 'task-known',
        digest,
        size,
        pieceSize,
        registry,
        repository,
        at,
        settleUntil,
      })
      const pieces = [...new Bitfield(pieceCount(entry), hashed).pieces()]
      if (pieces.length > 0) this.#state.apply({ type: 'hashes-known', digest, pieces, hashes })
      count++
    }
    if (wrong > 0) this.#logger.warn({ entries: wrong }, 'journal entries were left out as malformed')
    return count
  }
}

async function openDatabase(directory: string): Promise<Database> {
  const database: Database = new Level(directory, { keyEncoding: 'utf8', valueEncoding: 'view' })
  await database.open()
  return database
}

/** True for what LevelDB says of torn or missing files, or of bytes that fail its checksums. */
function isCorruption(error: unknown): boolean {
  for (let inner = error; inner instanceof Error; inner = inner.cause)
    if (
      (inner as { code?: string }).code === 'LEVEL_CORRUPTION' ||
      /corruption|no such file|missing files/i.test(inner.message)
    )
      return true
  return false
}

function encodeTask(task: Task): Uint8Array {
  const { size, pieceSize, registry, repository } = task
  const entry: Entry = {
    format: FORMAT,
    size,
    pieceSize,
    registry,
    repository,
    hashed: task.hashed.bytes,
    hashes: task.packHashes(),
  }
  return encode(entry, { ignoreUndefinedProperties: true })
}

function decodeEntry(value: Uint8Array): Entry | undefined {
  let entry: Entry
  try {
    entry = decode(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))
  } catch {
    return undefined
  }
  if (entry?.format !== FORMAT || !isSoundGeometry(entry) || pieceCount(entry) > PIECES_MAX) return undefined
  if (!(entry.hashed instanceof Uint8Array) || !(entry.hashes instanceof Uint8Array)) return undefined
  if (entry.hashed.byteLength !== Math.ceil(pieceCount(entry) / 8)) return undefined
  const count = new Bitfield(pieceCount(entry), entry.hashed).count
  return entry.hashes.byteLength === count * PIECE_HASH_BYTES ? entry : undefined
}
