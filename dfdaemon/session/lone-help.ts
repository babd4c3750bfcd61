// What a session does while no supernode helps: looks for holders and for others that seek the same, and shares the source's work with them.
import type { Bitfield } from '../../shared/bitfield.ts'
import type { Clock, Timer } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import type { Candidate, HostId } from '../../shared/protocol/messages.ts'
import type { ParentLink } from '../fetch/piece-fetcher.ts'
import type { ParentSet } from './parent-set.ts'
import type { SessionReaders } from './session-readers.ts'
import type { SourceRuns } from './source-runs.ts'
import { nextShare } from './source-shares.ts'

/** How long those who begin together have to find each other before one asks the source, in ms: longer while hosts are being reached. */
const GATHER_MS = 250
const GATHER_MS_MAX = 1000
/** Stalls (see stall-watch.ts) after which the next host in a part's order takes it from one that lets it wait. */
const STALLS_PER_RANK = 2
/** Fellow seekers remembered for one blob. */
const SEEKERS_MAX = 256

/** What a session asks of the rest of its host while no supernode helps. */
export interface HolderSearch {
  readonly self: HostId
  /** Where this host listens, for those that seek the same. */
  addresses(): readonly string[]
  /**
   * Tells hosts that may hold the blob, or seek it; `found` may be called several times until the signal aborts, also at once. `isStuck`: no
   * parent helps, so that the search is worth what it costs.
   */
  find(
    digest: Digest,
    found: (candidates: readonly Candidate[]) => void,
    signal: AbortSignal,
    isStuck: boolean,
  ): void
  /** Hashes of this blob may be told to others now that could not be before. */
  tellHashes(digest: Digest): void
}

/** For a host that knows nobody. */
export const noSearch: HolderSearch = { self: '', addresses: () => [], find() {}, tellHashes() {} }

export interface LoneHelpInit {
  readonly digest: Digest
  readonly signal: AbortSignal
  have(): Bitfield | undefined
  /** Pieces asked of parents and not landed. */
  isRequested(piece: number): boolean
  /** Pieces whose hash is known, so that a parent can be asked. */
  isKnown(piece: number): boolean
  /** True for hashes that rest on one parent's word. */
  isProvisional(piece: number): boolean
  readonly readers: Pick<SessionReaders, 'pieces' | 'isPartial' | 'missingRuns'>
}

export class LoneHelp {
  readonly #clock: Clock
  readonly #search: HolderSearch
  readonly #parents: ParentSet
  readonly #runs: SourceRuns
  readonly #init: LoneHelpInit
  readonly #seekers = new Set<HostId>()
  #gathering: Timer | undefined
  #searching: AbortController | undefined
  #stalls = 0

  constructor(
    components: { clock: Clock; search: HolderSearch; parents: ParentSet; runs: SourceRuns },
    init: LoneHelpInit,
  ) {
    this.#clock = components.clock
    this.#search = components.search
    this.#parents = components.parents
    this.#runs = components.runs
    this.#init = init
  }

  /** True between `begin` and `end`. */
  get isOn(): boolean {
    return this.#searching !== undefined
  }

  /** True if some parent holds something that is missing, and can be asked for it. */
  get isHopeful(): boolean {
    const have = this.#init.have()
    if (have === undefined) return false
    const links = this.#parents.live
    for (let piece = 0; piece < have.length; piece++)
      if (!have.has(piece) && this.#init.isKnown(piece) && links.some(link => link.have.has(piece)))
        return true
    return false
  }

  /** The supernode is away. */
  begin(): void {
    if (this.isOn || this.#init.signal.aborted) return
    this.#searching = new AbortController()
    this.#stalls = 0
    this.#parents.widen(true)
    for (const link of this.#parents.links) this.onLink(link)
    this.#look(this.#parents.links.length === 0)
    this.#gather(GATHER_MS_MAX)
  }

  /** It is back, or the session is over. */
  end(): void {
    this.#gathering?.cancel()
    this.#gathering = undefined
    this.#searching?.abort()
    this.#searching = undefined
    this.#parents.widen(false)
    this.#seekers.clear()
  }

  /** A parent's link came up. */
  onLink(link: ParentLink): void {
    if (this.isOn) link.alone(this.#search.addresses())
  }

  /** Others seek the same blob: they may come to hold it, and take their share of the source's work. */
  meet(seekers: readonly Candidate[]): void {
    if (!this.isOn) return
    const fresh = seekers.filter(({ host }) => host !== this.#search.self && !this.#seekers.has(host))
    for (const { host } of fresh) if (this.#seekers.size < SEEKERS_MAX) this.#seekers.add(host)
    this.#parents.add(fresh)
  }

  /** A piece landed. */
  noteProgress(): void {
    this.#stalls = 0
  }

  /** No progress for a while: looks for more hosts, and does more itself. */
  onStall(): void {
    this.#stalls++
    this.#look(true)
    this.help()
  }

  /** Takes this host's next share from the source, one at a time. */
  help(): void {
    const have = this.#init.have()
    this.helpReaders()
    const { readers } = this.#init
    if (!this.isOn || this.#gathering !== undefined || have === undefined || this.#runs.busy) return
    if (readers.isPartial) return
    const links = this.#parents.live
    // The hash of what a parent holds may be on its way; after a stall it is not waited for.
    const isOffered = (piece: number) =>
      this.#stalls < STALLS_PER_RANK &&
      (this.#stalls === 0 || this.#init.isKnown(piece)) &&
      links.some(link => link.have.has(piece))
    const run = nextShare({
      name: this.#init.digest,
      self: this.#search.self,
      seekers: links.map(link => link.host).filter(host => this.#seekers.has(host)),
      have,
      isElsewhere: piece => this.#init.isRequested(piece) || isOffered(piece),
      rankMax: Math.floor(this.#stalls / STALLS_PER_RANK),
      urgent: readers.pieces,
    })
    if (run !== undefined) this.#runs.queue([run], 'helpless')
  }

  /** Takes from the source what readers of ranges need and no parent can give: nobody else may ever fetch that. */
  helpReaders(): void {
    if (!this.isOn || this.#gathering !== undefined || this.#init.have() === undefined) return
    const links = this.#parents.live
    const isComing = (piece: number): boolean => {
      if (this.#runs.covers(piece) || this.#init.isRequested(piece)) return true
      // The hash may be on its way; a word that nobody confirms is of no use to a reader of a part.
      const isUsable = this.#init.isKnown(piece) ? !this.#init.isProvisional(piece) : this.#stalls === 0
      return isUsable && links.some(link => link.have.has(piece))
    }
    const runs = this.#init.readers.missingRuns(isComing)
    if (runs.length > 0) this.#runs.queue(runs, 'helpless', true)
  }

  /** A host that knows nobody goes straight to the source. */
  #gather(leftMs: number): void {
    const waitMs = this.#parents.hopeful ? GATHER_MS : 0
    this.#gathering = this.#clock.after(waitMs, () => {
      this.#gathering = undefined
      if (this.#parents.isConnecting && leftMs > GATHER_MS) this.#gather(leftMs - GATHER_MS)
      else this.help()
    })
  }

  #look(isStuck: boolean): void {
    const { digest } = this.#init
    const signal = this.#searching?.signal
    if (signal !== undefined)
      this.#search.find(
        digest,
        candidates => !signal.aborted && this.#parents.add(candidates),
        signal,
        isStuck,
      )
  }
}
