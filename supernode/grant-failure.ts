// What it means for others that a host could not fetch what it was granted. Pure.
import { type ErrorCode, errorCatalogue } from '../shared/errors.ts'
import type { GrantFailed, SourceRef } from '../shared/protocol/messages.ts'
import { realmOf } from '../shared/task-key.ts'

/** Errors that the source would answer to anyone with the same repository and credentials. */
const refusingCodes = new Set(['SOURCE_UNAUTHORIZED', 'SOURCE_DENIED', 'SOURCE_BLOB_UNKNOWN'])

export interface GrantVerdict {
  /** Any host would be refused with this source. */
  readonly sourceRefused: boolean
  /** This host need not be granted it again. */
  readonly lasting: boolean
}

/** `source` is the one that was granted, undefined if that is not known any more. */
export function judgeGrantFailure(message: GrantFailed, source: SourceRef | undefined): GrantVerdict {
  const { code, digest } = message
  const isRefused = refusingCodes.has(code)
  // Private, and asked for without credentials: hosts use their own there, so one's refusal says nothing of the next.
  const isLent = realmOf(digest) !== undefined && source?.authorization === undefined
  const isHostsOwn = isRefused && isLent && code !== 'SOURCE_BLOB_UNKNOWN'
  return { sourceRefused: isRefused && !isHostsOwn, lasting: isOwnFailure(code) || isHostsOwn }
}

/** True if trying again on the same host is of no use: its store is full, say. */
function isOwnFailure(code: string): boolean {
  return Object.hasOwn(errorCatalogue, code) && errorCatalogue[code as ErrorCode].blame !== 'source'
}
