// What a reader waits for before its blob counts as open, no longer than the reader stays.
import { pieceAt } from '../../shared/piece.ts'
import type { BlobSession } from './blob-session.ts'
import type { ByteSpan } from './blobs.ts'
import { waitFor } from './readable-blob.ts'

/**
 * Resolves when the first piece of `span`, or, for the whole, some piece has landed, or the blob is complete; a blob of one piece is checked
 * as a whole first.
 */
export function firstBytes(
  session: BlobSession,
  span: ByteSpan | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { size, pieceSize } = session.geometry
  if (size <= pieceSize) return session.complete ? Promise.resolve() : waitFor(session, 'whole', signal)
  const first = span === undefined ? undefined : pieceAt(session.geometry, span.offset)
  if (first === undefined ? session.hasAny : session.has(first)) return Promise.resolve()
  return waitFor(session, first ?? 'any', signal)
}
