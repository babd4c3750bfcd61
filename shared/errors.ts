// Every error Pantala names: its code, who is to blame, what a retry can do, and what a client is told.
// Match on `code`, never on text. docs/errors.md is held to this catalogue by a test.

import { type ErrorEntry, row } from './error-entry.ts'
import { setupErrors } from './setup-errors.ts'

export const errorCatalogue = {
  NAME_INVALID: row(
    400,
    'NAME_INVALID',
    'caller',
    'never',
    'invalid repository name',
    'use lower case letters, digits and single separators, as the OCI distribution specification says',
  ),
  PATH_UNKNOWN: row(
    404,
    'NAME_UNKNOWN',
    'caller',
    'never',
    'no such path in the registry API',
    'paths are /v2/<name>/{manifests,blobs,tags,referrers}/…',
  ),
  REFERENCE_INVALID: row(
    400,
    'MANIFEST_UNKNOWN',
    'caller',
    'never',
    'invalid tag',
    'a tag has up to 128 letters, digits, dots, dashes and underscores',
  ),
  DIGEST_INVALID: row(
    400,
    'DIGEST_INVALID',
    'caller',
    'never',
    'invalid digest',
    'a digest reads sha256:<64 hex digits>',
  ),
  RANGE_INVALID: row(
    416,
    'SIZE_INVALID',
    'caller',
    'never',
    'range not satisfiable',
    'ask for bytes inside the blob',
  ),
  METHOD_UNSUPPORTED: row(
    405,
    'UNSUPPORTED',
    'caller',
    'never',
    'this method has no meaning here, or pushes are off',
    'pushes pass through only where proxy.writes is on',
  ),
  UPSTREAM_UNKNOWN: row(
    404,
    'NAME_UNKNOWN',
    'caller',
    'never',
    'no upstream registry is known for this name',
    'send ?ns=, put the registry first in the path, or set dfdaemon.upstreams.default',
  ),
  UPSTREAM_FORBIDDEN: row(
    403,
    'DENIED',
    'caller',
    'never',
    'this registry may not be contacted',
    'list the registry in the configuration',
  ),
  LOOP_DETECTED: row(
    508,
    'UNAVAILABLE',
    'caller',
    'never',
    'the request leads back to this dfdaemon',
    'leave the dfdaemon’s own address out of what goes through it as HTTP proxy (NO_PROXY)',
  ),
  HOST_MISMATCH: row(
    421,
    'DENIED',
    'caller',
    'never',
    'the connection is another host’s',
    'ask for each host over a connection of its own',
  ),
  PROXY_REQUEST_INVALID: row(
    400,
    'UNSUPPORTED',
    'caller',
    'never',
    'no request that an HTTP proxy can answer',
    'send http://host/… or CONNECT host:port',
  ),
  SOURCE_MANIFEST_UNKNOWN: row(
    404,
    'MANIFEST_UNKNOWN',
    'source',
    'never',
    'the source has no such manifest',
    'check the name and tag at the registry',
  ),
  SOURCE_BLOB_UNKNOWN: row(
    404,
    'BLOB_UNKNOWN',
    'source',
    'never',
    'the source has no such blob',
    'check the digest at the registry',
  ),
  SOURCE_UNAUTHORIZED: row(
    401,
    'UNAUTHORIZED',
    'source',
    'never',
    'the source wants credentials',
    'log in to the registry with the runtime',
  ),
  SOURCE_DENIED: row(
    403,
    'DENIED',
    'source',
    'never',
    'the source refuses these credentials',
    'check the account’s rights at the registry',
  ),
  SOURCE_AWAY: row(
    502,
    'UNAVAILABLE',
    'source',
    'same',
    'the source cannot be reached',
    'check the registry’s address and the network between',
  ),
  SOURCE_STATUS: row(
    502,
    'UNAVAILABLE',
    'source',
    'same',
    'the source answered with an error',
    'see the status in the detail',
  ),
  SOURCE_STALLED: row(
    504,
    'UNAVAILABLE',
    'source',
    'same',
    'the source stopped sending',
    'the registry or the network is overloaded',
  ),
  SOURCE_LENGTH_WRONG: row(
    502,
    'UNAVAILABLE',
    'source',
    'same',
    'the source sent another length than it named',
    'a proxy on the way may cut bodies',
  ),
  SOURCE_RANGE_IGNORED: row(
    502,
    'UNAVAILABLE',
    'source',
    'same',
    'the source sends blobs only from their start',
    'a proxy on the way may drop Range; such a blob is fetched whole',
  ),
  SOURCE_DIGEST_MISMATCH: row(
    502,
    'UNAVAILABLE',
    'source',
    'same',
    'the source sent bytes that do not match the digest',
    'the registry’s storage or a proxy on the way is corrupt',
  ),
  SOURCE_BUDGET_SPENT: row(
    503,
    'UNAVAILABLE',
    'source',
    'elsewhere',
    'the source budget of this task is spent',
    'another host is fetching it; try again shortly',
  ),
  PIECE_CORRUPT: row(
    502,
    'UNAVAILABLE',
    'parent',
    'elsewhere',
    'a piece does not match its hash',
    'the parent’s disk or memory may be failing',
  ),
  PARENT_SILENT: row(
    504,
    'UNAVAILABLE',
    'parent',
    'elsewhere',
    'a parent did not answer in time',
    'the parent is overloaded or gone',
  ),
  PARENT_UNREACHABLE: row(
    502,
    'UNAVAILABLE',
    'parent',
    'elsewhere',
    'a parent could not be dialled',
    'the parent is behind NAT or a firewall, or was switched off; see peer.announce',
  ),
  PARENT_GONE: row(
    502,
    'UNAVAILABLE',
    'parent',
    'elsewhere',
    'a parent closed the connection',
    'the parent restarted or the network failed',
  ),
  PARENT_REFUSED: row(
    503,
    'UNAVAILABLE',
    'parent',
    'elsewhere',
    'a parent refused the request',
    'the parent is at its upload limit or no longer holds the task',
  ),
  PARENT_PROTOCOL: row(
    502,
    'UNAVAILABLE',
    'parent',
    'elsewhere',
    'a parent broke the piece protocol',
    'hosts may run incompatible versions',
  ),
  SUPERNODE_AWAY: row(
    503,
    'UNAVAILABLE',
    'supernode',
    'source',
    'the supernode cannot be reached',
    'pulls go on without it; check its address and process',
  ),
  SUPERNODE_REFUSED: row(
    503,
    'UNAVAILABLE',
    'supernode',
    'source',
    'the supernode refused the request',
    'see the detail',
  ),
  SUPERNODE_IDENTITY: row(
    503,
    'UNAVAILABLE',
    'supernode',
    'never',
    'the supernode is not the one configured',
    'compare the PeerId in supernode.addresses with the one the supernode prints at start',
  ),
  ADMISSION_REFUSED: row(
    403,
    'DENIED',
    'supernode',
    'never',
    'this host is not admitted to the cluster',
    'set the same cluster.secret on supernode and hosts',
  ),
  STORE_FULL: row(
    507,
    'UNAVAILABLE',
    'self',
    'source',
    'the store is full',
    'raise store.quotaBytes or free the disk',
  ),
  STORE_FAILED: row(500, 'UNAVAILABLE', 'self', 'source', 'the store failed', 'check the disk under dataDir'),
  STORE_CORRUPT: row(
    500,
    'UNAVAILABLE',
    'self',
    'elsewhere',
    'stored bytes do not match their hash',
    'the piece is fetched again; check the disk if it recurs',
  ),
  BLOB_INCOMPLETE: row(
    503,
    'UNAVAILABLE',
    'self',
    'same',
    'the blob could not be completed',
    'every parent and the source failed; see the detail',
  ),
  OVERLOADED: row(503, 'UNAVAILABLE', 'self', 'same', 'too many requests are waiting', 'try again shortly'),
  SHUTTING_DOWN: row(
    503,
    'UNAVAILABLE',
    'self',
    'same',
    'the daemon is stopping',
    'try again when it is back',
  ),
  DEADLINE_PASSED: row(
    504,
    'UNAVAILABLE',
    'self',
    'same',
    'the deadline passed',
    'try again; see the detail for what was waited for',
  ),
  MESSAGE_INVALID: row(
    400,
    'UNSUPPORTED',
    'caller',
    'never',
    'a message is malformed or over its limit',
    'hosts may run incompatible versions',
  ),
  CONFIG_INVALID: row(
    500,
    'UNSUPPORTED',
    'caller',
    'never',
    'the configuration is wrong',
    'mend what is named; pantala config dfdaemon and pantala config supernode explain every option',
  ),
  ADDRESS_IN_USE: row(
    500,
    'UNAVAILABLE',
    'caller',
    'never',
    'the address is in use',
    'stop the other process or choose another port',
  ),
  DATA_DIR_UNUSABLE: row(
    500,
    'UNAVAILABLE',
    'caller',
    'never',
    'the data directory cannot be used',
    'check that it exists, is writable, and no other process has it',
  ),
  ...setupErrors,
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof errorCatalogue

/** What an error may add to its row: a detail for people, and the error that caused it. */
export interface ErrorFacts {
  readonly detail?: string
  readonly cause?: unknown
  /** `WWW-Authenticate` of the source's 401, to be shown to the client unchanged. */
  readonly challenge?: string
}

/** The one error class. `message` is the catalogue's message, and the detail after a colon. */
export class PantalaError extends Error {
  readonly code: ErrorCode
  readonly detail: string | undefined
  readonly challenge: string | undefined

  constructor(code: ErrorCode, facts: ErrorFacts = {}) {
    const text = errorCatalogue[code].message
    super(facts.detail === undefined ? text : `${text}: ${facts.detail}`, { cause: facts.cause })
    this.name = 'PantalaError'
    this.code = code
    this.detail = facts.detail
    this.challenge = facts.challenge
  }

  get entry(): ErrorEntry {
    return errorCatalogue[this.code]
  }
}

/** True if `error` is a PantalaError, with that code if one is given. */
export function isPantalaError(error: unknown, code?: ErrorCode): error is PantalaError {
  return error instanceof PantalaError && (code === undefined || error.code === code)
}

/** Wraps anything thrown; a PantalaError passes unchanged. */
export function toPantalaError(error: unknown, code: ErrorCode, detail?: string): PantalaError {
  if (error instanceof PantalaError) return error
  return new PantalaError(code, {
    detail: detail ?? (error instanceof Error ? error.message : String(error)),
    cause: error,
  })
}
