// Which blobs must go to make room: a pure decision, least recently used first; does not touch the disk.
import type { Digest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'

/** Everything in bytes but the two counts. */
export interface Room {
  /** On disk or promised to blobs being written. */
  readonly usedBytes: number
  readonly quotaBytes: number
  /** What the file system still has. */
  readonly freeBytes: number
  /** What is to be left of it. */
  readonly minFreeBytes: number
  /** Promised to blobs being written, and not yet on the disk. */
  readonly unwrittenBytes: number
  readonly blobs: number
  readonly blobsMax: number
}

export type RoomBounds = Pick<Room, 'quotaBytes' | 'freeBytes' | 'minFreeBytes' | 'blobsMax'>

/** What counts of one blob when room is measured. */
export interface RoomTaker {
  readonly digest: Digest
  readonly usedAt: number
  readonly handles: number
  readonly size: number
  readonly claimedBytes: number
  readonly heldBytes: number
  readonly writers: number
}

/** Adds up what blobs take and what is promised to those being written. */
function measureRoom(blobs: readonly RoomTaker[], bounds: RoomBounds): Room {
  let usedBytes = 0
  let unwrittenBytes = 0
  for (const blob of blobs) {
    usedBytes += blob.claimedBytes
    if (blob.writers > 0) unwrittenBytes += blob.size - blob.heldBytes
  }
  const { quotaBytes, freeBytes, minFreeBytes, blobsMax } = bounds
  return { usedBytes, unwrittenBytes, quotaBytes, freeBytes, minFreeBytes, blobs: blobs.length, blobsMax }
}

/** A blob that may go: not open. */
export interface EvictionCandidate {
  readonly digest: Digest
  readonly bytes: number
  readonly usedAt: number
}

/** Those of `blobs` that may go: not open. */
function* listEvictable(blobs: Iterable<RoomTaker>): Generator<EvictionCandidate> {
  for (const { digest, claimedBytes, usedAt, handles } of blobs)
    if (handles === 0) yield { digest, bytes: claimedBytes, usedAt }
}

/**
 * The blobs to evict so that `wantBytes` more (and `wantBlobs` more blobs) fit; none if they do already, undefined if they cannot.
 * `candidates` is only walked if something must go.
 */
export function chooseEvictions(
  room: Room,
  want: { readonly bytes: number; readonly blobs: number },
  candidates: Iterable<EvictionCandidate>,
): Digest[] | undefined {
  let lackBytes = Math.max(
    room.usedBytes + want.bytes - room.quotaBytes,
    room.minFreeBytes + room.unwrittenBytes + want.bytes - room.freeBytes,
  )
  let lackBlobs = room.blobs + want.blobs - room.blobsMax
  const chosen: Digest[] = []
  if (lackBytes <= 0 && lackBlobs <= 0) return chosen
  const oldestFirst = [...candidates].sort((a, b) => a.usedAt - b.usedAt || (a.digest < b.digest ? -1 : 1))
  for (const candidate of oldestFirst) {
    chosen.push(candidate.digest)
    lackBytes -= candidate.bytes
    lackBlobs--
    if (lackBytes <= 0 && lackBlobs <= 0) return chosen
  }
  return undefined
}

/**
 * The blobs of `all` to evict so that `want` fits within `bounds`.
 * @throws PantalaError STORE_FULL if it cannot
 */
export function planEvictions(
  all: readonly RoomTaker[],
  want: { readonly bytes: number; readonly blobs: number },
  bounds: RoomBounds,
): Digest[] {
  const evictions = chooseEvictions(measureRoom(all, bounds), want, listEvictable(all))
  if (evictions !== undefined) return evictions
  const { quotaBytes, freeBytes, minFreeBytes } = bounds
  throw new PantalaError('STORE_FULL', {
    detail: `${want.bytes} bytes wanted; quota ${quotaBytes}, free on disk ${freeBytes}, of which ${minFreeBytes} are left to others`,
  })
}
