// What follows from whose word a session's piece hashes are: pieces dropped, liars left, readers woken, other hosts told.
import type { Digest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { HostId } from '../../shared/protocol/messages.ts'
import type { BlobHandle } from '../store/blob-store.ts'
import type { HolderSearch } from './lone-help.ts'
import type { ParentSet } from './parent-set.ts'
import type { PieceHashes } from './piece-hashes.ts'
import type { SessionWaiters } from './session-waiters.ts'

export interface HashTrustComponents {
  readonly hashes: PieceHashes
  readonly parents: ParentSet
  readonly waiters: SessionWaiters
  readonly search: HolderSearch
  readonly logger: Logger
}

export class HashTrust {
  readonly #c: HashTrustComponents
  readonly #digest: Digest
  readonly #handle: () => BlobHandle | undefined
  readonly #onDropped: () => void

  /** `onDropped`: pieces that had landed are gone, and what was made of them is void. */
  constructor(
    components: HashTrustComponents,
    init: { digest: Digest; handle(): BlobHandle | undefined; onDropped(): void },
  ) {
    this.#c = components
    this.#digest = init.digest
    this.#handle = init.handle
    this.#onDropped = init.onDropped
  }

  /** True if the piece may be handed to readers, and its hash to others. */
  isSure(piece: number): boolean {
    return !this.#c.hashes.isProvisional(piece)
  }

  /** True if this host's word on the piece's hash is worth having. */
  vouchesFor(piece: number): boolean {
    const { hashes } = this.#c
    const stored = this.#handle()?.pieceHash(piece)
    return stored !== undefined && this.isSure(piece) && hashes.matches(piece, stored)
  }

  /** The supernode's word, or that of bytes from the source. */
  learn(pieces: Iterable<number>, told: Uint8Array): void {
    const { liars, confirmed } = this.#c.hashes.learn(pieces, told)
    for (const host of liars) this.#leave(host, 'told a wrong hash')
    this.#confirm(confirmed)
  }

  /** Drops pieces kept from an earlier run, or landed under a parent's word, whose stored hash is not the one known now. */
  async dropWrong(): Promise<void> {
    const { hashes } = this.#c
    const handle = this.#handle()
    const isWrong = (piece: number) => {
      const stored = handle?.pieceHash(piece)
      return stored !== undefined && hashes.known.has(piece) && !hashes.matches(piece, stored)
    }
    await this.#drop([...(handle?.stat.have.pieces() ?? [])].filter(isWrong))
  }

  /** A parent's word. Settles when pieces that are in dispute now are dropped. */
  async hear(host: HostId, pieces: readonly number[], told: Uint8Array): Promise<void> {
    const { confirmed, disputed, lied } = this.#c.hashes.hear(host, pieces, told)
    if (lied) this.#leave(host, 'told a hash that is known to be wrong')
    this.#confirm(confirmed)
    if (disputed.length > 0)
      this.#c.logger.warn({ host, pieces: disputed.length }, 'parents disagree on hashes')
    await this.#drop(disputed)
  }

  /** The whole digest was right. */
  confirmAll(): void {
    if (!this.#c.hashes.hasProvisional) return
    this.#c.hashes.confirmAll()
    this.#c.search.tellHashes(this.#digest)
  }

  /** The whole digest was wrong: leaves all whose word nobody confirmed, and drops what landed under it. False if there is no such thing. */
  async startOver(): Promise<boolean> {
    if (!this.#c.hashes.hasProvisional) return false
    const { pieces, tellers } = this.#c.hashes.forgetProvisional()
    for (const host of tellers) this.#leave(host, 'told hashes that do not make the digest')
    await this.#drop(pieces)
    return true
  }

  #leave(host: HostId, why: string): void {
    this.#c.logger.warn({ host, digest: this.#digest }, `parent dropped: it ${why}`)
    this.#c.parents.giveUp(host, new PantalaError('PIECE_CORRUPT', { detail: `${host} ${why}` }))
  }

  #confirm(pieces: readonly number[]): void {
    if (pieces.length === 0) return
    const have = this.#handle()?.stat.have
    for (const piece of pieces) if (have?.has(piece)) this.#c.waiters.wake(piece)
    this.#c.search.tellHashes(this.#digest)
  }

  async #drop(pieces: readonly number[]): Promise<void> {
    const handle = this.#handle()
    const held = pieces.filter(piece => handle?.stat.have.has(piece) === true)
    if (handle === undefined || held.length === 0) return
    for (const piece of held) await handle.dropPiece(piece)
    this.#onDropped()
  }
}
