// The messages between host and supernode on /pantala/schedule/1.0.0, as types; codec.ts puts them on the wire and checks every byte.
// One long-lived stream per host, opened by the host. Each message is one CBOR map in one length-prefixed frame.
import type { Digest } from '../digest.ts'

export const SCHEDULE_PROTOCOL = '/pantala/schedule/1.0.0'

/** A host's libp2p PeerId in its text form. */
export type HostId = string

/** Where a task's bytes come from. `authorization` is the caller's own header; it lives in memory only and is never logged. */
export interface SourceRef {
  /** Registry host as runtimes write it: `docker.io`, `reg.lab:5000`. */
  readonly registry: string
  readonly repository: string
  readonly authorization?: string
}

/** A run of pieces: first number and count. */
export interface PieceRun {
  readonly first: number
  readonly count: number
}

/** A parent the supernode suggests. `have` is the set the supernode knows; the parent itself tells the newest. */
export interface Candidate {
  readonly host: HostId
  /** Multiaddrs in text form, most local first, at most 8. */
  readonly addresses: readonly string[]
  readonly seed: boolean
}

/** What a host holds of one task. `have` absent: all of it. */
export interface Holding {
  readonly digest: Digest
  readonly size: number
  readonly pieceSize: number
  readonly have?: Uint8Array
}

// ---- host to supernode ----

/** First message on the stream. `proof` is HMAC-SHA-256 under the cluster secret, see admission.ts; absent where the cluster has none. */
export interface Hello {
  readonly type: 'hello'
  /** A name for people: the machine's host name unless configured. */
  readonly name: string
  readonly addresses: readonly string[]
  readonly zone?: string
  readonly seed: boolean
  /** Pieces this host will send at the same time, at most. */
  readonly uploadSlots: number
  readonly version: string
  readonly proof?: Uint8Array
}

/** Everything the host holds, in as many messages as needed; the last has `last: true`. Sent after every (re)connect. */
export interface Announce {
  readonly type: 'announce'
  readonly holdings: readonly Holding[]
  readonly last: boolean
}

/** Wants a blob. Answered by `registered` or `refused` with the same `id`. Registering again with a larger `have` is harmless. */
export interface Register {
  readonly type: 'register'
  readonly id: number
  readonly digest: Digest
  readonly size: number
  readonly source: SourceRef
  /** Pieces already held, verified. */
  readonly have?: Uint8Array
  /** Pieces that its readers wait for: to be had before others. */
  readonly urgent?: readonly PieceRun[]
  /** True if nothing but the urgent pieces is wanted. */
  readonly partial?: boolean
}

/** More pieces that readers wait for. `partial` as in `register`; once it was false, it stays so until the session is over. */
export interface Want {
  readonly type: 'want'
  readonly digest: Digest
  readonly urgent: readonly PieceRun[]
  readonly partial: boolean
}

/** Pieces that landed since the last report, batched. `hashes` (32 bytes each, same order) is there if they were cut from the source. */
export interface Report {
  readonly type: 'report'
  readonly digest: Digest
  readonly pieces: readonly number[]
  readonly hashes?: Uint8Array
  /** Bytes by origin since the last report; `parents` by host. */
  readonly fromSourceBytes: number
  readonly parents: ReadonlyArray<{ readonly host: HostId; readonly bytes: number }>
  /** Children now being served and slots free, for the load limits. */
  readonly slotsBusy: number
}

/**
 * A parent failed this child: `corrupt` counts against it everywhere, the others only here. Asks for other candidates. `stalled`: it fell silent
 * and is kept; the supernode finds out whether it is still there.
 */
export interface ParentFault {
  readonly type: 'parent-fault'
  readonly digest: Digest
  readonly host: HostId
  readonly fault: 'corrupt' | 'silent' | 'stalled' | 'gone' | 'unreachable' | 'refused' | 'protocol'
  readonly piece?: number
}

/** The session is over: `done` (complete and verified, stays a parent), `failed`, or `left` (all readers went away; what it holds stays offered). */
export interface Finish {
  readonly type: 'finish'
  readonly digest: Digest
  readonly outcome: 'done' | 'failed' | 'left'
}

/** The host no longer holds these. */
export interface Evicted {
  readonly type: 'evicted'
  readonly digests: readonly Digest[]
}

/** A grant ended without all its pieces: the source failed the host, or the host gave it back. `status` is the source's HTTP status, 0 if none. */
export interface GrantFailed {
  readonly type: 'grant-failed'
  readonly digest: Digest
  readonly runs: readonly PieceRun[]
  readonly code: string
  readonly status: number
  readonly detail: string
}

/** The assembled blob did not have its digest: every recorded hash of it is suspect. */
export interface DigestMismatch {
  readonly type: 'digest-mismatch'
  readonly digest: Digest
}

/**
 * Asks for something small that the supernode fetches from the source once for all who ask: a manifest by tag or digest, or the length of
 * a blob. Answered by `relayed` or `refused` with the same `id`.
 */
export interface Relay {
  readonly type: 'relay'
  readonly id: number
  readonly kind: 'manifest' | 'blob-length'
  readonly source: SourceRef
  /** Tag or digest. */
  readonly reference: string
  /** Media types the caller takes, sorted; empty: any. */
  readonly accept: readonly string[]
  /** Digest of the manifest the host already holds for this tag, so that an unchanged one need not travel. */
  readonly known?: Digest
  /** The source itself is to be asked, now, whatever is remembered: something was written to it. */
  readonly fresh?: boolean
}

/** Load and liveness; sent at least every `heartbeatMs` of `welcome`. */
export interface Heartbeat {
  readonly type: 'heartbeat'
  readonly slotsBusy: number
  readonly storeBytes: number
}

export type HostMessage =
  | Hello
  | Announce
  | Register
  | Want
  | Report
  | ParentFault
  | Finish
  | Evicted
  | GrantFailed
  | DigestMismatch
  | Relay
  | Heartbeat

// ---- supernode to host ----

/** Answer to `hello`. `ticket` proves to other hosts that this one is admitted, see admission.ts. */
export interface Welcome {
  readonly type: 'welcome'
  readonly ticket: Uint8Array
  /** Ticket's validity from now, in ms; a new one comes in another `welcome` before it ends. */
  readonly ticketMs: number
  readonly heartbeatMs: number
  /** Some other hosts, for the time when the supernode is away; absent where nothing changed. */
  readonly neighbours?: readonly Candidate[]
}

/** Hosts in one `welcome`. */
export const NEIGHBOURS_MAX = 32

/**
 * Answer to `register`. `hashes` holds PIECE_HASH_BYTES for each piece set in `hashed`, in rising order.
 * `content` is the whole blob when it is small (SMALL_BLOB_BYTES_MAX); then nothing else follows.
 */
export interface Registered {
  readonly type: 'registered'
  readonly id: number
  readonly digest: Digest
  readonly pieceSize: number
  readonly hashed: Uint8Array
  readonly hashes: Uint8Array
  readonly parents: readonly Candidate[]
  readonly content?: Uint8Array
}

/** Piece hashes that became known: `hashes` holds PIECE_HASH_BYTES for each of `pieces`, in that order. Pushed to all who are registered. */
export interface Hashes {
  readonly type: 'hashes'
  readonly digest: Digest
  readonly pieces: readonly number[]
  readonly hashes: Uint8Array
}

/** More or better parents; adds to those known. `drop` names parents to leave. */
export interface Parents {
  readonly type: 'parents'
  readonly digest: Digest
  readonly parents: readonly Candidate[]
  readonly drop: readonly HostId[]
}

/** Leave to fetch these pieces from the source, and to keep them. Sent to a seed for a new task, to a session's host when no one else will. */
export interface Grant {
  readonly type: 'grant'
  readonly digest: Digest
  readonly size: number
  readonly pieceSize: number
  readonly source: SourceRef
  readonly runs: readonly PieceRun[]
  /** True if readers wait for these: they go before all that was granted earlier, and may be a part of it. */
  readonly urgent?: boolean
}

/** The task cannot be had (the source refused, say). Ends the sessions of the task. */
export interface TaskFailed {
  readonly type: 'task-failed'
  readonly digest: Digest
  readonly code: string
  readonly detail: string
  /** `WWW-Authenticate` of the source, for a 401. */
  readonly challenge?: string
}

/** Hashes of the task were withdrawn after a digest mismatch; sessions forget pieces and start over. */
export interface TaskReset {
  readonly type: 'task-reset'
  readonly digest: Digest
}

/** Others wait for this host, and nothing is heard of it: a heartbeat is the answer. */
export interface Probe {
  readonly type: 'probe'
}

/** Answer to `relay`. `body` absent: unchanged (`known` still holds). For `blob-length` only `length` is set. */
export interface Relayed {
  readonly type: 'relayed'
  readonly id: number
  readonly mediaType: string
  readonly digest?: Digest
  readonly length: number
  readonly body?: Uint8Array
  /** True if the source was away and this is the last known answer. */
  readonly stale: boolean
  /** How long ago the source said so, in ms; absent: just now. */
  readonly ageMs?: number
}

/** Answer to `register` or `relay` that failed; `code` is an ErrorCode. */
export interface Refused {
  readonly type: 'refused'
  readonly id: number
  readonly code: string
  readonly detail: string
  readonly challenge?: string
}

export type SupernodeMessage =
  | Welcome
  | Registered
  | Hashes
  | Parents
  | Grant
  | TaskFailed
  | TaskReset
  | Probe
  | Relayed
  | Refused

/** Blobs up to this many bytes come whole in `registered`. */
export const SMALL_BLOB_BYTES_MAX = 128 * 1024

/** Manifests larger than this are refused, in bytes (the OCI specification asks registries to take at least 4 MiB). */
export const MANIFEST_BYTES_MAX = 4 * 1024 * 1024

/** Largest frame on the schedule stream, in bytes. */
export const SCHEDULE_FRAME_BYTES_MAX = MANIFEST_BYTES_MAX + 64 * 1024
