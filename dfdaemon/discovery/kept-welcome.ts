// Keeps what the supernode last said of this host's admission and of its neighbours, so that a start while it is away is no start alone.
import { readFile, rename, stat, writeFile } from 'node:fs/promises'
import type { Logger } from '../../shared/logger.ts'
import type { Candidate } from '../../shared/protocol/messages.ts'
import { readCandidates } from './read-candidates.ts'

/** A larger file is none of ours, in bytes. */
const FILE_BYTES_MAX = 256 * 1024
/** The file is written at most this often, in ms; and at the end. */
const WRITE_MS = 5_000

export interface KeptWelcome {
  /** Of no use without this host's identity, which lies beside it. */
  readonly ticket: Uint8Array | undefined
  readonly neighbours: readonly Candidate[]
  /** How far the supernode's clock was ahead of this host's, in ms. */
  readonly aheadMs: number
}

const nothing: KeptWelcome = { ticket: undefined, neighbours: [], aheadMs: 0 }

/** What was kept; nothing if there is none, or it can't be read. */
export async function loadWelcome(file: string): Promise<KeptWelcome> {
  try {
    if ((await stat(file)).size > FILE_BYTES_MAX) return nothing
    const kept: unknown = JSON.parse(await readFile(file, 'utf8'))
    if (typeof kept !== 'object' || kept === null) return nothing
    const { ticket, neighbours, aheadMs } = kept as Record<string, unknown>
    return {
      ticket: typeof ticket === 'string' && ticket !== '' ? Buffer.from(ticket, 'base64') : undefined,
      neighbours: readCandidates(neighbours),
      aheadMs: typeof aheadMs === 'number' && Number.isFinite(aheadMs) ? aheadMs : 0,
    }
  } catch {
    return nothing
  }
}

/** Writes the newest welcome, one write at a time. Failures are logged: it is a help, not a need. */
export class WelcomeKeeper {
  readonly #logger: Logger
  readonly #file: string
  #latest: KeptWelcome | undefined
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> = Promise.resolve()

  constructor(components: { logger: Logger }, init: { file: string }) {
    this.#logger = components.logger
    this.#file = init.file
  }

  keep(welcome: KeptWelcome): void {
    this.#latest = welcome
    this.#timer ??= setTimeout(() => this.#flush(), WRITE_MS)
    this.#timer.unref()
  }

  /** Writes what is not written yet. */
  async stop(): Promise<void> {
    this.#flush()
    await this.#writing
  }

  #flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const welcome = this.#latest
    this.#latest = undefined
    if (welcome !== undefined) this.#writing = this.#writing.then(() => this.#write(welcome))
  }

  async #write({ ticket, neighbours, aheadMs }: KeptWelcome): Promise<void> {
    const made = `${this.#file}.new`
    const text = JSON.stringify({
      ticket: ticket === undefined ? '' : Buffer.from(ticket).toString('base64'),
      neighbours,
      aheadMs,
    })
    try {
      await writeFile(made, text, { mode: 0o600 })
      await rename(made, this.#file)
    } catch (error) {
      this.#logger.warn({ err: error, file: this.#file }, 'what the supernode said could not be kept')
    }
  }
}
