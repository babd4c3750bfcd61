// What a start finds: blobs of the index whose files are there, and, where the index was lost, blobs that only their files tell of.
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { Bitfield } from '../../shared/bitfield.ts'
import { type Digest, digestAlgorithm } from '../../shared/digest.ts'
import { BLOB_BYTES_MAX, geometryFor, pieceCount, pieceLength, pieceOffset } from '../../shared/piece.ts'
import { hashPiece } from '../../shared/piece-hash.ts'
import type { Disk } from './disk.ts'
import { parseFinalName, parsePartialName, type StoreLayout } from './layout.ts'
import type { IndexedBlob, PieceIndex } from './piece-index.ts'
import { StoredBlob } from './stored-blob.ts'

export interface RecoveryComponents {
  readonly disk: Disk
  readonly layout: StoreLayout
  readonly index: PieceIndex
}

/**
 * Puts one indexed blob and its file together. A complete one may still lie in partial/ (the crash came between record and rename): its data
 * was on the disk before the record was, so it is moved into place. Undefined if there is no file, or one of another length.
 */
export async function recoverBlob(
  components: RecoveryComponents,
  indexed: IndexedBlob,
): Promise<StoredBlob | undefined> {
  const { disk, layout } = components
  const { digest, complete } = indexed
  const finalPath = layout.finalPath(digest)
  const partialPath = layout.partialPath(digest)
  const wanted = complete ? finalPath : partialPath
  const other = complete ? partialPath : finalPath
  if (!(await hasLength(disk, wanted, indexed.size))) {
    if (!(await hasLength(disk, other, indexed.size))) return undefined
    await disk.makeDirectory(layout.finalDir(digest))
    await disk.rename(other, wanted)
    await disk.syncDirectory(layout.finalDir(digest))
    await disk.syncDirectory(layout.partialDir)
  }
  const blob = new StoredBlob(digest, indexed, wanted, indexed.usedAt)
  if (complete) {
    blob.complete = true
    return blob
  }
  const pieces = await components.index.pieces(digest, indexed)
  if (pieces === undefined || pieces.have.count === 0) return undefined
  blob.claims = pieces.have
  blob.hashes = pieces.hashes
  return blob
}

async function hasLength(disk: Disk, path: string, size: number): Promise<boolean> {
  const stat = await disk.fileStat(path).catch(() => undefined)
  return stat?.size === size
}

/** Removes files that no blob owns. Only for an index that was not lost. */
export async function removeStrays(
  components: RecoveryComponents,
  owned: (digest: Digest) => boolean,
): Promise<number> {
  const { disk, layout } = components
  let removed = 0
  for (const { digest, path } of await listFiles(components)) {
    if (digest !== undefined && owned(digest)) continue
    await disk.removeFile(path)
    removed++
  }
  for (const name of await disk.listDirectory(layout.partialDir)) {
    const digest = parsePartialName(name)
    if (digest !== undefined && owned(digest)) continue
    await disk.removeFile(join(layout.partialDir, name))
    removed++
  }
  return removed
}

/** Files under blobs/, with the digest their name stands for. */
async function listFiles({
  disk,
  layout,
}: RecoveryComponents): Promise<{ digest: Digest | undefined; path: string }[]> {
  const found: { digest: Digest | undefined; path: string }[] = []
  for (const { algorithm, dir } of layout.algorithmDirs()) {
    for (const fanOut of await disk.listDirectory(dir)) {
      for (const name of await disk.listDirectory(join(dir, fanOut))) {
        found.push({ digest: parseFinalName(algorithm, fanOut, name), path: join(dir, fanOut, name) })
      }
    }
  }
  return found
}

/**
 * Finds complete blobs by their files alone, for an index that was lost: each is read whole, its digest checked and its pieces hashed
 * before it is yielded. Files that are wrong are removed.
 */
export async function* rebuildBlobs(
  components: RecoveryComponents,
  signal: AbortSignal,
): AsyncGenerator<StoredBlob> {
  const { disk } = components
  for (const { digest, path } of await listFiles(components)) {
    signal.throwIfAborted()
    const stat = await disk.fileStat(path).catch(() => undefined)
    if (stat === undefined) continue
    const blob =
      digest === undefined || stat.size > BLOB_BYTES_MAX
        ? undefined
        : await readWhole(disk, digest, path, stat, signal)
    if (blob === undefined) await disk.removeFile(path)
    else yield blob
  }
}

async function readWhole(
  disk: Disk,
  digest: Digest,
  path: string,
  stat: { size: number; changedAt: number },
  signal: AbortSignal,
): Promise<StoredBlob | undefined> {
  const geometry = geometryFor(stat.size)
  const blob = new StoredBlob(digest, geometry, path, stat.changedAt)
  const hash = createHash(digestAlgorithm(digest))
  const buffer = Buffer.allocUnsafeSlow(Math.min(geometry.pieceSize, Math.max(1, stat.size)))
  const fd = await disk.openFile(path)
  try {
    for (let piece = 0; piece < pieceCount(geometry); piece++) {
      signal.throwIfAborted()
      const bytes = buffer.subarray(0, pieceLength(geometry, piece))
      await disk.read(fd, bytes, pieceOffset(geometry, piece))
      hash.update(bytes)
      blob.setHash(piece, hashPiece(bytes))
      blob.have.add(piece)
    }
  } finally {
    await disk.closeFile(fd)
  }
  if (`${digestAlgorithm(digest)}:${hash.digest('hex')}` !== digest) return undefined
  blob.complete = true
  return blob
}

/**
 * Hashes the claimed pieces of a partial blob again; `onTrue` hears of each that holds. Those that don't are left out without a word: a
 * crash may have come between the write and the record, or a disk may rot.
 */
export async function verifyClaims(
  read: (position: number, into: Uint8Array) => Promise<void>,
  blob: StoredBlob,
  claims: Bitfield,
  onTrue: (piece: number) => void,
): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(blob.pieceSize, Math.max(1, blob.size)))
  for (const piece of claims.pieces()) {
    if (blob.forgotten) return
    const bytes = buffer.subarray(0, pieceLength(blob, piece))
    const expected = blob.hashes!.subarray(piece * 32, piece * 32 + 32)
    const held = await read(pieceOffset(blob, piece), bytes).then(
      () => Buffer.compare(hashPiece(bytes), expected) === 0,
      () => false,
    )
    if (held) onTrue(piece)
  }
}
