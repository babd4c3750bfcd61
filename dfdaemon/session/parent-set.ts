// The parents of one session: connects to candidates, keeps their links, gives up the bad ones. Does not choose pieces.
import type { Clock } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import { isPantalaError, toPantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { Geometry } from '../../shared/piece.ts'
import type { Candidate, HostId, ParentFault } from '../../shared/protocol/messages.ts'
import type { ParentLink, PieceFetcher } from '../fetch/piece-fetcher.ts'

/** Links held at once: more while no supernode says whose are worth it. And candidates remembered beyond them. */
const LINKS_MAX = 20
const LONE_LINKS_MAX = 32
const CANDIDATES_MAX = 64

/** How long a parent that was silent, gone or refused is left alone, in ms; a corrupt one is left for the whole session. */
const COOL_DOWN_MS = 2000

export interface ParentSetListener {
  /** A link came up. */
  onLink(link: ParentLink): void
  /** As in LinkListener, with the parent that says so. */
  onHashes(host: HostId, pieces: readonly number[], hashes: Uint8Array): void
  onOthers(others: readonly Candidate[]): void
  /** A link came up, or offers more. */
  onOffer(): void
  /** A parent would serve a request at once; true if it was given one. */
  onIdle(link: ParentLink): boolean
  /** A parent fell silent; it is kept, and may go on. */
  onStall(link: ParentLink): void
  /** A parent was given up; `fault` says why. */
  onFault(host: HostId, fault: ParentFault['fault'], error: Error): void
}

export class ParentSet {
  readonly #fetcher: PieceFetcher
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #listener: ParentSetListener
  readonly #digest: Digest
  readonly #geometry: Geometry
  readonly #signal: AbortSignal
  readonly #links = new Map<HostId, ParentLink>()
  readonly #connecting = new Set<HostId>()
  readonly #candidates = new Map<HostId, Candidate>()
  /** Host to the monotonic ms until which it is left alone. */
  readonly #shunned = new Map<HostId, number>()
  #linksMax = LINKS_MAX
  #closed = false

  constructor(
    components: { fetcher: PieceFetcher; clock: Clock; logger: Logger; listener: ParentSetListener },
    init: { digest: Digest; geometry: Geometry; signal: AbortSignal },
  ) {
    this.#fetcher = components.fetcher
    this.#clock = components.clock
    this.#logger = components.logger
    this.#listener = components.listener
    this.#digest = init.digest
    this.#geometry = init.geometry
    this.#signal = init.signal
  }

  /** Links that are up. */
  get links(): readonly ParentLink[] {
    return [...this.#links.values()]
  }

  /** Links that are up and have not stalled. */
  get live(): readonly ParentLink[] {
    return this.links.filter(link => link.stalled !== true)
  }

  /** True while a link is being made, or one is up that has not stalled. */
  get hopeful(): boolean {
    return this.#connecting.size > 0 || this.live.length > 0
  }

  get isConnecting(): boolean {
    return this.#connecting.size > 0
  }

  isSeed(host: HostId): boolean {
    return this.#candidates.get(host)?.seed === true
  }

  isBad(host: HostId): boolean {
    return (this.#shunned.get(host) ?? 0) > this.#clock.monotonic()
  }

  /** Adds what the supernode suggests; connects as far as there is room. */
  add(candidates: readonly Candidate[]): void {
    for (const candidate of candidates) {
      if (this.#candidates.size >= CANDIDATES_MAX && !this.#candidates.has(candidate.host)) continue
      this.#candidates.set(candidate.host, candidate)
    }
    this.#connectMore()
  }

  /** More links, or as many as usual; those that are up stay. */
  widen(wide: boolean): void {
    this.#linksMax = wide ? LONE_LINKS_MAX : LINKS_MAX
    this.#connectMore()
  }

  /** Leaves parents that the supernode withdrew. */
  drop(hosts: readonly HostId[]): void {
    for (const host of hosts) {
      this.#candidates.delete(host)
      this.#links.get(host)?.close()
      this.#links.delete(host)
    }
    this.#connectMore()
  }

  /** Gives a parent up after a fault the session saw itself. */
  giveUp(host: HostId, error: Error): void {
    const link = this.#links.get(host)
    if (link === undefined) return
    this.#links.delete(host)
    link.close()
    this.#noteFault(host, error)
  }

  close(): void {
    this.#closed = true
    for (const link of this.#links.values()) link.close()
    this.#links.clear()
    this.#candidates.clear()
  }

  #connectMore(): void {
    if (this.#closed) return
    for (const candidate of this.#candidates.values()) {
      if (this.#links.size + this.#connecting.size >= this.#linksMax) return
      const { host } = candidate
      if (this.#links.has(host) || this.#connecting.has(host) || this.isBad(host)) continue
      this.#connecting.add(host)
      void this.#connect(candidate)
    }
  }

  async #connect(candidate: Candidate): Promise<void> {
    const { host } = candidate
    let link: ParentLink | undefined
    let up = true
    try {
      link = await this.#fetcher.connect(
        candidate,
        this.#digest,
        this.#geometry,
        {
          onHave: () => {
            if (up) this.#listener.onOffer()
          },
          onHashes: (pieces, hashes) => {
            if (up) this.#listener.onHashes(host, pieces, hashes)
          },
          onOthers: others => {
            if (up) this.#listener.onOthers(others)
          },
          onStall: stalled => {
            if (!up || link === undefined || this.#links.get(host) !== link) return
            if (stalled) this.#listener.onStall(link)
            else this.#listener.onOffer()
          },
          onIdle: () => {
            const isOurs = up && link !== undefined && this.#links.get(host) === link
            return isOurs && this.#listener.onIdle(link!)
          },
          onClose: error => {
            up = false
            if (link === undefined || this.#links.get(host) !== link) return
            this.#links.delete(host)
            this.#noteFault(host, error)
          },
        },
        this.#signal,
      )
      this.#connecting.delete(host)
      if (!up) {
        this.#connectMore()
        return
      }
      if (this.#closed || !this.#candidates.has(host)) {
        link.close()
        return
      }
      this.#links.set(host, link)
      this.#listener.onLink(link)
      this.#listener.onOffer()
    } catch (error) {
      this.#connecting.delete(host)
      if (!this.#closed && !this.#signal.aborted) this.#noteFault(host, toPantalaError(error, 'PARENT_GONE'))
    }
  }

  #noteFault(host: HostId, error: Error): void {
    if (this.#closed) return
    const fault = faultOf(error)
    this.#candidates.delete(host)
    const shunMs = fault === 'corrupt' ? Number.POSITIVE_INFINITY : COOL_DOWN_MS
    this.#shunned.set(host, this.#clock.monotonic() + shunMs)
    this.#logger.debug({ host, fault, digest: this.#digest, err: error.message }, 'parent given up')
    this.#listener.onFault(host, fault, error)
    this.#connectMore()
  }
}

function faultOf(error: Error): ParentFault['fault'] {
  if (!isPantalaError(error)) return 'gone'
  switch (error.code) {
    case 'PIECE_CORRUPT':
      return 'corrupt'
    case 'PARENT_SILENT':
      return 'silent'
    case 'PARENT_UNREACHABLE':
      return 'unreachable'
    case 'PARENT_REFUSED':
      return 'refused'
    case 'PARENT_PROTOCOL':
      return 'protocol'
    default:
      return 'gone'
  }
}
