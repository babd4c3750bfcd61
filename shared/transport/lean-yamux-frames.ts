// Yamux on the wire (https://github.com/hashicorp/yamux/blob/master/spec.md): headers written and read; what they mean is the muxer's.
import { PantalaError } from '../errors.ts'

export const YAMUX_HEADER_BYTES = 12
/** Every stream begins with this window in both directions. */
export const YAMUX_WINDOW_BYTES = 256 * 1024

export const YAMUX = { data: 0, windowUpdate: 1, ping: 2, goAway: 3 } as const
export const FLAG = { syn: 1, ack: 2, fin: 4, rst: 8 } as const
export const GO_AWAY = { normal: 0, protocolError: 1, internalError: 2 } as const

/** Writes a header at `at`; `length` is the body's, the window's growth, the ping's value or the reason, by type. */
export function writeYamuxHeader(
  into: Uint8Array,
  at: number,
  type: number,
  flags: number,
  streamId: number,
  length: number,
): void {
  into[at] = 0
  into[at + 1] = type
  into[at + 2] = 0
  into[at + 3] = flags
  into[at + 4] = streamId >>> 24
  into[at + 5] = streamId >>> 16
  into[at + 6] = streamId >>> 8
  into[at + 7] = streamId
  into[at + 8] = length >>> 24
  into[at + 9] = length >>> 16
  into[at + 10] = length >>> 8
  into[at + 11] = length
}

export function encodeYamuxHeader(type: number, flags: number, streamId: number, length: number): Uint8Array {
  const bytes = new Uint8Array(YAMUX_HEADER_BYTES)
  writeYamuxHeader(bytes, 0, type, flags, streamId, length)
  return bytes
}

/** What the parser tells the muxer. Throwing ends the connection. */
export interface YamuxSink {
  /** A header of any type. For data, `length` bytes follow through `onBody`, unless it is 0. */
  onHeader(type: number, flags: number, streamId: number, length: number): void
  /** Bytes of the data frame whose header came last. The buffer may be overwritten after the call. */
  onBody(buffer: Uint8Array, start: number, end: number): void
}

/** Reads frames out of any cuts, without keeping or copying bodies. */
export class YamuxParser {
  readonly #sink: YamuxSink
  readonly #header = new Uint8Array(YAMUX_HEADER_BYTES)
  #headerBytes = 0
  #bodyLeft = 0

  constructor(sink: YamuxSink) {
    this.#sink = sink
  }

  /** @throws PantalaError MESSAGE_INVALID on an unknown version or type, and what the sink throws */
  push(buffer: Uint8Array, start: number, end: number): void {
    let at = start
    while (at < end) {
      if (this.#bodyLeft > 0) {
        const until = Math.min(end, at + this.#bodyLeft)
        this.#bodyLeft -= until - at
        this.#sink.onBody(buffer, at, until)
        at = until
        continue
      }
      while (at < end && this.#headerBytes < YAMUX_HEADER_BYTES)
        this.#header[this.#headerBytes++] = buffer[at++]!
      if (this.#headerBytes < YAMUX_HEADER_BYTES) return
      this.#headerBytes = 0
      this.#readHeader()
    }
  }

  #readHeader(): void {
    const header = this.#header
    const type = header[1]!
    if (header[0] !== 0 || type > YAMUX.goAway)
      throw new PantalaError('MESSAGE_INVALID', { detail: `yamux version ${header[0]}, type ${type}` })
    const length = readNumber(header, 8)
    if (type === YAMUX.data) this.#bodyLeft = length
    this.#sink.onHeader(type, (header[2]! << 8) | header[3]!, readNumber(header, 4), length)
  }
}

function readNumber(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}
