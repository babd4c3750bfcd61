// The piece fetcher's twin in memory: reads pieces straight from other hosts' stores, keeps the contract, and misbehaves by name.
import type { LinkListener, ParentLink, PieceFetcher } from '../../dfdaemon/fetch/piece-fetcher.ts'
import type { BlobStore } from '../../dfdaemon/store/blob-store.ts'
import { Bitfield } from '../../shared/bitfield.ts'
import type { Digest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import { type Geometry, pieceCount, pieceLength, pieceOffset } from '../../shared/piece.ts'
import type { Candidate, HostId } from '../../shared/protocol/messages.ts'

/** How a parent misbehaves: `silent` never answers, `corrupt` flips a bit, `refusing` refuses all pieces. */
export type ParentFaultKind = 'silent' | 'corrupt' | 'refusing'

interface MemoryParent {
  readonly store: BlobStore
  readonly links: Set<MemoryLink>
  fault: ParentFaultKind | undefined
}

export class MemoryPieceFetcher implements PieceFetcher {
  readonly #parents = new Map<HostId, MemoryParent>()

  addParent(host: HostId, store: BlobStore): Candidate {
    this.#parents.set(host, { store, links: new Set(), fault: undefined })
    return { host, addresses: [], seed: false }
  }

  setFault(host: HostId, fault: ParentFaultKind | undefined): void {
    this.#parents.get(host)!.fault = fault
  }

  /** The parent dies. */
  removeParent(host: HostId): void {
    const parent = this.#parents.get(host)
    this.#parents.delete(host)
    for (const link of parent?.links ?? []) link.end(new PantalaError('PARENT_GONE', { detail: 'died' }))
  }

  async connect(
    candidate: Candidate,
    digest: Digest,
    geometry: Geometry,
    listener: LinkListener,
    signal: AbortSignal,
  ): Promise<ParentLink> {
    await undefined
    signal.throwIfAborted()
    const parent = this.#parents.get(candidate.host)
    if (parent === undefined) throw new PantalaError('PARENT_GONE', { detail: 'not there' })
    const stat = parent.store.stat(digest)
    if (stat !== undefined && (stat.size !== geometry.size || stat.pieceSize !== geometry.pieceSize))
      throw new PantalaError('PARENT_REFUSED', { detail: 'geometry' })
    return new MemoryLink(candidate.host, parent, digest, geometry, listener)
  }
}

class MemoryLink implements ParentLink {
  readonly host: HostId
  readonly have: Bitfield
  pending = 0
  #saidAlone = false
  readonly #parent: MemoryParent
  readonly #digest: Digest
  readonly #geometry: Geometry
  readonly #listener: LinkListener
  readonly #unwatch: () => void
  readonly #over = new AbortController()

  constructor(
    host: HostId,
    parent: MemoryParent,
    digest: Digest,
    geometry: Geometry,
    listener: LinkListener,
  ) {
    this.host = host
    this.#parent = parent
    this.#digest = digest
    this.#geometry = geometry
    this.#listener = listener
    this.have = parent.store.stat(digest)?.have.clone() ?? new Bitfield(pieceCount(geometry))
    parent.links.add(this)
    this.#unwatch = parent.store.watch(digest, {
      onPiece: piece =>
        setImmediate(() => {
          if (!this.#over.signal.aborted && this.have.add(piece)) listener.onHave([piece])
        }),
      onGone: () => this.end(new PantalaError('PARENT_REFUSED', { detail: 'evicted' })),
    })
  }

  fetch(piece: number, into: Uint8Array, signal: AbortSignal): Promise<void> {
    if (into.byteLength !== pieceLength(this.#geometry, piece) || into.byteLength === 0)
      throw new TypeError(`piece ${piece} does not have ${into.byteLength} bytes`)
    return this.#fetch(piece, into, AbortSignal.any([signal, this.#over.signal]))
  }

  /** Hashes of a blob that is complete, now or once it is. */
  alone(): void {
    if (this.#saidAlone) return
    this.#saidAlone = true
    void this.#tellHashes()
  }

  async #tellHashes(): Promise<void> {
    const { store } = this.#parent
    if (store.stat(this.#digest)?.complete !== true) return
    const handle = await store.open(this.#digest)
    const pieces = [...(handle?.stat.have.pieces() ?? [])]
    const hashes = Buffer.concat(pieces.map(piece => handle!.pieceHash(piece)!))
    await handle?.close()
    if (!this.#over.signal.aborted && pieces.length > 0) this.#listener.onHashes?.(pieces, hashes)
  }

  close(): void {
    this.#stop(new PantalaError('PARENT_GONE', { detail: 'the link was closed' }))
  }

  end(error: Error): void {
    if (this.#over.signal.aborted) return
    this.#stop(error)
    setImmediate(() => this.#listener.onClose(error))
  }

  #stop(error: Error): void {
    this.#unwatch()
    this.#parent.links.delete(this)
    this.#over.abort(error)
  }

  async #fetch(piece: number, into: Uint8Array, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    this.pending++
    try {
      await new Promise(resolve => setImmediate(resolve))
      signal.throwIfAborted()
      if (this.#parent.fault === 'silent') await new Promise((_, reject) => rejectOnAbort(signal, reject))
      const stat = this.#parent.store.stat(this.#digest)
      if (this.#parent.fault === 'refusing' || stat?.have.has(piece) !== true)
        throw new PantalaError('PARENT_REFUSED', { detail: 'not held' })
      const handle = await this.#parent.store.open(this.#digest)
      const bytes = new Uint8Array(into.byteLength)
      await handle?.read(pieceOffset(this.#geometry, piece), bytes)
      await handle?.close()
      signal.throwIfAborted()
      if (this.#parent.fault === 'corrupt') bytes[0]! ^= 1
      into.set(bytes)
    } finally {
      this.pending--
    }
  }
}

function rejectOnAbort(signal: AbortSignal, reject: (reason: unknown) => void): void {
  if (signal.aborted) reject(signal.reason)
  signal.addEventListener('abort', () => reject(signal.reason), { once: true })
}
