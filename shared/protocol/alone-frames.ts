// Frames of /pantala/piece/1.0.0 among hosts that no supernode helps: who they are, the piece hashes they vouch for, and who else seeks a task.
import { PIECE_HASH_BYTES } from '../piece.ts'
import type { Candidate, HostId } from './messages.ts'
import {
  ALONE_BYTES_MAX,
  encodeFrame,
  FRAME,
  FRAME_HEADER_BYTES,
  OTHERS_BYTES_MAX,
  readUint32,
  writeHeader,
  writeUint32,
} from './piece-frames.ts'

/** Addresses of one host, and hosts in one `others`. */
const ADDRESSES_MAX = 8
export const OTHERS_MAX = 32
/** A multiaddr longer than this is left out, in characters. */
const ADDRESS_CHARS_MAX = 256

const hostPattern = /^[1-9A-HJ-NP-Za-km-z]{20,100}$/
const addressPattern = /^\/[\x21-\x7e]+$/

/** Piece numbers with a hash each. */
export interface ToldHashes {
  readonly pieces: readonly number[]
  /** PIECE_HASH_BYTES for each of `pieces`, in that order. */
  readonly hashes: Uint8Array
}

/** `alone`: no supernode helps the child with this task; it asks for hashes and for others that seek the same, and says where it listens. */
export function encodeAlone(slot: number, addresses: readonly string[]): Uint8Array {
  return encodeFrame(FRAME.alone, 0, slot, 0, encodeLines(addresses.slice(0, ADDRESSES_MAX), ALONE_BYTES_MAX))
}

/** Addresses out of `alone`; what is none is left out. */
export function decodeAlone(body: Uint8Array): string[] {
  return decodeLines(body).filter(isAddress).slice(0, ADDRESSES_MAX)
}

/** `hashes`: at most HASHES_PIECES_MAX pieces, each with its number (u32) and hash. */
export function encodeHashes(slot: number, { pieces, hashes }: ToldHashes): Uint8Array {
  const entryBytes = 4 + PIECE_HASH_BYTES
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + pieces.length * entryBytes)
  writeHeader(bytes, 0, FRAME.hashes, 0, slot, 0, pieces.length * entryBytes)
  pieces.forEach((piece, index) => {
    const at = FRAME_HEADER_BYTES + index * entryBytes
    writeUint32(bytes, at, piece)
    bytes.set(hashes.subarray(index * PIECE_HASH_BYTES, (index + 1) * PIECE_HASH_BYTES), at + 4)
  })
  return bytes
}

/** Undefined if the body's length fits no number of entries. */
export function decodeHashes(body: Uint8Array): ToldHashes | undefined {
  const entryBytes = 4 + PIECE_HASH_BYTES
  if (body.byteLength % entryBytes !== 0) return undefined
  const count = body.byteLength / entryBytes
  const hashes = new Uint8Array(count * PIECE_HASH_BYTES)
  const pieces = Array.from({ length: count }, (_, index) => {
    const at = index * entryBytes
    hashes.set(body.subarray(at + 4, at + entryBytes), index * PIECE_HASH_BYTES)
    return readUint32(body, at)
  })
  return { pieces, hashes }
}

/** `others`: hosts that seek the task as well; those that fit. */
export function encodeOthers(slot: number, others: readonly Candidate[]): Uint8Array {
  const lines = others
    .slice(0, OTHERS_MAX)
    .map(({ host, addresses }) => [host, ...addresses.slice(0, ADDRESSES_MAX)].join(' '))
  return encodeFrame(FRAME.others, 0, slot, 0, encodeLines(lines, OTHERS_BYTES_MAX))
}

/** Hosts out of `others`; what is none is left out. */
export function decodeOthers(body: Uint8Array): Candidate[] {
  const others: Candidate[] = []
  for (const line of decodeLines(body).slice(0, OTHERS_MAX)) {
    const [host, ...addresses] = line.split(' ')
    if (!isHostId(host)) continue
    others.push({ host, addresses: addresses.filter(isAddress).slice(0, ADDRESSES_MAX), seed: false })
  }
  return others
}

function isHostId(text: string | undefined): text is HostId {
  return text !== undefined && hostPattern.test(text)
}

function isAddress(text: string): boolean {
  return text.length <= ADDRESS_CHARS_MAX && addressPattern.test(text)
}

function encodeLines(lines: readonly string[], bytesMax: number): Uint8Array {
  let text = ''
  for (const line of lines) if (text.length + line.length + 1 <= bytesMax) text += `${line}\n`
  return Buffer.from(text, 'latin1')
}

function decodeLines(body: Uint8Array): string[] {
  return Buffer.from(body.buffer, body.byteOffset, body.byteLength)
    .toString('latin1')
    .split('\n')
    .filter(line => line !== '')
}
