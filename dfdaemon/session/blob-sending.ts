// Hands a range of a blob on in order while its pieces land: from memory where they still are, else through two buffers, one being read while the other is being taken.
import { abortable } from '../../shared/abortable.ts'
import { pieceAt, pieceLength, pieceOffset } from '../../shared/piece.ts'
import type { TakeChunk } from './blobs.ts'
import type { BufferPool, Loan } from './buffer-pool.ts'
import { type ReadableBlob, readableUntil, waitForBytes } from './readable-blob.ts'
import type { LentPiece } from './recent-pieces.ts'

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

export interface SendComponents {
  readonly blob: ReadableBlob
  readonly pool: BufferPool
  /** Aborted while no read should be waited for. */
  readonly stuck: () => AbortSignal
}

/** @throws the blob's error, what `take` rejected with, or the signal's reason */
export async function sendBlob(
  components: SendComponents,
  init: SendInit,
  take: TakeChunk,
  signal: AbortSignal,
): Promise<void> {
  const { blob, stuck } = components
  const { geometry } = blob
  const end = init.offset + init.length
  const chunks = new ChunkReads(components)
  const line = new TakeLine(take, signal)
  let position = init.offset
  let entered = -1
  const sendLent = async (piece: number, lent: LentPiece, until: number): Promise<void> => {
    const start = pieceOffset(geometry, piece)
    try {
      while (position < until) {
        const next = Math.min(until, position + SEND_CHUNK_BYTES)
        await line.put(lent.bytes.subarray(position - start, next - start))
        position = next
      }
    } finally {
      await line.settled()
      lent.giveBack()
    }
  }
  try {
    while (position < end) {
      signal.throwIfAborted()
      const piece = pieceAt(geometry, position)
      if (piece !== entered) {
        entered = piece
        init.onEnter?.(piece)
      }
      const pieceEnd = pieceOffset(geometry, piece) + pieceLength(geometry, piece)
      const limit = Math.min(end, Math.max(pieceEnd, position + SEND_CHUNK_BYTES))
      const until = readableUntil(blob, position, limit, init.whole)
      if (until === position) {
        init.onPosition?.(piece)
        await waitForBytes(blob, position, signal)
        continue
      }
      const isAll = until >= pieceEnd && position === pieceOffset(geometry, piece)
      const lent = await lentWithin(blob.lend?.(piece, isAll), stuck())
      if (lent !== undefined) {
        await sendLent(piece, lent, Math.min(until, pieceEnd))
        continue
      }
      const chunk = await chunks.read(position, until - position)
      await line.put(chunk)
      position += chunk.byteLength
    }
    await line.empty()
  } finally {
    await line.settled()
    chunks.giveBack()
  }
}

export type ChunkLoan = Pick<Loan, 'buffer' | 'giveBack'>

/** A buffer for one chunk; a small one where the pool has none left. */
export function lendChunk(pool: BufferPool): ChunkLoan {
  return (
    pool.tryLend(SEND_CHUNK_BYTES) ?? { buffer: Buffer.allocUnsafeSlow(SPARE_CHUNK_BYTES), giveBack() {} }
  )
}

/** What is being read back is waited for unless the disk is stuck, and then given back by itself. @throws the signal's reason */
async function lentWithin(
  lending: LentPiece | Promise<LentPiece | undefined> | undefined,
  stuck: AbortSignal,
): Promise<LentPiece | undefined> {
  if (!(lending instanceof Promise)) return lending
  try {
    return await abortable(lending, stuck)
  } catch (error) {
    lending.then(lent => lent?.giveBack()).catch(() => {})
    throw error
  }
}

/** One chunk is being taken while the next is made ready. */
class TakeLine {
  readonly #take: TakeChunk
  readonly #signal: AbortSignal
  #taking: Promise<void> = Promise.resolve()

  constructor(take: TakeChunk, signal: AbortSignal) {
    this.#take = take
    this.#signal = signal
  }

  /** Settles when the chunk before was taken; this one is being taken then. @throws what taking the one before threw, or the signal's reason */
  async put(chunk: Uint8Array): Promise<void> {
    await this.#taking
    this.#signal.throwIfAborted()
    this.#taking = this.#take(chunk)
    this.#taking.catch(() => {})
  }

  /** Settles when all were taken. @throws what taking threw */
  empty(): Promise<void> {
    return this.#taking
  }

  /** Settles when nothing is being taken any more, however that went. */
  settled(): Promise<void> {
    return this.#taking.catch(() => {})
  }
}

/** Reads chunks from the disk into two buffers in turn, which are lent with the first. A chunk may be overwritten by the next but one. */
class ChunkReads {
  readonly #c: SendComponents
  #loans: readonly ChunkLoan[] | undefined
  #turn = 0
  #reading: Promise<void> = Promise.resolve()

  constructor(components: SendComponents) {
    this.#c = components
  }

  /** At most `bytes`, as many as a buffer holds. @throws what reading throws, or the reason why no read should be waited for */
  async read(position: number, bytes: number): Promise<Uint8Array> {
    const { blob, pool, stuck } = this.#c
    this.#loans ??= [lendChunk(pool), lendChunk(pool)]
    const { buffer } = this.#loans[this.#turn]!
    this.#turn = 1 - this.#turn
    const chunk = buffer.subarray(0, Math.min(bytes, buffer.byteLength))
    this.#reading = blob.read(position, chunk)
    await abortable(this.#reading, stuck())
    return chunk
  }

  /** Never while the disk may still fill one of them. */
  giveBack(): void {
    const giveBack = (): void => {
      for (const loan of this.#loans ?? []) loan.giveBack()
    }
    this.#reading.then(giveBack, giveBack)
  }
}
