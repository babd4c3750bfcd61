// A session table over doubles: memory store, scripted supernode, parents and source. Tells what happened; nothing real is asked.
import { randomBytes } from 'node:crypto'
import { pino } from 'pino'
import type { ByteSpan, OpenBlob } from '../../dfdaemon/session/blobs.ts'
import { BufferPool } from '../../dfdaemon/session/buffer-pool.ts'
import { SessionTable } from '../../dfdaemon/session/session-table.ts'
import type { BlobStore } from '../../dfdaemon/store/blob-store.ts'
import { Bitfield } from '../../shared/bitfield.ts'
import { systemClock } from '../../shared/clock.ts'
import { type Digest, digestOf } from '../../shared/digest.ts'
import { type Geometry, geometryFor, pieceCount, pieceLength, pieceOffset } from '../../shared/piece.ts'
import { hashPiece } from '../../shared/piece-hash.ts'
import type { Candidate, Grant, PieceRun, Registered } from '../../shared/protocol/messages.ts'
import type { SourceClient } from '../../shared/source/source-client.ts'
import { MemoryBlobStore } from '../doubles/memory-blob-store.ts'
import { MemoryScheduler } from '../doubles/memory-scheduler.ts'
import { type ParentManner, ScriptedParent, ScriptedParents } from '../doubles/scripted-parents.ts'
import { ScriptedSource } from '../doubles/scripted-source.ts'

const source = { registry: 'reg.test', repository: 'team/app' }

export interface StageInit {
  /** Blob length in bytes; pieces are 1 MiB. */
  readonly size?: number
  readonly lingerMs?: number
  readonly prefetch?: boolean
  /** Bytes that the store keeps; all of them if absent. */
  readonly quotaBytes?: number
  readonly digest?: Digest
  /** The table's; the one in memory if absent. */
  readonly store?: BlobStore
  /** Hosts that the session finds while no supernode helps. */
  readonly found?: () => readonly Candidate[]
  /** Piece buffers; shared by several stages to make them short. */
  readonly pool?: BufferPool
}

export function setStage(init: StageInit = {}) {
  const blob = randomBytes(init.size ?? 4 * 1024 * 1024 + 333)
  const digest = init.digest ?? digestOf(blob)
  const geometry: Geometry = geometryFor(blob.byteLength)
  const pieces = pieceCount(geometry)
  const scheduler = new MemoryScheduler()
  const store = new MemoryBlobStore({ quotaBytes: init.quotaBytes })
  const parents = new ScriptedParents()
  const registry = new ScriptedSource(blob)
  const counted = { source: 0, peer: 0, rejected: [] as string[], refetched: 0, passed: [] as string[] }
  const pool = init.pool ?? new BufferPool({ clock: systemClock }, { bytesMax: 64 * 1024 * 1024 })
  const toldAgain: Digest[] = []
  const table = new SessionTable(
    {
      store: init.store ?? store,
      scheduler,
      pieces: parents,
      source: registry,
      registry: { blobLength: async () => blob.byteLength } as unknown as SourceClient,
      pool,
      sendPool: new BufferPool({ clock: systemClock }, { bytesMax: 4 * 1024 * 1024 }),
      clock: systemClock,
      logger: pino({ level: 'silent' }),
      random: Math.random,
      search: {
        self: 'self',
        addresses: () => ['/ip4/127.0.0.1/tcp/1'],
        find: (_digest, found) => found(init.found?.() ?? []),
        tellHashes: digest => void toldAgain.push(digest),
      },
      metrics: {
        countBlobBytes: (from, bytes) => {
          counted[from] += bytes
        },
        countPieceRejected: reason => {
          counted.rejected.push(reason)
        },
        countRefetched: () => {
          counted.refetched++
        },
        countPassedThrough: from => {
          counted.passed.push(from)
        },
      },
    },
    { sessionsMax: 8, lingerMs: init.lingerMs ?? 20, prefetch: init.prefetch ?? true },
  )
  scheduler.onGrant = grant => table.acceptGrant(grant)

  const hashOf = (piece: number): Uint8Array => {
    const start = pieceOffset(geometry, piece)
    return hashPiece(blob.subarray(start, start + pieceLength(geometry, piece)))
  }
  const all = [...Array(pieces).keys()]
  const hashesOf = (which: readonly number[]): Uint8Array => Buffer.concat(which.map(hashOf))

  return {
    blob,
    digest,
    geometry,
    pieces,
    all,
    scheduler,
    store,
    parents,
    registry,
    counted,
    /** Blobs of which others were to be told more hashes. */
    toldAgain,
    pool,
    table,

    parent(host: string, which: Iterable<number>, manner: ParentManner = 'honest'): ScriptedParent {
      const parent = new ScriptedParent(host, blob, geometry, which, manner)
      parents.add(parent)
      return parent
    },

    /** A parent that vouches for the hashes of what it holds; `lies`: of other bytes, which it also sends. */
    voucher(host: string, which: readonly number[], lies = false): ScriptedParent {
      const bytes = lies ? Buffer.from(blob).fill(0x66) : blob
      const parent = new ScriptedParent(host, bytes, geometry, which)
      for (const piece of which) {
        const start = pieceOffset(geometry, piece)
        parent.hashes.set(piece, hashPiece(bytes.subarray(start, start + pieceLength(geometry, piece))))
      }
      parents.add(parent)
      return parent
    },

    /** The supernode's answer with these hashes and parents. */
    answer(hashed: readonly number[], from: readonly ScriptedParent[]): Partial<Registered> {
      const known = new Bitfield(pieces)
      for (const piece of hashed) known.add(piece)
      return {
        hashed: known.bytes,
        hashes: hashesOf([...known.pieces()]),
        parents: from.map(parent => parent.candidate),
      }
    },

    tellHashes(which: readonly number[]): void {
      scheduler.pushHashes(digest, which, hashesOf(which))
    },

    grant(runs: readonly PieceRun[]): void {
      const grant: Grant = { type: 'grant', digest, ...geometry, source, runs }
      scheduler.pushGrant(grant)
    },

    open(signal = AbortSignal.timeout(10_000), spans?: readonly ByteSpan[]) {
      return table.open({ digest, source, size: blob.byteLength }, spans, signal)
    },

    /** Pulls the range (default: all) to the end. */
    async pull(offset = 0, length = blob.byteLength - offset): Promise<Buffer> {
      const open = await this.open()
      return sendAll(open, offset, length)
    },

    told<K extends MemoryScheduler['told'][number]['told']>(kind: K) {
      return scheduler.told.filter(
        (message): message is Extract<typeof message, { told: K }> => message.told === kind,
      )
    },
  }
}

/** All bytes of a range, as a client would get them; lets go of the blob. */
export async function sendAll(open: OpenBlob, offset: number, length: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  const take = async (chunk: Uint8Array): Promise<void> => void chunks.push(Buffer.from(chunk))
  await open.send(offset, length, take, AbortSignal.timeout(10_000)).finally(() => open.close())
  return Buffer.concat(chunks)
}

/** Opens, reads and closes one range. */
export async function readRange(
  stage: ReturnType<typeof setStage>,
  offset: number,
  length: number,
): Promise<Buffer> {
  const open = await stage.open(undefined, [{ offset, length }])
  return sendAll(open, offset, length)
}

/** Waits until `condition` holds, looking each turn of the event loop; fails after `timeoutMs`. */
export async function until(condition: () => boolean, timeoutMs = 5000): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain`)
    await new Promise(resolve => setTimeout(resolve, 2))
  }
}
