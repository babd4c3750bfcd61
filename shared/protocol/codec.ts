// Puts schedule messages on the wire as CBOR and takes them off again, checking every field; knows nothing of streams or of meaning.
import { PantalaError } from '../errors.ts'
import {
  BLOB_BYTES_MAX,
  isSoundGeometry,
  PIECE_BYTES_MAX,
  PIECE_BYTES_MIN,
  PIECE_HASH_BYTES,
} from '../piece.ts'
import { decodeCbor, encodeCbor, groupKeys } from './cbor.ts'
import {
  bytes,
  type Check,
  digest,
  failCheck,
  flag,
  integer,
  list,
  optional,
  record,
  text,
  word,
} from './checks.ts'
import {
  ACCEPT_MAX,
  ADDRESS_CHARS_MAX,
  ADDRESSES_MAX,
  AUTHORIZATION_CHARS_MAX,
  CANDIDATES_MAX,
  CHALLENGE_CHARS_MAX,
  DETAIL_CHARS_MAX,
  DIGESTS_PER_MESSAGE_MAX,
  HOLDINGS_PER_ANNOUNCE_MAX,
  HOST_FRAME_BYTES_MAX,
  MESSAGE_ITEMS_MAX,
  NAME_CHARS_MAX,
  PIECES_MAX,
  RUNS_MAX,
  SUPERNODE_FRAME_BYTES_MAX,
  TICKET_BYTES_MAX,
  UPLOAD_SLOTS_MAX,
} from './limits.ts'
import {
  type Candidate,
  type Grant,
  type Hashes,
  type Holding,
  type HostMessage,
  MANIFEST_BYTES_MAX,
  NEIGHBOURS_MAX,
  type PieceRun,
  type Report,
  SMALL_BLOB_BYTES_MAX,
  type SourceRef,
  type SupernodeMessage,
} from './messages.ts'

const HASHES_BYTES_MAX = PIECES_MAX * PIECE_HASH_BYTES

const hostId = text(128, /^[1-9A-HJ-NP-Za-km-z]{1,128}$/)
const address = text(ADDRESS_CHARS_MAX, /^\/[\x21-\x7e]+$/)
const addresses = list(address, ADDRESSES_MAX)
const name = text(NAME_CHARS_MAX)
const code = text(64, /^[A-Z][A-Z_]*$/)
const detail = text(DETAIL_CHARS_MAX)
// Goes into a header of the source request or of the answer to a runtime, so nothing that could end a line.
const header = (charsMax: number) => text(charsMax, /^[\x20-\x7e]*$/)
const challenge = optional(header(CHALLENGE_CHARS_MAX))
const piece = integer(0, PIECES_MAX - 1)
const pieces = list(piece, PIECES_MAX)
const hashes = bytes(0, HASHES_BYTES_MAX, PIECE_HASH_BYTES)
const bits = bytes(0, PIECES_MAX / 8)
const size = integer(0, BLOB_BYTES_MAX)
const pieceSize = integer(PIECE_BYTES_MIN, PIECE_BYTES_MAX)
const requestId = integer(0, 0xffff_ffff)
const counter = integer(0, Number.MAX_SAFE_INTEGER)
const durationMs = integer(0, 0x7fff_ffff)
const mediaType = header(NAME_CHARS_MAX)

const source = record<SourceRef>({
  registry: text(NAME_CHARS_MAX, /^[A-Za-z0-9[][A-Za-z0-9.:\][-]*$/),
  repository: text(NAME_CHARS_MAX, /^[a-z0-9][a-z0-9._/-]*$/),
  authorization: optional(header(AUTHORIZATION_CHARS_MAX)),
})
const run = record<PieceRun>({ first: piece, count: integer(1, PIECES_MAX) }, (found, at) => {
  if (found.first + found.count > PIECES_MAX) failCheck(at, `piece numbers under ${PIECES_MAX}`)
})
const runs = list(run, RUNS_MAX)
const candidate = record<Candidate>({ host: hostId, addresses, seed: flag })

function checkGeometry(found: { size: number; pieceSize: number }, at: string): void {
  if (!isSoundGeometry(found) || found.size > found.pieceSize * PIECES_MAX) failCheck(at, 'a sound geometry')
}
function checkHashesMatch(found: { pieces: readonly number[]; hashes?: Uint8Array }, at: string): void {
  if (found.hashes !== undefined && found.hashes.byteLength !== found.pieces.length * PIECE_HASH_BYTES)
    failCheck(at, 'one hash for each piece')
}

const holding = record<Holding>({ digest, size, pieceSize, have: optional(bits) }, (found, at) => {
  checkGeometry(found, at)
  if (
    found.have !== undefined &&
    found.have.byteLength !== Math.ceil(Math.ceil(found.size / found.pieceSize) / 8)
  )
    failCheck(at, 'a bit for each piece')
})

type Table<M extends { readonly type: string }> = {
  readonly [K in M['type']]: Check<Extract<M, { type: K }>>
}

const hostMessages: Table<HostMessage> = {
  hello: record({
    type: word('hello'),
    name,
    addresses,
    zone: optional(name),
    seed: flag,
    uploadSlots: integer(0, UPLOAD_SLOTS_MAX),
    version: text(64),
    proof: optional(bytes(32, 32)),
  }),
  announce: record({
    type: word('announce'),
    holdings: list(holding, HOLDINGS_PER_ANNOUNCE_MAX),
    last: flag,
  }),
  register: record({
    type: word('register'),
    id: requestId,
    digest,
    size,
    source,
    have: optional(bits),
    urgent: optional(runs),
    partial: optional(flag),
  }),
  want: record({ type: word('want'), digest, urgent: runs, partial: flag }),
  report: record<Report>(
    {
      type: word('report'),
      digest,
      pieces,
      hashes: optional(hashes),
      fromSourceBytes: counter,
      parents: list(record({ host: hostId, bytes: counter }), CANDIDATES_MAX),
      slotsBusy: integer(0, UPLOAD_SLOTS_MAX),
    },
    checkHashesMatch,
  ),
  'parent-fault': record({
    type: word('parent-fault'),
    digest,
    host: hostId,
    fault: word('corrupt', 'silent', 'stalled', 'gone', 'unreachable', 'refused', 'protocol'),
    piece: optional(piece),
  }),
  finish: record({ type: word('finish'), digest, outcome: word('done', 'failed', 'left') }),
  evicted: record({ type: word('evicted'), digests: list(digest, DIGESTS_PER_MESSAGE_MAX) }),
  'grant-failed': record({
    type: word('grant-failed'),
    digest,
    runs,
    code,
    status: integer(0, 999),
    detail,
  }),
  'digest-mismatch': record({ type: word('digest-mismatch'), digest }),
  relay: record({
    type: word('relay'),
    id: requestId,
    kind: word('manifest', 'blob-length'),
    source,
    reference: text(NAME_CHARS_MAX, /^[A-Za-z0-9_][A-Za-z0-9._:+-]*$/),
    accept: list(mediaType, ACCEPT_MAX),
    known: optional(digest),
    fresh: optional(flag),
  }),
  heartbeat: record({
    type: word('heartbeat'),
    slotsBusy: integer(0, UPLOAD_SLOTS_MAX),
    storeBytes: counter,
  }),
}

const supernodeMessages: Table<SupernodeMessage> = {
  welcome: record({
    type: word('welcome'),
    ticket: bytes(1, TICKET_BYTES_MAX),
    ticketMs: durationMs,
    heartbeatMs: integer(1, 0x7fff_ffff),
    neighbours: optional(list(candidate, NEIGHBOURS_MAX)),
  }),
  registered: record({
    type: word('registered'),
    id: requestId,
    digest,
    pieceSize,
    hashed: bits,
    hashes,
    parents: list(candidate, CANDIDATES_MAX),
    content: optional(bytes(0, SMALL_BLOB_BYTES_MAX)),
  }),
  hashes: record<Hashes>({ type: word('hashes'), digest, pieces, hashes }, checkHashesMatch),
  parents: record({
    type: word('parents'),
    digest,
    parents: list(candidate, CANDIDATES_MAX),
    drop: list(hostId, CANDIDATES_MAX),
  }),
  grant: record<Grant>(
    { type: word('grant'), digest, size, pieceSize, source, runs, urgent: optional(flag) },
    checkGeometry,
  ),
  'task-failed': record({ type: word('task-failed'), digest, code, detail, challenge }),
  'task-reset': record({ type: word('task-reset'), digest }),
  probe: record({ type: word('probe') }),
  relayed: record({
    type: word('relayed'),
    id: requestId,
    mediaType,
    digest: optional(digest),
    length: counter,
    body: optional(bytes(0, MANIFEST_BYTES_MAX)),
    stale: flag,
    ageMs: optional(counter),
  }),
  refused: record({ type: word('refused'), id: requestId, code, detail, challenge }),
}

/** Keys of the messages that come most often. */
const knownKeys = groupKeys([
  ...['type', 'digest', 'pieces', 'hashes', 'fromSourceBytes', 'parents', 'slotsBusy', 'host', 'bytes'],
  ...['id', 'size', 'source', 'have', 'registry', 'repository', 'authorization', 'outcome', 'storeBytes'],
  ...['addresses', 'seed', 'pieceSize', 'hashed'],
])

/** Encodes a message; the bytes are the frame's content. @throws PantalaError MESSAGE_INVALID if it is over the frame limit */
export function encodeMessage(message: HostMessage | SupernodeMessage): Uint8Array {
  const frame = encodeCbor(message)
  if (frame.byteLength > SUPERNODE_FRAME_BYTES_MAX)
    throw new PantalaError('MESSAGE_INVALID', { detail: `${message.type} of ${frame.byteLength} bytes` })
  return frame
}

/** Decodes and checks what a host sent. @throws PantalaError MESSAGE_INVALID */
export function decodeHostMessage(frame: Uint8Array): HostMessage {
  return decodeChecked(frame, HOST_FRAME_BYTES_MAX, hostMessages as Table<HostMessage>) as HostMessage
}

/** Decodes and checks what the supernode sent. @throws PantalaError MESSAGE_INVALID */
export function decodeSupernodeMessage(frame: Uint8Array): SupernodeMessage {
  return decodeChecked(frame, SUPERNODE_FRAME_BYTES_MAX, supernodeMessages) as SupernodeMessage
}

function decodeChecked(
  frame: Uint8Array,
  bytesMax: number,
  table: Readonly<Record<string, Check<unknown>>>,
): unknown {
  if (frame.byteLength > bytesMax)
    throw new PantalaError('MESSAGE_INVALID', { detail: `${frame.byteLength} bytes, limit ${bytesMax}` })
  let message: unknown
  try {
    message = decodeCbor(frame, MESSAGE_ITEMS_MAX, knownKeys)
  } catch (cause) {
    throw new PantalaError('MESSAGE_INVALID', { detail: 'not the CBOR expected', cause })
  }
  const type = (message as { type?: unknown } | null)?.type
  if (typeof type !== 'string' || !Object.hasOwn(table, type)) failCheck('type', 'a known message type')
  return table[type]!(message, type)
}
