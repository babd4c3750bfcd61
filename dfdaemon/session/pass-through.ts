// Hands a blob on straight from the source when the store can't take it; nothing is kept or shared, the digest is still checked.
import { DigestCheck } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import { contentOf } from '../../shared/task-key.ts'
import type { SourceFetcher, SourceRange } from '../fetch/source-fetcher.ts'
import type { TakeChunk } from './blobs.ts'

/**
 * A whole blob is checked against its digest and its last byte comes only if it matches; a part of one can't be checked here, the
 * runtime does that. @throws the source's PantalaError, SOURCE_DIGEST_MISMATCH, what `take` rejected with, or the signal's reason
 */
export async function passThrough(
  source: SourceFetcher,
  range: SourceRange,
  take: TakeChunk,
  signal: AbortSignal,
): Promise<void> {
  const whole = range.offset === 0 && range.length === range.size
  const check = whole ? new DigestCheck(contentOf(range.digest)) : undefined
  let passed = 0
  let last: Uint8Array | undefined
  const takeOn = (chunk: Uint8Array): Promise<void> | undefined => {
    check?.update(chunk)
    passed += chunk.byteLength
    if (check === undefined || passed < range.length) return take(chunk)
    last = Uint8Array.from(chunk.subarray(chunk.byteLength - 1))
    return chunk.byteLength > 1 ? take(chunk.subarray(0, chunk.byteLength - 1)) : undefined
  }
  await source.fetch(range, takeOn, signal)
  if (check !== undefined && !check.matches())
    throw new PantalaError('SOURCE_DIGEST_MISMATCH', { detail: range.digest })
  if (last !== undefined) await take(last)
}
