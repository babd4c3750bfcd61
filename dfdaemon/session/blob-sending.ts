// Hands a range of a blob on in order while its pieces land: two buffers in turn, one being read while the other is being taken.
import { abortable } from '../../shared/abortable.ts'
import { pieceAt } from '../../shared/piece.ts'
import type { TakeChunk } from './blobs.ts'
import type { BufferPool, Loan } from './buffer-pool.ts'
import { type ReadableBlob, readableUntil, waitForBytes } from './readable-blob.ts'

/** Bytes handed on at once: large enough that costs per chunk vanish, small enough that a slow client holds little. */
export const SEND_CHUNK_BYTES = 512 * 1024

/** Chunk size when the pool is empty; such buffers are made for the occasion. */
const SPARE_CHUNK_BYTES = 64 * 1024

export interface SendInit {
  readonly offset: number
  readonly length: number
  /** False for a part of the blob: its last piece does not wait for the check of the whole, unless all of the blob is here. */
  readonly whole: boolean
  /** Called when the sending waits for another piece, so that it is fetched first. */
  onPosition?(piece: number): void
  /** Called when the sending comes to another piece. */
  onEnter?(piece: number): void
}

/** `stuck`: aborted while no read should be waited for. @throws the blob's error, what `take` rejected with, or the signal's reason */
export async function sendBlob(
  components: { blob: ReadableBlob; pool: BufferPool; stuck: () => AbortSignal },
  init: SendInit,
  take: TakeChunk,
  signal: AbortSignal,
): Promise<void> {
  const { blob, pool, stuck } = components
  const end = init.offset + init.length
  const loans = [lendChunk(pool), lendChunk(pool)]
  let taking: Promise<void> = Promise.resolve()
  let reading: Promise<void> = taking
  try {
    let position = init.offset
    let turn = 0
    let entered = -1
    while (position < end) {
      signal.throwIfAborted()
      const { buffer } = loans[turn]!
      const piece = pieceAt(blob.geometry, position)
      if (piece !== entered) {
        entered = piece
        init.onEnter?.(piece)
      }
      const limit = Math.min(end, position + buffer.byteLength)
      const until = readableUntil(blob, position, limit, init.whole)
      if (until === position) {
        init.onPosition?.(piece)
        await waitForBytes(blob, position, signal)
        continue
      }
      const chunk = buffer.subarray(0, until - position)
      reading = blob.read(position, chunk)
      await abortable(reading, stuck())
      await taking
      signal.throwIfAborted()
      taking = take(chunk)
      taking.catch(() => {})
      position = until
      // Only now: the other buffer is free, since its chunk was taken before this one was handed over.
      turn = 1 - turn
    }
    await taking
  } finally {
    await taking.catch(() => {})
    // Never while the disk may still fill one of them.
    const giveBack = (): void => {
      for (const loan of loans) loan.giveBack()
    }
    reading.then(giveBack, giveBack)
  }
}

/** A buffer for one chunk; a small one where the pool has none left. */
export function lendChunk(pool: BufferPool): Loan {
  return (
    pool.tryLend(SEND_CHUNK_BYTES) ?? { buffer: Buffer.allocUnsafeSlow(SPARE_CHUNK_BYTES), giveBack() {} }
  )
}
