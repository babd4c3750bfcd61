// Reads frames of the piece protocol out of whatever cuts the bytes arrive in; a piece's bytes go straight to where they are wanted,
// so that each byte is copied once, out of the receive buffer. Checks lengths and types, not what the frames mean.
import { PantalaError } from '../errors.ts'
import { bodyBytesMax, FRAME, FRAME_HEADER_BYTES, type FrameType, readUint32 } from './piece-frames.ts'

/** What the parser tells its owner. A method that throws ends the parsing; the bytes after are never looked at. */
export interface FrameSink {
  /** A whole frame other than `piece`. `body` is valid during the call only. */
  onFrame(type: FrameType, code: number, slot: number, id: number, body: Uint8Array): void
  /** A part of a piece begins: where it goes (at least `length` long), or undefined to let it run past. */
  onPartStart(id: number, length: number): Uint8Array | undefined
  /** All bytes of the part were written or ran past. */
  onPartEnd(id: number, length: number): void
}

/** Which end speaks: decides the frames that may come. */
export type Speaker = 'child' | 'parent'

const noBody = new Uint8Array(0)

export class PieceParser {
  readonly #sink: FrameSink
  readonly #speaker: Speaker
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES)
  #headerBytes = 0
  #type: FrameType = FRAME.hello
  #id = 0
  #length = 0
  #done = 0
  /** Where the body goes: the part's destination, or a buffer of the body's checked length. */
  #body: Uint8Array | undefined
  #inBody = false

  constructor(speaker: Speaker, sink: FrameSink) {
    this.#speaker = speaker
    this.#sink = sink
  }

  /** The destination given for this piece is no longer ours to write: what is left of a part under way runs past. */
  discard(id: number): void {
    if (this.#inBody && this.#type === FRAME.piece && this.#id === id) this.#body = undefined
  }

  /**
   * Takes bytes `start` to `end - 1` of `buffer`, which may be overwritten after the call.
   * @throws PantalaError MESSAGE_INVALID on a frame that may not come or is over its limit; the parser is then of no more use
   */
  push(buffer: Uint8Array, start: number, end: number): void {
    let at = start
    while (at < end) {
      if (!this.#inBody) {
        // The header mostly comes in one part; byte by byte covers every cut.
        while (at < end && this.#headerBytes < FRAME_HEADER_BYTES)
          this.#header[this.#headerBytes++] = buffer[at++]!
        if (this.#headerBytes < FRAME_HEADER_BYTES) return
        this.#openFrame()
        if (this.#length > 0) continue
      } else {
        const count = Math.min(end - at, this.#length - this.#done)
        if (this.#body !== undefined) copyBytes(buffer, at, at + count, this.#body, this.#done)
        this.#done += count
        at += count
        if (this.#done < this.#length) return
      }
      this.#closeFrame()
    }
  }

  #openFrame(): void {
    const header = this.#header
    const type = header[0]! as FrameType
    const limit = bodyBytesMax[type]
    const fromChild = type < 16
    if (limit === undefined || fromChild !== (this.#speaker === 'child'))
      throw new PantalaError('MESSAGE_INVALID', { detail: `frame of type ${type}` })
    const length = readUint32(header, 8)
    if (length > limit)
      throw new PantalaError('MESSAGE_INVALID', { detail: `frame of type ${type} with ${length} bytes` })
    this.#type = type
    this.#id = readUint32(header, 4)
    this.#length = length
    this.#done = 0
    this.#inBody = true
    if (type === FRAME.piece) this.#body = this.#sink.onPartStart(this.#id, length)
    else this.#body = length === 0 ? noBody : new Uint8Array(length)
  }

  #closeFrame(): void {
    const body = this.#body
    this.#inBody = false
    this.#headerBytes = 0
    this.#body = undefined
    if (this.#type === FRAME.piece) {
      this.#sink.onPartEnd(this.#id, this.#length)
      return
    }
    const header = this.#header
    this.#sink.onFrame(this.#type, header[1]!, (header[2]! << 8) | header[3]!, this.#id, body!)
  }
}

function copyBytes(from: Uint8Array, start: number, end: number, into: Uint8Array, at: number): void {
  into.set(start === 0 && end === from.byteLength ? from : from.subarray(start, end), at)
}
