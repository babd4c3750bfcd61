// What readers wait for, as hosts say it: which pieces of a task are wanted ahead of others, and by whom.
import { Bitfield } from '../../shared/bitfield.ts'
import type { PieceRun } from '../../shared/protocol/messages.ts'
import type { Peer } from './peer.ts'

/** Enters pieces that readers of the peer wait for. A peer that wants the whole goes on wanting it. */
export function addWishes(
  peer: Peer,
  wish: { readonly urgent: readonly PieceRun[]; readonly partial: boolean },
): void {
  const { task } = peer
  peer.partial = wish.partial && (peer.partial || peer.urgent === undefined)
  peer.urgent ??= new Bitfield(task.pieces)
  task.urgent ??= new Bitfield(task.pieces)
  for (const piece of piecesOf(wish.urgent, task.pieces)) {
    peer.urgent.add(piece)
    task.urgent.add(piece)
  }
}

/** The peer wants nothing any more; with the last one the task forgets what was urgent. */
export function dropWishes(peer: Peer): void {
  peer.urgent = undefined
  peer.partial = false
  if (peer.task.wanting.size === 0) peer.task.urgent = undefined
}

/** All pieces of the runs that the task has. */
export function* piecesOf(runs: Iterable<PieceRun>, pieces: number): Generator<number> {
  for (const { first, count } of runs)
    for (let piece = first; piece < Math.min(first + count, pieces); piece++) yield piece
}
