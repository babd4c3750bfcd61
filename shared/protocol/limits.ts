// Named limits of the schedule messages: what either side refuses, so that hostile bytes cost little. docs/protocol.md lists the ones that matter to both ends.
import { SCHEDULE_FRAME_BYTES_MAX } from './messages.ts'

/** Largest frame a host may send, in bytes: a report of every piece with its hash, or one batch of an announce. */
export const HOST_FRAME_BYTES_MAX = 256 * 1024
/** Largest frame the supernode may send, in bytes. */
export const SUPERNODE_FRAME_BYTES_MAX = SCHEDULE_FRAME_BYTES_MAX
/** CBOR items in one message, keys and nested items included. */
export const MESSAGE_ITEMS_MAX = 32 * 1024
/** Pieces of one task; `pieceSizeFor` never cuts more. */
export const PIECES_MAX = 4096
export const RUNS_MAX = PIECES_MAX / 2
export const HOLDINGS_PER_ANNOUNCE_MAX = 256
export const ADDRESSES_MAX = 8
export const ADDRESS_CHARS_MAX = 256
export const CANDIDATES_MAX = 64
export const DIGESTS_PER_MESSAGE_MAX = 1024
export const ACCEPT_MAX = 64
export const NAME_CHARS_MAX = 255
export const AUTHORIZATION_CHARS_MAX = 16 * 1024
export const CHALLENGE_CHARS_MAX = 4096
export const DETAIL_CHARS_MAX = 1024
export const UPLOAD_SLOTS_MAX = 4096
export const TICKET_BYTES_MAX = 256
/** Relayed questions and small blobs that one host may wait for at a time. */
export const QUESTIONS_PER_HOST_MAX = 128

/** Cuts text for people to what a message may carry. */
export function clipDetail(text: string): string {
  return text.length <= DETAIL_CHARS_MAX ? text : `${text.slice(0, DETAIL_CHARS_MAX - 1)}…`
}
