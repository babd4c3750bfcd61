// Gathers reports of one task between two sends, so that many pieces cost one message.
import type { Digest } from '../../shared/digest.ts'
import { CANDIDATES_MAX, PIECES_MAX } from '../../shared/protocol/limits.ts'
import type { HostId, Report } from '../../shared/protocol/messages.ts'

export type ReportFacts = Omit<Report, 'type' | 'slotsBusy'>

/** Reports of one task with hashes, and without; they travel apart since a message has hashes for all its pieces or for none. */
export class ReportBatch {
  readonly #digest: Digest
  readonly #withHashes: { pieces: number[]; hashes: Uint8Array[] } = { pieces: [], hashes: [] }
  readonly #without: number[] = []
  readonly #parents = new Map<HostId, number>()
  #fromSourceBytes = 0

  constructor(digest: Digest) {
    this.#digest = digest
  }

  add(report: ReportFacts): void {
    if (report.hashes === undefined) this.#without.push(...report.pieces)
    else {
      this.#withHashes.pieces.push(...report.pieces)
      // A copy: the caller may reuse its memory before the batch goes out.
      this.#withHashes.hashes.push(Uint8Array.from(report.hashes))
    }
    this.#fromSourceBytes += report.fromSourceBytes
    for (const { host, bytes } of report.parents) {
      if (!this.#parents.has(host) && this.#parents.size >= CANDIDATES_MAX) continue
      this.#parents.set(host, (this.#parents.get(host) ?? 0) + bytes)
    }
  }

  /** One or two reports; the bytes are counted in the first. */
  *take(slotsBusy: number): Generator<Report> {
    let fromSourceBytes = this.#fromSourceBytes
    let parents = [...this.#parents].map(([host, bytes]) => ({ host, bytes }))
    const report = (pieces: readonly number[], hashes: Uint8Array | undefined): Report => {
      const made: Report = {
        type: 'report',
        digest: this.#digest,
        pieces,
        hashes,
        fromSourceBytes,
        parents,
        slotsBusy,
      }
      fromSourceBytes = 0
      parents = []
      return made
    }
    const { pieces, hashes } = this.#withHashes
    if (pieces.length > 0 && pieces.length <= PIECES_MAX) yield report(pieces, Buffer.concat(hashes))
    if (this.#without.length > 0 || pieces.length === 0)
      yield report(this.#without.length > PIECES_MAX ? [...new Set(this.#without)] : this.#without, undefined)
  }
}
