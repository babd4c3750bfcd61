// A source fetcher over a blob in memory that keeps a log of ranges and fails as the test says.
import type { SourceFetcher, SourceRange } from '../../dfdaemon/fetch/source-fetcher.ts'
import { PantalaError } from '../../shared/errors.ts'

export class ScriptedSource implements SourceFetcher {
  blob: Buffer
  readonly ranges: { offset: number; length: number }[] = []
  bytesSent = 0
  chunkBytes = 100_000
  /** Fails every fetch with this, after `failAfterBytes` of it. */
  failure: PantalaError | undefined
  failAfterBytes = 0
  /** Sends blobs only from their start. */
  ignoresRange = false
  /** Called before each chunk; a promise holds the stream up. */
  gate: (sent: number) => Promise<void> | undefined = () => undefined
  /** Likewise, by what is fetched. */
  hold: (range: SourceRange) => Promise<void> | undefined = () => undefined

  constructor(blob: Buffer) {
    this.blob = blob
  }

  async fetch(
    range: SourceRange,
    take: (chunk: Uint8Array) => Promise<void> | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    if (this.ignoresRange && range.offset > (range.skipBytesMax ?? Number.POSITIVE_INFINITY))
      throw new PantalaError('SOURCE_RANGE_IGNORED')
    this.ranges.push({ offset: range.offset, length: range.length })
    let sent = 0
    while (sent < range.length) {
      signal.throwIfAborted()
      if (this.failure !== undefined && sent >= this.failAfterBytes) throw this.failure
      await this.gate(sent)
      await this.hold(range)
      const start = range.offset + sent
      const chunk = this.blob.subarray(start, Math.min(start + this.chunkBytes, range.offset + range.length))
      await take(chunk)
      sent += chunk.byteLength
      this.bytesSent += chunk.byteLength
      await new Promise(resolve => setImmediate(resolve))
    }
    if (this.failure !== undefined) throw this.failure
  }
}
