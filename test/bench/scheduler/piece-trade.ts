// How simulated hosts move pieces: children ask as the product's sessions do, parents send a few pieces at a time, one to a child, as slots come free.
import { FirstCopies, SEED_DEALING, SeedDealing } from '../../../dfdaemon/upload/seed-dealing.ts'
import type { Clock } from '../../../shared/clock.ts'
import {
  ABSENT,
  ASKED,
  HELD,
  type ModelHost,
  ModelLink,
  type ModelSession,
  UPLOAD_SLOTS,
} from './model-parts.ts'

/** As in the product: pieces asked for of one session, when a request is taken elsewhere, when a parent is given up. */
const ASKED_MAX = 16
const SECOND_ASK_MS = 1500
const QUEUE_WAIT_MS = 3000
/** Parts of a piece that the children with slots get in turn. */
const PARTS = 4

export type TradeEvent =
  | { readonly type: 'sent'; readonly host: ModelHost }
  | { readonly type: 'timer'; call: (() => void) | undefined }
  | {
      readonly type: 'piece'
      readonly child: ModelSession
      readonly link: ModelLink | undefined
      readonly piece: number
    }

/** Where what happens later is put down. */
interface Agenda {
  push(at: number, event: TradeEvent): void
}

export interface TradeListener {
  /** A piece is there; `from` is undefined for the source. */
  onLanded(session: ModelSession, piece: number, from: ModelHost | undefined): void
  /** The parent let the child wait too long. */
  onRefused(session: ModelSession, parent: ModelHost): void
}

export class PieceTrade {
  readonly #queue: Agenda
  readonly #random: () => number
  readonly #listener: TradeListener
  /** Virtual time, for the product's own parts. */
  readonly #clock: Clock
  #now = 0

  constructor(components: { queue: Agenda; random: () => number; listener: TradeListener }) {
    this.#queue = components.queue
    this.#random = components.random
    this.#listener = components.listener
    this.#clock = {
      now: () => this.#now,
      monotonic: () => this.#now,
      after: (delayMs, call) => {
        const event: Extract<TradeEvent, { type: 'timer' }> = { type: 'timer', call }
        this.#queue.push(this.#now + delayMs, event)
        return {
          cancel: () => {
            event.call = undefined
          },
        }
      },
    }
  }

  addParent(child: ModelSession, parent: ModelSession): void {
    if (child.parents.some(link => link.parent === parent)) return
    const link = new ModelLink(child, parent)
    child.parents.push(link)
    parent.children.add(link)
    if (parent.dealing !== undefined) this.#withhold(parent.dealing, link)
  }

  /** What a seed holds back for others a newcomer does not hear of yet, but for what it is dealt at once. */
  #withhold(dealing: SeedDealing<ModelLink>, link: ModelLink): void {
    const dealt = link.told!
    const held = dealt.slice()
    dealt.fill(0)
    const withheld = new Set(dealing.onNewcomer(link))
    held.forEach((isHeld, piece) => {
      if (!withheld.has(piece)) dealt[piece] = isHeld
    })
  }

  /** Ends a link; what was asked of it and not begun is asked of others later. */
  leave(link: ModelLink): void {
    const { child, parent } = link
    link.open = false
    parent.children.delete(link)
    const index = child.parents.indexOf(link)
    if (index >= 0) child.parents.splice(index, 1)
    parent.dealing?.onGone(link)
    for (const piece of link.queue) this.#unask(child, piece)
    link.queue.length = 0
  }

  leaveAll(child: ModelSession): void {
    for (const link of [...child.parents]) this.leave(link)
  }

  /** Asks the parents that have most room until there is no room or nothing to ask for; a seed first for what no other has, and last for the rest. */
  ask(child: ModelSession, now: number): void {
    child.hungry = false
    for (const pass of ['rare', 'others', 'seeds'] as const) {
      const links = child.parents.filter(link => (pass === 'others') !== link.parent.host.seed)
      while (child.asked < ASKED_MAX && links.length > 0) {
        const at = this.#roomiest(links)
        const link = links[at]!
        const piece = link.pending >= link.window.pieces ? -1 : this.#pick(child, link, pass === 'rare')
        if (piece < 0) links.splice(at, 1)
        else this.#request(link, piece, now)
      }
    }
    child.hungry = child.wants && child.asked < ASKED_MAX
    if (child.hungry) this.#askAgain(child, now)
  }

  /** Looks after a session from time to time: asks again for what is slow, gives up parents that let it wait. */
  watch(child: ModelSession, now: number): void {
    for (const link of [...child.parents]) {
      if (link.queue.length === 0 || now - link.servedAt < QUEUE_WAIT_MS) continue
      this.leave(link)
      this.#listener.onRefused(child, link.parent.host)
    }
    this.ask(child, now)
  }

  fetchFromSource(session: ModelSession, piece: number, sourceRate: number, now: number): void {
    if (session.state[piece] !== ABSENT) return
    session.state[piece] = ASKED
    session.asked++
    const at = session.host.fetchFromSource(session.task.bytesOf(piece), sourceRate, now)
    this.#queue.push(at, { type: 'piece', child: session, link: undefined, piece })
  }

  take(event: TradeEvent, now: number): void {
    this.#now = now
    if (event.type === 'timer') event.call?.()
    else if (event.type === 'sent') {
      event.host.uplinkBusy = false
      this.#serve(event.host, now)
    } else this.#land(event.child, event.link, event.piece, now)
  }

  #roomiest(links: readonly ModelLink[]): number {
    const start = Math.floor(this.#random() * links.length)
    let best = start
    for (let turn = 1; turn < links.length; turn++) {
      const index = (start + turn) % links.length
      if (links[index]!.pending < links[best]!.pending) best = index
    }
    return best
  }

  /** `rare`: only what no other parent offers. */
  #pick(child: ModelSession, link: ModelLink, rare: boolean): number {
    const { pieces, hashed } = child.task
    const start = Math.floor(this.#random() * pieces)
    for (let step = 0; step < pieces; step++) {
      const piece = start + step < pieces ? start + step : start + step - pieces
      if (child.state[piece] !== ABSENT || hashed[piece] !== 1 || !link.offers(piece)) continue
      if (!rare || child.parents.every(other => other === link || !other.offers(piece))) return piece
    }
    return -1
  }

  #request(link: ModelLink, piece: number, now: number): void {
    const { child, parent } = link
    child.state[piece] = ASKED
    child.asked++
    child.askedAt ??= new Float64Array(child.task.pieces)
    child.askedAt[piece] = now
    if (link.queue.length === 0) link.servedAt = now
    link.pending++
    link.queue.push(piece)
    if (!link.inLine) {
      link.inLine = true
      parent.host.line.push(link)
    }
    this.#serve(parent.host, now)
  }

  /** Takes one overdue piece from a slow parent for each idle one that has it. */
  #askAgain(child: ModelSession, now: number): void {
    for (const idle of child.parents) {
      if (idle.pending > 0) continue
      for (const slow of child.parents) {
        const place = slow.queue.findIndex(
          piece => idle.offers(piece) && now - child.askedAt![piece]! >= SECOND_ASK_MS,
        )
        if (place < 0) continue
        const [piece] = slow.queue.splice(place, 1)
        slow.pending--
        this.#unask(child, piece!)
        this.#request(idle, piece!, now)
        break
      }
    }
  }

  #unask(child: ModelSession, piece: number): void {
    if (child.state[piece] !== ASKED) return
    child.state[piece] = ABSENT
    child.asked--
  }

  /** Gives free slots to the links that wait longest, and sends the next part for the slot whose turn it is. */
  #serve(host: ModelHost, now: number): void {
    if (host.uplinkBusy) return
    while (host.sending.length < UPLOAD_SLOTS && host.line.length > 0) {
      const { link, piece } = takeTurn(host.line)
      link.inLine = piece !== undefined
      if (piece === undefined) continue
      link.sending = piece
      link.left = link.child.task.bytesOf(piece)
      host.sending.push(link)
    }
    const link = host.sending.shift()
    if (link === undefined) return
    const { sending: piece, child } = link
    const bytes = Math.min(link.left, Math.ceil(child.task.pieceSize / PARTS))
    const sentAt = now + bytes / host.upRate
    link.left -= bytes
    host.uplinkBusy = true
    host.bytesUp += bytes
    link.servedAt = now
    this.#queue.push(sentAt, { type: 'sent', host })
    const landsAt = child.host.take(sentAt, bytes)
    if (link.left > 0) {
      host.sending.push(link)
      return
    }
    link.sending = -1
    this.#queue.push(landsAt, { type: 'piece', child, link, piece })
    if (link.queue.length > 0) host.line.push(link)
    else link.inLine = false
  }

  #land(child: ModelSession, link: ModelLink | undefined, piece: number, now: number): void {
    this.#now = now
    if (link !== undefined) {
      link.pending--
      link.window.noteLanded(now - (child.askedAt?.[piece] ?? now))
      link.parent.dealing?.onSent(piece)
    }
    if (child.state[piece] === HELD) return
    if (child.state[piece] === ASKED) child.asked--
    child.state[piece] = HELD
    child.held++
    this.#listener.onLanded(child, piece, link?.parent.host)
    if (child.host.seed) this.#deal(child, piece, now)
    else for (const other of child.children) this.#tell(other, piece, now)
    if (child.wants) this.ask(child, now)
  }

  /** A seed deals a fresh piece as the product's does. */
  #deal(seed: ModelSession, piece: number, now: number): void {
    const clock = this.#clock
    seed.host.copies ??= new FirstCopies({ clock })
    const { copies } = seed.host
    seed.dealing ??= new SeedDealing<ModelLink>(
      { clock, copies, isTaking: link => link.pending > 0 },
      SEED_DEALING,
      (told, to) => {
        for (const link of to) {
          link.told![told] = 1
          this.#tell(link, told, this.#now)
        }
      },
    )
    this.#now = now
    seed.dealing.onFresh(piece, [...seed.children])
  }

  #tell({ child }: ModelLink, piece: number, now: number): void {
    if (child.hungry && child.state[piece] === ABSENT && child.task.hashed[piece] === 1) this.ask(child, now)
  }
}

/** Takes whose turn it is out of the line: who asked for a first copy, else who waits longest. */
function takeTurn(line: ModelLink[]): { readonly link: ModelLink; readonly piece: number | undefined } {
  for (const [place, link] of line.entries()) {
    const { dealing } = link.parent
    const at = dealing === undefined ? -1 : link.queue.findIndex(piece => dealing.isFirstCopy(piece, link))
    if (at < 0) continue
    line.splice(place, 1)
    return { link, piece: link.queue.splice(at, 1)[0] }
  }
  const link = line.shift()!
  return { link, piece: link.queue.shift() }
}
