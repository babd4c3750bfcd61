// The message that gives a grant back: what failed, in the source's own words. Pure.
import type { Digest } from '../../shared/digest.ts'
import { toPantalaError } from '../../shared/errors.ts'
import { clipDetail } from '../../shared/protocol/limits.ts'
import type { GrantFailed, PieceRun } from '../../shared/protocol/messages.ts'

export function makeGrantFailed(digest: Digest, runs: readonly PieceRun[], error: Error): GrantFailed {
  const { code, detail } = toPantalaError(error, 'SOURCE_AWAY')
  // Errors of the source carry the status in their detail; 0 says that it is not known here.
  const status = Number(/\b([1-5]\d\d)\b/.exec(detail ?? '')?.[1] ?? 0)
  return { type: 'grant-failed', digest, runs, code, status, detail: clipDetail(detail ?? '') }
}
