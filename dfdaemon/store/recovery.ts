// What a start finds: which indexed blobs have their file, which files have no record, and which are nobody's. Trusts no partial piece.
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { type Digest, digestAlgorithm } from '../../shared/digest.ts'
import {
  BLOB_BYTES_MAX,
  type Geometry,
  geometryFor,
  pieceCount,
  pieceLength,
  pieceOffset,
} from '../../shared/piece.ts'
import { hashPiece } from '../../shared/piece-hash.ts'
import { contentOf } from '../../shared/task-key.ts'
import type { Disk } from './disk.ts'
import type { IndexedBlob } from './index-records.ts'
import { parseFinalName, parsePartialName, type StoreLayout } from './layout.ts'
import type { PieceIndex } from './piece-index.ts'
import type { StartSteps } from './start-steps.ts'
import { StoredBlob } from './stored-blob.ts'

/** A digest is summed up in slices of this many bytes: others have the event loop in between. */
const SLICE_BYTES = 2 * 1024 * 1024

export interface RecoveryComponents {
  readonly disk: Disk
  readonly layout: StoreLayout
  readonly index: PieceIndex
  readonly steps: StartSteps
}

export interface StrayFile {
  readonly path: string
  /** How the blob was cut, if a record says so. */
  geometry?: Geometry
}

export interface Recovered {
  /** Complete ones, and partial ones whose pieces are claims until they are hashed again. */
  readonly blobs: StoredBlob[]
  /** Files in the place of complete blobs that no record vouches for: to be read whole before they are trusted. */
  readonly strays: Map<Digest, StrayFile>
  /** Records without a file that fits. */
  readonly lost: Digest[]
  /** Partial files that nobody owned, removed. */
  readonly removed: number
}

/** Opens the index. `broken`: it was, and is begun anew. @throws PantalaError DATA_DIR_UNUSABLE */
export function readIndex({
  index,
  steps,
}: RecoveryComponents): Promise<{ broken: boolean; records: IndexedBlob[] }> {
  return steps.run('open index', async counts => {
    const { broken, blobs } = await index.open()
    counts['records'] = blobs.length
    return { broken, records: blobs }
  })
}

/** Puts records and files together, without reading any file. */
export async function recoverBlobs(
  components: RecoveryComponents,
  indexed: readonly IndexedBlob[],
): Promise<Recovered> {
  const { disk, layout, steps } = components
  const { strays, partialNames } = await steps.run('list files', async counts => {
    const listed = {
      strays: await listFinal(components),
      partialNames: await disk.listDirectory(layout.partialDir),
    }
    counts['files'] = listed.strays.size
    counts['partialFiles'] = listed.partialNames.length
    return listed
  })
  const partial = new Set(partialNames.map(parsePartialName))
  const blobs: StoredBlob[] = []
  const lost: Digest[] = []
  await steps.run('match records', async counts => {
    Object.assign(counts, { complete: 0, partial: 0, lost: 0, strays: 0, bytes: 0 })
    for (const record of indexed) {
      const isFinal = strays.has(record.digest)
      const blob = await recoverBlob(components, record, isFinal, partial.has(record.digest))
      if (blob === undefined) lost.push(record.digest)
      else blobs.push(blob)
      counts[blob === undefined ? 'lost' : blob.complete ? 'complete' : 'partial']!++
      counts['bytes']! += blob?.heldBytes ?? 0
      const stray = strays.get(record.digest)
      if (blob?.complete) strays.delete(record.digest)
      else if (stray !== undefined) stray.geometry = record
    }
    counts['strays'] = strays.size
  })
  const owned = new Set(blobs.filter(blob => !blob.complete).map(blob => blob.digest))
  const isOwned = (name: string): boolean => {
    const digest = parsePartialName(name)
    return digest !== undefined && owned.has(digest)
  }
  const removed = await steps.run('remove leftovers', async counts => {
    counts['partialFiles'] = 0
    for (const name of partialNames) {
      if (isOwned(name)) continue
      await disk.removeFile(join(layout.partialDir, name))
      counts['partialFiles']++
    }
    return counts['partialFiles']
  })
  return { blobs, strays, lost, removed }
}

/**
 * A blob is complete only if record and place both say so. One with a record of completion that still lies in partial/ (the crash came
 * between the two) keeps its pieces as claims; one in the place of complete blobs without such a record is a stray.
 */
async function recoverBlob(
  { layout, index }: RecoveryComponents,
  record: IndexedBlob,
  isFinal: boolean,
  isPartial: boolean,
): Promise<StoredBlob | undefined> {
  const { digest, usedAt } = record
  if (isFinal) {
    if (!record.complete) return undefined
    const blob = new StoredBlob(digest, record, layout.finalPath(digest), usedAt)
    blob.complete = true
    blob.trusted = true
    return blob
  }
  const pieces = isPartial ? await index.pieces(digest, record) : undefined
  if (pieces === undefined || pieces.have.count === 0) return undefined
  const blob = new StoredBlob(digest, record, layout.partialPath(digest), usedAt)
  blob.claims = pieces.have
  blob.hashes = pieces.hashes
  return blob
}

async function listFinal({ disk, layout }: RecoveryComponents): Promise<Map<Digest, StrayFile>> {
  const found = new Map<Digest, StrayFile>()
  for (const { algorithm, dir } of layout.algorithmDirs()) {
    for (const fanOut of await disk.listDirectory(dir)) {
      for (const name of await disk.listDirectory(join(dir, fanOut))) {
        const digest = parseFinalName(algorithm, fanOut, name)
        if (digest !== undefined) found.set(digest, { path: join(dir, fanOut, name) })
      }
    }
  }
  return found
}

/**
 * Reads a file whole, checks it against the digest of its name and hashes its pieces; undefined if it is wrong or cannot be read. The
 * blob is not yet complete: that is for a commit.
 */
export async function readStray(
  disk: Disk,
  digest: Digest,
  stray: StrayFile,
  signal: AbortSignal,
): Promise<StoredBlob | undefined> {
  const { path } = stray
  const { size, changedAt } = await disk.fileStat(path)
  if (size > BLOB_BYTES_MAX) return undefined
  const geometry = stray.geometry?.size === size ? stray.geometry : geometryFor(size)
  const blob = new StoredBlob(digest, geometry, path, changedAt)
  const hash = createHash(digestAlgorithm(digest))
  const buffer = Buffer.allocUnsafeSlow(Math.min(geometry.pieceSize, Math.max(1, size)))
  const fd = await disk.openFile(path)
  try {
    for (let piece = 0; piece < pieceCount(geometry); piece++) {
      const bytes = buffer.subarray(0, pieceLength(geometry, piece))
      for (let at = 0; at < bytes.byteLength; at += SLICE_BYTES) {
        signal.throwIfAborted()
        const slice = bytes.subarray(at, at + SLICE_BYTES)
        await disk.read(fd, slice, pieceOffset(geometry, piece) + at)
        hash.update(slice)
      }
      blob.setHash(piece, hashPiece(bytes))
      blob.have.add(piece)
    }
  } finally {
    await disk.closeFile(fd)
  }
  return `${digestAlgorithm(digest)}:${hash.digest('hex')}` === contentOf(digest) ? blob : undefined
}

/**
 * Hashes the claimed pieces of a partial blob again, and takes each from its claims; `onTrue` hears of those that hold. The others may have
 * been recorded before they reached the disk, or the disk rots. Returns how many were wrong.
 */
export async function verifyClaims(
  blob: StoredBlob,
  read: (position: number, into: Uint8Array) => Promise<void>,
  onTrue: (piece: number) => void,
  signal: AbortSignal,
): Promise<number> {
  const claims = blob.claims!
  const buffer = Buffer.allocUnsafeSlow(Math.min(blob.pieceSize, Math.max(1, blob.size)))
  let wrong = 0
  for (const piece of [...claims.pieces()]) {
    if (signal.aborted || blob.forgotten) return wrong
    const bytes = buffer.subarray(0, pieceLength(blob, piece))
    const holds = await read(pieceOffset(blob, piece), bytes).then(
      () => Buffer.compare(hashPiece(bytes), blob.hashAt(piece)) === 0,
      () => false,
    )
    claims.remove(piece)
    // What is being written now, or was meanwhile, is no concern of the claim.
    if (blob.writing.has(piece) || blob.have.has(piece)) continue
    if (holds) onTrue(piece)
    else wrong++
  }
  return wrong
}
