// Which pieces of a report are believed, and which hashes in it are new. Pure.
import { PIECE_HASH_BYTES, pieceLength } from '../shared/piece.ts'
import type { HostId, Report } from '../shared/protocol/messages.ts'
import type { Task } from './state/task.ts'

export interface SortedReport {
  /** Pieces that the host holds from now on. */
  readonly landed: readonly number[]
  /** Pieces whose hash was not known, and the hashes in that order. */
  readonly fresh: readonly number[]
  readonly hashes: Uint8Array
  /** Pieces whose hash differs from the one recorded: not counted as held. */
  readonly conflicts: number
  /** Length of all the task's pieces named, in bytes. */
  readonly bytes: number
}

export function sortReport(task: Task, host: HostId, report: Report): SortedReport {
  const landed: number[] = []
  const fresh = new Set<number>()
  const freshHashes: Uint8Array[] = []
  const believed = task.distrusted.has(host) ? undefined : report.hashes
  let conflicts = 0
  let bytes = 0
  report.pieces.forEach((piece, index) => {
    if (piece >= task.pieces) return
    bytes += pieceLength(task, piece)
    const hash = believed?.subarray(index * PIECE_HASH_BYTES, (index + 1) * PIECE_HASH_BYTES)
    const known = task.hashOf(piece)
    if (hash !== undefined && known !== undefined && Buffer.compare(known, hash) !== 0) {
      conflicts++
      return
    }
    landed.push(piece)
    if (hash === undefined || known !== undefined || fresh.has(piece)) return
    fresh.add(piece)
    freshHashes.push(hash)
  })
  return { landed, fresh: [...fresh], hashes: Buffer.concat(freshHashes), conflicts, bytes }
}
