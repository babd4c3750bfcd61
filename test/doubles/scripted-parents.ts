// A piece fetcher whose parents do what the test says: hold pieces, gain some, send wrong bytes, stay silent, vanish.
import type { LinkListener, ParentLink, PieceFetcher } from '../../dfdaemon/fetch/piece-fetcher.ts'
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import { type Geometry, pieceCount, pieceOffset } from '../../shared/piece.ts'
import type { Candidate } from '../../shared/protocol/messages.ts'

export type ParentManner = 'honest' | 'corrupt' | 'silent' | 'refusing'

/** One parent of one blob. */
export class ScriptedParent {
  readonly host: string
  readonly blob: Buffer
  readonly have: Bitfield
  manner: ParentManner
  /** What it answers to `alone`: hashes it vouches for, by piece. */
  readonly hashes = new Map<number, Uint8Array>()
  /** Children that said they are alone. */
  alone = 0
  /** Piece numbers it was asked for, in order. */
  readonly asked: number[] = []
  connects = 0
  /** How long it is said to have sent nothing. */
  silentForMs = 0
  readonly #listeners = new Set<LinkListener>()

  constructor(
    host: string,
    blob: Buffer,
    geometry: Geometry,
    pieces: Iterable<number>,
    manner: ParentManner = 'honest',
  ) {
    this.host = host
    this.blob = blob
    this.manner = manner
    this.have = new Bitfield(pieceCount(geometry))
    for (const piece of pieces) this.have.add(piece)
  }

  get candidate(): Candidate {
    return { host: this.host, addresses: [], seed: false }
  }

  attach(listener: LinkListener): () => void {
    this.connects++
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  gain(...pieces: number[]): void {
    for (const piece of pieces) this.have.add(piece)
    for (const listener of this.#listeners) queueMicrotask(() => listener.onHave(pieces))
  }

  vanish(): void {
    const gone = [...this.#listeners]
    this.#listeners.clear()
    for (const listener of gone)
      queueMicrotask(() => listener.onClose(new PantalaError('PARENT_GONE', { detail: this.host })))
  }
}

export class ScriptedParents implements PieceFetcher {
  readonly parents = new Map<string, ScriptedParent>()

  add(parent: ScriptedParent): Candidate {
    this.parents.set(parent.host, parent)
    return parent.candidate
  }

  async connect(
    candidate: Candidate,
    _digest: Digest,
    geometry: Geometry,
    listener: LinkListener,
    signal: AbortSignal,
  ): Promise<ParentLink> {
    signal.throwIfAborted()
    const parent = this.parents.get(candidate.host)
    if (parent === undefined) throw new PantalaError('PARENT_GONE', { detail: candidate.host })
    const detach = parent.attach(listener)
    const link = {
      host: parent.host,
      have: parent.have,
      pending: 0,
      saidAlone: false,
      fetch: async (piece: number, into: Uint8Array, fetchSignal: AbortSignal): Promise<void> => {
        link.pending++
        parent.asked.push(piece)
        try {
          await answer(parent, geometry, piece, into, fetchSignal)
        } finally {
          link.pending--
        }
      },
      silentForMs: () => parent.silentForMs,
      alone: () => {
        if (link.saidAlone) return
        link.saidAlone = true
        parent.alone++
        const pieces = [...parent.hashes.keys()]
        queueMicrotask(() => listener.onHashes?.(pieces, Buffer.concat([...parent.hashes.values()])))
      },
      close: detach,
    }
    return link
  }
}

async function answer(
  parent: ScriptedParent,
  geometry: Geometry,
  piece: number,
  into: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  if (parent.manner === 'refusing') throw new PantalaError('PARENT_REFUSED', { detail: parent.host })
  if (parent.manner === 'silent') {
    await new Promise((_resolve, reject) =>
      signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
    )
  }
  await Promise.resolve()
  signal.throwIfAborted()
  const start = pieceOffset(geometry, piece)
  into.set(parent.blob.subarray(start, start + into.byteLength))
  if (parent.manner === 'corrupt') into[0]! ^= 0xff
}
