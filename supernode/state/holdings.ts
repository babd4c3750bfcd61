// Small changes to who holds what, used only by ClusterState.apply: they keep the counts of copies and the sets of a task in step.
import { Bitfield } from '../../shared/bitfield.ts'
import type { Peer } from './peer.ts'
import type { Task } from './task.ts'

export function addPiece(peer: Peer, piece: number): void {
  if (!peer.have.add(piece)) return
  peer.task.copies ??= new Uint32Array(peer.task.pieces)
  peer.task.copies[piece]!++
  peer.task.offering.add(peer)
}

export function clearPieces(peer: Peer): void {
  for (const piece of [...peer.have.pieces()]) {
    peer.have.remove(piece)
    peer.task.copies![piece]!--
  }
}

/** Forgets a peer that neither holds nor wants nor fetches; turns one that holds all and wants nothing into a full holder. */
export function dropIfIdle(peer: Peer): void {
  const { host, task } = peer
  if (peer.wants || peer.granted) return
  if (peer.have.count > 0 && !peer.have.isFull) return
  const full = peer.have.isFull && task.pieces > 0
  clearPieces(peer)
  task.peers.delete(host.id)
  host.peers.delete(task.digest)
  task.offering.delete(peer)
  if (!full) return
  host.full.add(task)
  task.full.add(host)
}

/** Marks pieces that nobody holds any more: of `held`, or all where it is undefined. */
export function graceLost(task: Task, held: Bitfield | undefined, graceUntil: number): void {
  if (task.wanting.size === 0 && held === undefined) return
  task.graceUntil = Math.max(task.graceUntil, graceUntil)
  for (let piece = 0; piece < task.pieces; piece++) {
    if (held !== undefined && !held.has(piece)) continue
    if (task.full.size > 0 || task.copiesOf(piece) > 0) continue
    task.graced ??= new Bitfield(task.pieces)
    task.graced.add(piece)
  }
}
