// Sends one piece to one child: a few chunks are read from the store ahead of the socket, and sent in order as they are ready.
import { pieceLength, pieceOffset } from '../../shared/piece.ts'
import { FRAME, FRAME_HEADER_BYTES, writeHeader } from '../../shared/protocol/piece-frames.ts'
import { type ByteSender, CHUNK_ROOM_BYTES } from '../../shared/transport/byte-stream.ts'
import type { BlobHandle } from '../store/blob-store.ts'
import type { ReadBuffers } from './read-buffers.ts'

/** Bytes in front of a chunk's content: room for the muxer's header and the frame's own. */
export const CHUNK_HEAD_BYTES = CHUNK_ROOM_BYTES + FRAME_HEADER_BYTES

/** Chunks of one piece that may be read or unsent at the same time; two keep disk and socket busy. */
export const CHUNKS_AHEAD = 2

/**
 * Bytes of a chunk are at least so many, and otherwise a part of so many of the piece, as far as a buffer holds them: large ones cost less, and what
 * is read ahead of a slow socket cannot be taken back.
 */
const CHUNK_BYTES_LEAST = 256 * 1024
const CHUNKS_OF_A_PIECE = 4

/** `sent`: all bytes left; `failed`: the store could not read, though parts may have been sent. */
export type SendOutcome = 'sent' | 'failed'

interface Chunk {
  readonly buffer: Buffer
  /** Content bytes, after the head. */
  readonly count: number
  ready: boolean
}

export class PieceSend {
  readonly #sender: ByteSender
  readonly #buffers: ReadBuffers
  readonly #handle: BlobHandle
  readonly #id: number
  readonly #offset: number
  readonly #length: number
  readonly #chunkBytes: number
  readonly #onProgress: (bytes: number) => void
  readonly #onDone: (outcome: SendOutcome) => void
  /** Chunks being read or read and not yet given to the stream, in order. */
  readonly #chunks: Chunk[] = []
  #read = 0
  #sent = 0
  #unsentChunks = 0
  #givenChunks = 0
  #over = false

  /** Starts at once; `onDone` is called once, never at once, unless `stop` comes first. `onProgress` gets the bytes that left. */
  constructor(
    components: { sender: ByteSender; buffers: ReadBuffers; handle: BlobHandle },
    init: {
      id: number
      piece: number
      onProgress: (bytes: number) => void
      onDone: (outcome: SendOutcome) => void
    },
  ) {
    this.#sender = components.sender
    this.#buffers = components.buffers
    this.#handle = components.handle
    this.#id = init.id
    this.#offset = pieceOffset(components.handle.stat, init.piece)
    this.#length = pieceLength(components.handle.stat, init.piece)
    const content = components.buffers.bufferBytes - CHUNK_HEAD_BYTES
    const part = Math.max(CHUNK_BYTES_LEAST, Math.floor(this.#length / CHUNKS_OF_A_PIECE))
    this.#chunkBytes = Math.min(content, part)
    this.#onProgress = init.onProgress
    this.#onDone = init.onDone
    this.#pump()
  }

  /** True while the stream holds bytes of the piece that it could not pass on yet. */
  get blocked(): boolean {
    return this.#givenChunks > 0
  }

  /** True once the stream has the whole piece: it can no longer be taken back. */
  get given(): boolean {
    return this.#read === this.#length && this.#chunks.length === 0
  }

  /** Nothing more is sent and nobody is told; buffers under way come back by themselves. */
  stop(): void {
    if (this.#over) return
    this.#over = true
    this.#giveReady()
  }

  #pump(): void {
    while (!this.#over && this.#unsentChunks < CHUNKS_AHEAD && this.#read < this.#length) this.#readChunk()
  }

  #readChunk(): void {
    const buffer = this.#buffers.take()
    const count = Math.min(this.#chunkBytes, this.#length - this.#read)
    const chunk: Chunk = { buffer, count, ready: false }
    const position = this.#offset + this.#read
    this.#read += count
    this.#unsentChunks++
    this.#chunks.push(chunk)
    this.#handle.read(position, buffer.subarray(CHUNK_HEAD_BYTES, CHUNK_HEAD_BYTES + count)).then(
      () => {
        chunk.ready = true
        if (this.#over) this.#buffers.give(buffer)
        else this.#sendReady()
      },
      () => {
        this.#buffers.give(buffer)
        this.#finish('failed')
      },
    )
  }

  #sendReady(): void {
    while (this.#chunks[0]?.ready === true) {
      const { buffer, count } = this.#chunks.shift()!
      writeHeader(buffer, CHUNK_ROOM_BYTES, FRAME.piece, 0, 0, this.#id, count)
      this.#givenChunks++
      this.#sender.sendChunk(buffer, CHUNK_ROOM_BYTES, CHUNK_HEAD_BYTES + count, () => {
        if (this.#sender.returnsBuffers) this.#buffers.give(buffer)
        if (!this.#over) this.#onChunkSent(count)
      })
    }
  }

  #onChunkSent(count: number): void {
    this.#givenChunks--
    this.#unsentChunks--
    this.#sent += count
    this.#onProgress(count)
    if (this.#sent === this.#length) this.#finish('sent')
    else this.#pump()
  }

  #finish(outcome: SendOutcome): void {
    if (this.#over) return
    this.#over = true
    this.#giveReady()
    this.#onDone(outcome)
  }

  #giveReady(): void {
    for (const chunk of this.#chunks) if (chunk.ready) this.#buffers.give(chunk.buffer)
  }
}
