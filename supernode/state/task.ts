// What the supernode knows of one task: its geometry, the hashes cut so far, who holds what, and who may fetch what from the source.
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import { type Geometry, PIECE_HASH_BYTES, pieceCount } from '../../shared/piece.ts'
import type { HostId, SourceRef } from '../../shared/protocol/messages.ts'
import type { Host } from './host.ts'
import type { Peer } from './peer.ts'
import { SampleSet } from './sample-set.ts'

/** Leave to fetch pieces from the source. */
export interface LiveGrant {
  readonly host: HostId
  readonly source: SourceRef
  /** Granted and not landed. */
  readonly pieces: Bitfield
  /** Those of them that the host was told to fetch before others. */
  readonly hastened: Bitfield
  /** True once the host was told that readers wait for pieces of this task. */
  isHastened: boolean
  progressAt: number
}

/** A registry, repository and credential that the source refused for this task. */
export interface RefusedSource {
  readonly source: SourceRef
  readonly code: string
}

export class Task implements Geometry {
  readonly digest: Digest
  readonly size: number
  readonly pieceSize: number
  readonly pieces: number
  registry: string | undefined
  repository: string | undefined
  usedAt: number
  readonly hashed: Bitfield
  /** PIECE_HASH_BYTES for each piece; undefined until the first is known. */
  hashes: Uint8Array | undefined
  /** Who gave the hashes since the last reset. */
  readonly hashedBy = new Set<HostId>()
  /** Hosts whose hashes are not believed here, after a reset. */
  readonly distrusted = new Set<HostId>()
  readonly mismatchReporters = new Set<HostId>()
  /** Times that its hashes were withdrawn, in this episode and ever. */
  resets = 0
  resetsEver = 0

  /** Hosts that hold all of it and take no other part. */
  readonly full = new SampleSet<Host>()
  /** Peers: partial holders and those that want it. */
  readonly peers = new Map<HostId, Peer>()
  /** Peers that hold a piece or have a grant. */
  readonly offering = new SampleSet<Peer>()
  readonly wanting = new Set<Peer>()
  /** By zone, the one that was sent to hosts of other zones: the rest of its zone takes the pieces from it, so that they cross once. */
  readonly gateways = new Map<string, Peer>()
  /** Pieces that readers waited for in this episode; undefined if none were named. Never shrinks: who named one may want it again. */
  urgent: Bitfield | undefined
  /** How many peers hold each piece, full holders not counted; undefined until the first does. */
  copies: Uint32Array | undefined

  readonly grants = new Map<HostId, LiveGrant>()
  /** Bytes fetched from the source in this episode: since last nobody wanted the task. */
  sourceBytes = 0
  /** Failed grants by host, in this episode. */
  readonly failures = new Map<HostId, number>()
  lastFailure: string | undefined
  readonly refusedSources: RefusedSource[] = []
  /** Pieces that a host just lost was the only one to hold; not granted again before `graceUntil`, in case it comes back. */
  graced: Bitfield | undefined
  graceUntil = 0
  /** Nothing is granted before then, ms: the supernode restarted and holders are coming back. */
  settleUntil = 0

  constructor(digest: Digest, geometry: Geometry, at: number) {
    this.digest = digest
    this.size = geometry.size
    this.pieceSize = geometry.pieceSize
    this.pieces = pieceCount(geometry)
    this.hashed = new Bitfield(this.pieces)
    this.usedAt = at
  }

  /** True if a live host holds the piece and its hash is known, so that others can take it. */
  isAvailable(piece: number): boolean {
    return this.hashed.has(piece) && (this.full.size > 0 || this.copiesOf(piece) > 0)
  }

  /** How many peers hold the piece, full holders not counted. */
  copiesOf(piece: number): number {
    return this.copies?.[piece] ?? 0
  }

  granteeOf(piece: number): HostId | undefined {
    return this.grantOf(piece)?.host
  }

  grantOf(piece: number): LiveGrant | undefined {
    for (const grant of this.grants.values()) if (grant.pieces.has(piece)) return grant
    return undefined
  }

  /** The child is sent to hosts of other zones, for its zone. */
  sendAcross(child: Peer, at: number): void {
    const zone = child.host.zone!
    if (this.gateways.get(zone) === child) return
    this.gateways.set(zone, child)
    child.crossesSince = at
  }

  /** True if some peer wants every piece. */
  get isWantedWhole(): boolean {
    for (const peer of this.wanting) if (!peer.partial) return true
    return false
  }

  hashOf(piece: number): Uint8Array | undefined {
    if (this.hashes === undefined || !this.hashed.has(piece)) return undefined
    return this.hashes.subarray(piece * PIECE_HASH_BYTES, (piece + 1) * PIECE_HASH_BYTES)
  }

  /** Hashes of all hashed pieces, packed in rising order. */
  packHashes(): Uint8Array {
    if (this.hashes === undefined) return new Uint8Array()
    if (this.hashed.isFull) return this.hashes
    const packed = new Uint8Array(this.hashed.count * PIECE_HASH_BYTES)
    let offset = 0
    for (const piece of this.hashed.pieces()) {
      packed.set(this.hashOf(piece)!, offset)
      offset += PIECE_HASH_BYTES
    }
    return packed
  }
}

/** True if two sources are the same registry, repository and credential. */
export function isSameSource(a: SourceRef, b: SourceRef): boolean {
  return a.registry === b.registry && a.repository === b.repository && a.authorization === b.authorization
}
