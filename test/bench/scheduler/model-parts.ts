// Hosts, tasks and sessions of the simulated swarm, and their links: an uplink and a downlink per host, each sending one piece after another.
import { LinkWindow } from '../../../dfdaemon/session/link-window.ts'
import type { FirstCopies, SeedDealing } from '../../../dfdaemon/upload/seed-dealing.ts'
import type { Digest } from '../../../shared/digest.ts'
import { pieceCount, pieceLength, pieceSizeFor } from '../../../shared/piece.ts'
import type { HostId } from '../../../shared/protocol/messages.ts'

export const ABSENT = 0
export const ASKED = 1
export const HELD = 2

/** As in the product: pieces that a host sends at the same time, and bytes asked of one link, at most. */
export const UPLOAD_SLOTS = 16
const LINK_WINDOW_BYTES = 12 * 2 ** 20
/** Time that bytes are under way beside the time links take for them, in ms. */
const LATENCY_MS = 0.5

export class ModelTask {
  readonly index: number
  readonly digest: Digest
  readonly size: number
  readonly pieceSize: number
  readonly pieces: number
  /** Pieces whose hash the hosts know. */
  readonly hashed: Uint8Array
  /** What a host that holds all of it has. */
  readonly full: Uint8Array
  readonly wanting = new Set<ModelSession>()

  constructor(index: number, size: number) {
    this.index = index
    this.digest = `sha256:${index.toString(16).padStart(64, '0')}`
    this.size = size
    this.pieceSize = pieceSizeFor(size)
    this.pieces = pieceCount(this)
    this.hashed = new Uint8Array(this.pieces)
    this.full = new Uint8Array(this.pieces).fill(HELD)
  }

  bytesOf(piece: number): number {
    return pieceLength(this, piece)
  }
}

export class ModelHost {
  readonly index: number
  readonly id: HostId
  readonly seed: boolean
  /** Bytes per ms. */
  readonly upRate: number
  readonly downRate: number
  readonly sessions = new Map<ModelTask, ModelSession>()
  /** Layers still to be pulled, in order, and how many are being pulled. */
  readonly queue: ModelTask[] = []
  pulling = 0
  /** Virtual ms; -1: not yet. */
  startedAt = -1
  finishedAt = -1
  boundMs = 0
  bytesUp = 0
  reportDue = false
  readonly unreported = new Set<ModelSession>()
  /** Links with requests that wait for a slot, and those that have one, in the order of their turns. */
  readonly line: ModelLink[] = []
  readonly sending: ModelLink[] = []
  uplinkBusy = false
  /** Of a seed: what it has to give out for the first time. */
  copies: FirstCopies | undefined
  #downFree = 0
  #sourceFree = 0

  constructor(init: { index: number; id: HostId; seed: boolean; upRate: number; downRate: number }) {
    this.index = init.index
    this.id = init.id
    this.seed = init.seed
    this.upRate = init.upRate
    this.downRate = init.downRate
  }

  /** When `bytes` asked of the source now are here, in virtual ms. */
  fetchFromSource(bytes: number, sourceRate: number, now: number): number {
    this.#sourceFree = Math.max(now, this.#sourceFree) + bytes / sourceRate
    return this.take(this.#sourceFree, bytes)
  }

  /** When bytes are here whose last left their sender at `sentAt`. */
  take(sentAt: number, bytes: number): number {
    this.#downFree = Math.max(sentAt, this.#downFree + bytes / this.downRate)
    return this.#downFree + LATENCY_MS
  }
}

/** What one child asked of one parent. */
export class ModelLink {
  readonly child: ModelSession
  readonly parent: ModelSession
  /** Pieces asked for and not begun. */
  readonly queue: number[] = []
  /** Asked for and not landed. */
  pending = 0
  inLine = false
  open = true
  /** How many pieces may be asked for at a time, as the product counts it. */
  readonly window: LinkWindow
  /** Of a seed's link: pieces that the child was told of. */
  readonly told: Uint8Array | undefined
  /** The piece that is being sent, and bytes of it that have not left. */
  sending = -1
  left = 0
  /** When a piece last went out, or the first was asked for. */
  servedAt = 0

  constructor(child: ModelSession, parent: ModelSession) {
    this.child = child
    this.parent = parent
    this.window = new LinkWindow({
      piecesMin: parent.host.seed ? 2 : 1,
      piecesMax: Math.max(2, Math.floor(LINK_WINDOW_BYTES / child.task.pieceSize)),
    })
    this.told = parent.host.seed ? parent.state.map(state => (state === HELD ? 1 : 0)) : undefined
  }

  /** True if the child knows that the parent holds the piece. */
  offers(piece: number): boolean {
    return this.parent.state[piece] === HELD && (this.told === undefined || this.told[piece] === 1)
  }
}

/** One host's part in one task. */
export class ModelSession {
  readonly host: ModelHost
  readonly task: ModelTask
  /** ABSENT, ASKED or HELD by piece. */
  state: Uint8Array
  /** When each piece was asked for, while it is asked for. */
  askedAt: Float64Array | undefined
  held = 0
  asked = 0
  wants = false
  /** Has room for more requests, but no parent had anything. */
  hungry = false
  /** Links to parents, and those of children. */
  readonly parents: ModelLink[] = []
  readonly children = new Set<ModelLink>()
  /** Of a seed: to whom its fresh pieces go. */
  dealing: SeedDealing<ModelLink> | undefined
  readonly landed: number[] = []
  landedFromSource = 0
  readonly landedFrom = new Map<HostId, number>()

  constructor(host: ModelHost, task: ModelTask) {
    this.host = host
    this.task = task
    this.state = new Uint8Array(task.pieces)
  }
}
