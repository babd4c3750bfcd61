// The frames of /pantala/piece/1.0.0 as bytes: a fixed header and a body. Written by hand since piece bodies must not be copied or buffered;
// piece-parser.ts reads them. docs/protocol.md, "Piece exchange", is the specification.
import {
  BLOB_BYTES_MAX,
  type Geometry,
  isSoundGeometry,
  PIECE_BYTES_MIN,
  PIECE_HASH_BYTES,
} from '../piece.ts'
import { contentOf, REALM_BYTES, realmOf, type TaskKey } from '../task-key.ts'

export const PIECE_PROTOCOL = '/pantala/piece/1.0.0'

/** Version in `hello`; a parent refuses others. */
export const PIECE_PROTOCOL_VERSION = 1

/** Header: type u8, code u8, slot u16, id u32, body length in bytes u32; big-endian. */
export const FRAME_HEADER_BYTES = 12

/** Child to parent: 1 to 15. Parent to child: 16 and up. */
export const FRAME = {
  hello: 1,
  subscribe: 2,
  unsubscribe: 3,
  request: 4,
  cancel: 5,
  alone: 6,
  have: 16,
  haveMore: 17,
  piece: 18,
  refuse: 19,
  gone: 20,
  waiting: 21,
  hashes: 22,
  others: 23,
  idle: 24,
} as const

/** `code` of `cancel`: at once, or only if no byte of the piece was sent yet. */
export const CANCEL = { now: 0, unlessBegun: 1 } as const

export type FrameType = (typeof FRAME)[keyof typeof FRAME]

/** Why a request was refused or a subscription ended: `code` of `refuse` and `gone`. */
export const REFUSAL = {
  notAdmitted: 1,
  version: 2,
  busy: 3,
  notHeld: 4,
  cancelled: 5,
  geometry: 6,
  stopping: 7,
  failed: 8,
  evicted: 9,
} as const

export type Refusal = (typeof REFUSAL)[keyof typeof REFUSAL]

/** Largest ticket in bytes. */
export const TICKET_BYTES_MAX = 1024

/** Tasks one stream may be subscribed to at the same time. */
export const SUBSCRIPTIONS_MAX = 256

/** Requests one stream may have unanswered; a parent refuses those beyond. */
export const REQUESTS_IN_FLIGHT_MAX = 128

/** Piece numbers in one `have-more`. */
export const HAVE_MORE_PIECES_MAX = 1024

/** Content bytes in one `piece` frame; a piece comes in as many as it needs, in order, so that other frames may go between them. */
export const PART_BYTES_MAX = 1024 * 1024

/** Pieces in one `hashes`. */
export const HASHES_PIECES_MAX = 512

/** Texts of addresses and hosts in `alone` and `others`, in bytes. */
export const ALONE_BYTES_MAX = 2 * 1024
export const OTHERS_BYTES_MAX = 64 * 1024

const PIECES_MAX = BLOB_BYTES_MAX / PIECE_BYTES_MIN
const GEOMETRY_BYTES = 8 + 4
const SUBSCRIBE_BYTES_MAX = 1 + 64 + GEOMETRY_BYTES + REALM_BYTES

/** Largest body of each frame, in bytes; a frame over its limit ends the stream before a byte of its body is kept. */
export const bodyBytesMax: Readonly<Record<number, number>> = {
  [FRAME.hello]: TICKET_BYTES_MAX,
  [FRAME.subscribe]: SUBSCRIBE_BYTES_MAX,
  [FRAME.unsubscribe]: 0,
  [FRAME.request]: 4,
  [FRAME.cancel]: 0,
  [FRAME.alone]: ALONE_BYTES_MAX,
  [FRAME.have]: PIECES_MAX / 8,
  [FRAME.haveMore]: HAVE_MORE_PIECES_MAX * 4,
  [FRAME.piece]: PART_BYTES_MAX,
  [FRAME.refuse]: 0,
  [FRAME.gone]: 0,
  [FRAME.waiting]: 0,
  [FRAME.hashes]: HASHES_PIECES_MAX * (4 + PIECE_HASH_BYTES),
  [FRAME.others]: OTHERS_BYTES_MAX,
  [FRAME.idle]: 0,
}

/** Writes a header at `at`. */
export function writeHeader(
  into: Uint8Array,
  at: number,
  type: FrameType,
  code: number,
  slot: number,
  id: number,
  bodyBytes: number,
): void {
  into[at] = type
  into[at + 1] = code
  into[at + 2] = slot >>> 8
  into[at + 3] = slot
  writeUint32(into, at + 4, id)
  writeUint32(into, at + 8, bodyBytes)
}

/** A frame with its body, ready to send. */
export function encodeFrame(
  type: FrameType,
  code: number,
  slot: number,
  id: number,
  body?: Uint8Array,
): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + (body?.byteLength ?? 0))
  writeHeader(bytes, 0, type, code, slot, id, body?.byteLength ?? 0)
  if (body !== undefined) bytes.set(body, FRAME_HEADER_BYTES)
  return bytes
}

/** Body of `subscribe`: algorithm u8 (1 sha256, 2 sha512), digest, size u64, piece size u32, realm if the task has one (task-key.ts). */
export function encodeSubscribe(slot: number, key: TaskKey, geometry: Geometry): Uint8Array {
  const digestBytes = Buffer.from(contentOf(key).slice(7), 'hex')
  const realm = Buffer.from(realmOf(key) ?? '', 'hex')
  const geometryAt = 1 + digestBytes.byteLength
  const body = Buffer.alloc(geometryAt + GEOMETRY_BYTES + realm.byteLength)
  body[0] = key.startsWith('sha256:') ? 1 : 2
  digestBytes.copy(body, 1)
  body.writeBigUInt64BE(BigInt(geometry.size), geometryAt)
  body.writeUInt32BE(geometry.pieceSize, geometryAt + 8)
  realm.copy(body, geometryAt + GEOMETRY_BYTES)
  return encodeFrame(FRAME.subscribe, 0, slot, 0, body)
}

export interface Subscribe {
  readonly digest: TaskKey
  readonly geometry: Geometry
}

/** Undefined if malformed, or if the geometry is not one that may be used. */
export function decodeSubscribe(body: Uint8Array): Subscribe | undefined {
  const digestBytes = body[0] === 1 ? 32 : body[0] === 2 ? 64 : 0
  const realmAt = 1 + digestBytes + GEOMETRY_BYTES
  const realmBytes = body.byteLength - realmAt
  if (digestBytes === 0 || (realmBytes !== 0 && realmBytes !== REALM_BYTES)) return undefined
  const view = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  const geometry = {
    size: Number(view.readBigUInt64BE(1 + digestBytes)),
    pieceSize: view.readUInt32BE(1 + digestBytes + 8),
  }
  if (!isSoundGeometry(geometry)) return undefined
  const hex = view.toString('hex', 1, 1 + digestBytes)
  const realm = realmBytes === 0 ? '' : `@${view.toString('hex', realmAt)}`
  return { digest: digestBytes === 32 ? `sha256:${hex}${realm}` : `sha512:${hex}${realm}`, geometry }
}

export function encodeRequest(slot: number, id: number, piece: number): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + 4)
  writeHeader(bytes, 0, FRAME.request, 0, slot, id, 4)
  writeUint32(bytes, FRAME_HEADER_BYTES, piece)
  return bytes
}

/** At most HAVE_MORE_PIECES_MAX pieces. */
export function encodeHaveMore(slot: number, pieces: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + pieces.length * 4)
  writeHeader(bytes, 0, FRAME.haveMore, 0, slot, 0, pieces.length * 4)
  for (let i = 0; i < pieces.length; i++) writeUint32(bytes, FRAME_HEADER_BYTES + i * 4, pieces[i]!)
  return bytes
}

/** The numbers in a body of u32s; undefined if its length is no multiple of 4. */
export function decodeNumbers(body: Uint8Array): number[] | undefined {
  if (body.byteLength % 4 !== 0) return undefined
  const numbers = new Array<number>(body.byteLength / 4)
  for (let i = 0; i < numbers.length; i++) numbers[i] = readUint32(body, i * 4)
  return numbers
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}

export function writeUint32(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 24
  into[at + 1] = value >>> 16
  into[at + 2] = value >>> 8
  into[at + 3] = value
}
