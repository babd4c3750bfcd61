// Decides which pieces to ask of which parent next: what a reader waits for first, then rarest first. Pure; asks nothing itself.
import type { Bitfield } from '../../shared/bitfield.ts'

/** What one parent offers, and how many more requests it may be given now. */
export interface Offer {
  readonly have: Bitfield
  readonly room: number
  /** Requests that it may be given for pieces that no other parent offers, those of `room` included. */
  readonly soleRoom?: number
  /** Of that room, what picks that nobody waits for leave free, so that what a reader asks for next finds it. */
  readonly spare?: number
  /** Far slower than the others: it is asked for what nobody else with room has. */
  readonly isSlow?: boolean
  /** A seed: it is asked for what no other parent with room has, since every host hangs on what it alone can send. */
  readonly isSeed?: boolean
}

export interface PickQuestion {
  readonly pieces: number
  readonly offers: readonly Offer[]
  /** True for pieces that are neither held nor asked for, and whose hash is known. */
  wanted(piece: number): boolean
  /** Pieces that readers wait for, most urgent first; they may be unwanted or offered by nobody. */
  readonly urgent: readonly number[]
  /** True where nobody could trade pieces with this host: the others are taken from the first on, as they are hashed and read, and not the rarest. */
  readonly inOrder?: boolean
  /** How many picks at most (free buffers). */
  readonly picksMax: number
  /** Uniform in [0, 1). */
  random(): number
}

/** `offer` is an index into the question's offers. */
export interface Pick {
  readonly piece: number
  readonly offer: number
}

/**
 * Urgent pieces come first, the others, unless they are taken in order, by how few parents offer them, ties in random order so that hosts that start together ask for
 * different pieces. Each pick goes to the parent with the most room left, among equals to any, so that all parents get about as many; to a seed only
 * if no other has room, to one that is far slower than the others only if a seed has none either.
 */
export function pickPieces(question: PickQuestion): Pick[] {
  const { offers, picksMax } = question
  const rooms = offers.map(offer => Math.max(0, offer.room))
  let roomLeft = Math.min(
    picksMax,
    rooms.reduce((sum, room) => sum + room, 0),
  )
  const soleRooms = offers.map(({ soleRoom = 0 }, offer) => Math.max(0, soleRoom - rooms[offer]!))
  if (picksMax <= 0 || (roomLeft <= 0 && soleRooms.every(room => room === 0))) return []

  const picks: Pick[] = []
  const taken = new Set<number>()
  const give = (piece: number, from = rooms): void => {
    const offer = roomiestHolder(question, from, piece)
    if (offer === undefined) return
    from[offer]!--
    if (from === rooms) roomLeft--
    taken.add(piece)
    picks.push({ piece, offer })
  }

  for (const piece of question.urgent) {
    if (roomLeft > 0 && !taken.has(piece) && question.wanted(piece)) give(piece)
  }
  for (const [offer, { spare = 0 }] of offers.entries()) rooms[offer] = Math.max(0, rooms[offer]! - spare)
  if (roomLeft <= 0 && soleRooms.every(room => room === 0)) return picks

  if (question.inOrder === true) {
    for (let piece = 0; piece < question.pieces && roomLeft > 0; piece++)
      if (!taken.has(piece) && question.wanted(piece)) give(piece)
    return picks
  }

  const ranked: Array<{ piece: number; holders: number; tie: number }> = []
  for (let piece = 0; piece < question.pieces; piece++) {
    if (taken.has(piece) || !question.wanted(piece)) continue
    let holders = 0
    for (const offer of offers) if (offer.have.has(piece)) holders++
    if (holders > 0) ranked.push({ piece, holders, tie: question.random() })
  }
  ranked.sort((a, b) => a.holders - b.holders || a.tie - b.tie)
  for (const { piece } of ranked) {
    if (roomLeft <= 0) break
    give(piece)
  }
  for (const { piece, holders } of ranked) {
    if (holders > 1 || picks.length >= picksMax) break
    if (!taken.has(piece)) give(piece, soleRooms)
  }
  return picks
}

function roomiestHolder(
  { offers, random }: PickQuestion,
  rooms: readonly number[],
  piece: number,
): number | undefined {
  let best: number | undefined
  const start = Math.floor(random() * offers.length)
  for (let turn = 0; turn < offers.length; turn++) {
    const index = (start + turn) % offers.length
    if (rooms[index]! <= 0 || !offers[index]!.have.has(piece)) continue
    if (best === undefined || isBetter(offers, rooms, index, best)) best = index
  }
  return best
}

function isBetter(offers: readonly Offer[], rooms: readonly number[], index: number, best: number): boolean {
  const [own, other] = [rankOf(offers[index]!), rankOf(offers[best]!)]
  return own === other ? rooms[index]! > rooms[best]! : own < other
}

function rankOf({ isSeed, isSlow }: Offer): number {
  if (isSlow === true) return 2
  return isSeed === true ? 1 : 0
}
