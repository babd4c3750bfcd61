// Everything that can happen to the supernode's state. The state changes only by these, in order; replaying them makes the same state.
import type { Digest } from '../../shared/digest.ts'
import type { Geometry } from '../../shared/piece.ts'
import type { HostId, PieceRun, SourceRef } from '../../shared/protocol/messages.ts'
import type { CountedFault } from './peer.ts'

/** `at` is monotonic time in ms throughout. */
export type StateEvent =
  | HostJoined
  | {
      readonly type: 'host-seen'
      readonly host: HostId
      readonly slotsBusy: number
      readonly storeBytes?: number
      readonly at: number
    }
  /** Stream closed or silent too long; its grants end, what only it held is waited for until `graceUntil`. */
  | { readonly type: 'host-lost'; readonly host: HostId; readonly graceUntil: number }
  /** Too many said that it gives corrupt pieces: what it holds no longer counts. */
  | { readonly type: 'host-distrusted'; readonly host: HostId }
  | TaskKnown
  | { readonly type: 'task-forgotten'; readonly digest: Digest }
  | {
      readonly type: 'hashes-known'
      readonly digest: Digest
      readonly pieces: readonly number[]
      readonly hashes: Uint8Array
    }
  /** All hashes withdrawn; those who gave them are not believed again for this task. */
  | { readonly type: 'task-reset'; readonly digest: Digest; readonly reporter?: HostId }
  /** Announced; `have` absent: all of it. */
  | { readonly type: 'held'; readonly host: HostId; readonly digest: Digest; readonly have?: Uint8Array }
  | { readonly type: 'evicted'; readonly host: HostId; readonly digest: Digest }
  | {
      readonly type: 'registered'
      readonly host: HostId
      readonly digest: Digest
      readonly source: SourceRef
      readonly have?: Uint8Array
      readonly at: number
    }
  /** Readers of the host wait for these pieces; `partial`: it wants no others. */
  | {
      readonly type: 'wanted'
      readonly host: HostId
      readonly digest: Digest
      readonly urgent: readonly PieceRun[]
      readonly partial: boolean
    }
  | {
      readonly type: 'pieces-landed'
      readonly host: HostId
      readonly digest: Digest
      readonly pieces: readonly number[]
      readonly fromSourceBytes: number
      readonly at: number
    }
  | {
      readonly type: 'linked'
      readonly child: HostId
      readonly digest: Digest
      readonly parents: readonly HostId[]
      readonly at: number
    }
  | {
      readonly type: 'unlinked'
      readonly child: HostId
      readonly digest: Digest
      readonly parents: readonly HostId[]
    }
  | {
      readonly type: 'parent-faulted'
      readonly child: HostId
      readonly digest: Digest
      readonly parent: HostId
      readonly fault: CountedFault
      readonly at: number
    }
  /** The child got bytes from it: it can be reached, and what the child complained of before counts no more. */
  | {
      readonly type: 'parent-reached'
      readonly child: HostId
      readonly digest: Digest
      readonly parent: HostId
    }
  | {
      readonly type: 'granted'
      readonly host: HostId
      readonly digest: Digest
      readonly source: SourceRef
      readonly runs: readonly PieceRun[]
      /** Told to fetch these before others; they may be granted already. */
      readonly urgent?: boolean
      /** What it fetched before was wrong; nobody else is left, and it is believed again. */
      readonly isLastResort?: boolean
      readonly at: number
    }
  | GrantEnded
  | {
      readonly type: 'finished'
      readonly host: HostId
      readonly digest: Digest
      readonly outcome: 'done' | 'failed' | 'left'
    }
  | {
      readonly type: 'mismatch-reported'
      readonly host: HostId
      readonly digest: Digest
      readonly at: number
    }

export interface HostJoined {
  readonly type: 'host-joined'
  readonly host: HostId
  readonly name: string
  readonly addresses: readonly string[]
  readonly zone?: string
  readonly seed: boolean
  readonly uploadSlots: number
  readonly version: string
  readonly at: number
}

export interface TaskKnown extends Geometry {
  readonly type: 'task-known'
  readonly digest: Digest
  readonly registry?: string
  readonly repository?: string
  readonly at: number
  /** Known from before a restart: its holders are given until then, ms, to come back before anything is granted. */
  readonly settleUntil?: number
}

/** `failure` set: the host could not; `sourceRefused`: the source would refuse these credentials and this repository to anyone. */
export interface GrantEnded {
  readonly type: 'grant-ended'
  readonly host: HostId
  readonly digest: Digest
  /** Absent: all of its grant. */
  readonly runs?: readonly PieceRun[]
  readonly failure?: string
  readonly sourceRefused?: boolean
  /** The host is not asked again for this task. */
  readonly lasting?: boolean
}
