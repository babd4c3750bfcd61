// How many bytes of a task may yet be fetched from the source: a hard cap on what is fetched and granted together.
import { pieceLength } from '../../shared/piece.ts'
import type { Task } from '../state/task.ts'

/** Pieces that may always be fetched a second time, so that the loss of a blob of few pieces is not the end of it. */
export const SPARE_PIECES = 2

/** The task's cap in bytes: `ratio` times its size, or its size and SPARE_PIECES if that is more. */
export function budgetBytes(task: Task, ratio: number): number {
  return Math.max(task.size * ratio, task.size + SPARE_PIECES * Math.min(task.pieceSize, task.size))
}

/** Bytes granted and not landed. */
export function outstandingBytes(task: Task): number {
  let bytes = 0
  for (const grant of task.grants.values())
    for (const piece of grant.pieces.pieces()) bytes += pieceLength(task, piece)
  return bytes
}

export function remainingBytes(task: Task, ratio: number): number {
  return budgetBytes(task, ratio) - task.sourceBytes - outstandingBytes(task)
}
