// What went wrong in one request to the source, before it is known whether another try helps. Holds no credentials and no query strings.
import { type ErrorCode, PantalaError } from '../errors.ts'

export interface FailureFacts {
  readonly detail: string
  /** HTTP status, 0 if there was none. */
  readonly status?: number
  readonly challenge?: string | undefined
  readonly cause?: unknown
  /** What the source asked to wait, in ms. */
  readonly retryAfterMs?: number
}

/** One failed try; never leaves shared/source. */
export class SourceFailure extends Error {
  readonly code: ErrorCode
  readonly status: number
  readonly challenge: string | undefined
  readonly retryAfterMs: number

  constructor(code: ErrorCode, facts: FailureFacts) {
    super(facts.detail, { cause: facts.cause })
    this.name = 'SourceFailure'
    this.code = code
    this.status = facts.status ?? 0
    this.challenge = facts.challenge
    this.retryAfterMs = facts.retryAfterMs ?? 0
  }

  /** True if the same request may succeed elsewhere or later. */
  get isPassing(): boolean {
    switch (this.code) {
      case 'SOURCE_AWAY':
      case 'SOURCE_STALLED':
      case 'SOURCE_DIGEST_MISMATCH':
      case 'SOURCE_LENGTH_WRONG':
        return true
      case 'SOURCE_STATUS':
        return this.status >= 500 || this.status === 429 || this.status === 408
      default:
        return false
    }
  }
}

/** URL for people and logs: no user, password, query or fragment. */
export function showUrl(url: URL): string {
  return `${url.origin}${url.pathname}`
}

/** What the source's status means for a wanted manifest or blob. */
export function failureOfStatus(
  status: number,
  asked: string,
  wanted: 'manifest' | 'blob' | 'other',
  headers: Readonly<Record<string, string>>,
): SourceFailure {
  const detail = `${asked} answered ${status}`
  if (status === 401)
    return new SourceFailure('SOURCE_UNAUTHORIZED', {
      detail,
      status,
      challenge: headers['www-authenticate'],
    })
  // Withheld for money or by law, or gone: a word on the content, not the silence of a source that is away.
  if (status === 403 || status === 402 || status === 451)
    return new SourceFailure('SOURCE_DENIED', { detail, status })
  if ((status === 404 || status === 410) && wanted !== 'other')
    return new SourceFailure(wanted === 'manifest' ? 'SOURCE_MANIFEST_UNKNOWN' : 'SOURCE_BLOB_UNKNOWN', {
      detail,
      status,
    })
  return new SourceFailure('SOURCE_STATUS', {
    detail,
    status,
    retryAfterMs: readRetryAfter(headers['retry-after'], headers['date']),
  })
}

/** Retry-After in ms, told in seconds or as a date by the source's own clock; 0 without one. */
function readRetryAfter(text: string | undefined, date: string | undefined): number {
  if (text === undefined) return 0
  if (/^\s*[0-9]{1,9}\s*$/.test(text)) return Number(text) * 1000
  const waitMs = Date.parse(text) - Date.parse(date ?? '')
  return Number.isFinite(waitMs) && waitMs > 0 ? waitMs : 0
}

/** The error a caller sees after all tries: the code of the one that decides, and what was tried. */
export function concludeFailures(failures: readonly SourceFailure[], decisive: SourceFailure): PantalaError {
  const tried = [...new Set(failures.map(failure => failure.message))]
  const shown = tried.length > 6 ? [...tried.slice(0, 3), '…', ...tried.slice(-2)] : tried
  return new PantalaError(decisive.code, {
    detail: shown.join('; '),
    challenge: decisive.challenge,
    cause: decisive.cause,
  })
}
