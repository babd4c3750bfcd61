// Everything that helps a host find others while no supernode answers: the hosts it knows, what it keeps of them over a restart, and the DHT.
import type { Clock, Timer } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import type { Logger } from '../../shared/logger.ts'
import { clockAheadMs } from '../../shared/protocol/admission.ts'
import { type Candidate, type HostId, NEIGHBOURS_MAX, type Welcome } from '../../shared/protocol/messages.ts'
import { KadDirectory } from './kad-directory.ts'
import type { KadComponents } from './kad-guard.ts'
import { type KeptWelcome, loadWelcome, WelcomeKeeper } from './kept-welcome.ts'
import { Neighbours } from './neighbours.ts'

/** The DHT is joined when the supernode has been away for this long, in ms: half of it random, since all hosts lose it at once. */
const JOIN_AFTER_MS = 4_000
/**
 * Later where pulls are running that get on with the parents they have: joining costs work just when they have to do without the supernode. No later
 * than this, since others look for what is here.
 */
const JOIN_BUSY_MS = 20_000
/** It is left when the supernode has been back for this long, in ms. */
const LEAVE_AFTER_MS = 60_000

export interface DiscoveryComponents {
  readonly libp2p: KadComponents
  readonly clock: Clock
  readonly logger: Logger
  random(): number
  /** True for hosts whose ticket was found good; may wait a moment for it. */
  admits(host: HostId): Promise<boolean>
  /** Shows this host's ticket to another. */
  greet(candidate: Candidate): Promise<void>
  /** Blobs held in whole or in part, those used last at the end. */
  hot(): Iterable<Digest>
}

export interface DiscoveryInit {
  readonly self: HostId
  /** Where the last welcome is kept. */
  readonly file: string
}

export class Discovery {
  readonly kept: KeptWelcome
  readonly #c: DiscoveryComponents
  readonly #neighbours: Neighbours
  readonly #keeper: WelcomeKeeper
  readonly #directory: KadDirectory
  #turn: { readonly timer: Timer; readonly to: 'join' | 'leave' } | undefined
  /** When the supernode was last seen to be away, monotonic ms; undefined while it is there. */
  #awayAt: number | undefined
  /** Whether sessions get on without help: unknown until one says so. */
  #sessions: 'unknown' | 'get on' | 'are stuck' = 'unknown'
  #stopped = false

  private constructor(components: DiscoveryComponents, init: DiscoveryInit, kept: KeptWelcome) {
    this.#c = components
    this.kept = kept
    this.#neighbours = new Neighbours(components, { self: init.self })
    this.#neighbours.learn(kept.neighbours)
    this.#keeper = new WelcomeKeeper(components, { file: init.file })
    this.#directory = new KadDirectory({
      ...components,
      // Those that it was told of were admitted by the supernode.
      admits: async host => this.#neighbours.has(host) || (await components.admits(host)),
      greet: host =>
        components.greet({ host, addresses: [], seed: false }).catch(error => {
          components.logger.debug({ host, err: error }, 'a host of the DHT was not greeted')
        }),
    })
  }

  /** Reads what an earlier run kept. */
  static async load(components: DiscoveryComponents, init: DiscoveryInit): Promise<Discovery> {
    return new Discovery(components, init, await loadWelcome(init.file))
  }

  /** True while the DHT is joined. */
  get isJoined(): boolean {
    return this.#directory.isOpen
  }

  get knownHosts(): number {
    return this.#neighbours.size
  }

  onWelcome(welcome: Welcome): void {
    this.#awayAt = undefined
    this.#sessions = 'unknown'
    const { ticket, neighbours = [] } = welcome
    this.#neighbours.learn(neighbours)
    this.#keeper.keep({
      ticket,
      neighbours: this.#neighbours.newest(NEIGHBOURS_MAX),
      aheadMs: clockAheadMs(welcome, this.#c.clock.now()),
    })
    this.#plan('leave', LEAVE_AFTER_MS, () => void this.#directory.close())
  }

  onAway(): void {
    this.#awayAt ??= this.#c.clock.monotonic()
    this.#plan('join', this.#joinDelayMs(), () => this.#join())
  }

  /** Hosts that may hold the blob, or seek it: those known at once, those of the DHT as they are found. This host is to be found, too. */
  find(
    digest: Digest,
    found: (candidates: readonly Candidate[]) => void,
    signal: AbortSignal,
    isStuck: boolean,
  ): void {
    found(this.#neighbours.toAsk(digest))
    this.#noteSession(isStuck)
    if (!this.#directory.isOpen) return
    this.#directory.provide(digest)
    void this.#directory.find(digest, found, signal)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#turn?.timer.cancel()
    await this.#keeper.stop()
    await this.#directory.close()
  }

  #joinDelayMs(): number {
    const afterMs = this.#sessions === 'get on' ? JOIN_BUSY_MS : JOIN_AFTER_MS
    const sinceMs = this.#c.clock.monotonic() - (this.#awayAt ?? 0)
    return Math.max(0, afterMs * (0.5 + this.#c.random() / 2) - sinceMs)
  }

  /** One that is stuck counts more than all that get on. */
  #noteSession(isStuck: boolean): void {
    const sessions = isStuck ? 'are stuck' : 'get on'
    if (this.#stopped || this.#sessions === 'are stuck' || this.#sessions === sessions) return
    this.#sessions = sessions
    if (this.#turn?.to !== 'join' || this.#directory.isOpen) return
    this.#turn.timer.cancel()
    this.#turn = { to: 'join', timer: this.#c.clock.after(this.#joinDelayMs(), () => this.#join()) }
  }

  #join(): void {
    this.#directory.open(this.#neighbours.newest(NEIGHBOURS_MAX))
    for (const digest of this.#c.hot()) this.#directory.provide(digest)
  }

  /** The later news counts; the same news again changes nothing. */
  #plan(to: 'join' | 'leave', delayMs: number, act: () => void): void {
    if (this.#stopped || this.#turn?.to === to) return
    this.#turn?.timer.cancel()
    this.#turn = { to, timer: this.#c.clock.after(delayMs, act) }
  }
}
