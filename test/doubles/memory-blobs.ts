// In-memory twin of what the proxy knows of sessions: blobs from memory, failing as the test says.
import type {
  BlobAhead,
  BlobRequest,
  Blobs,
  ByteSpan,
  OpenBlob,
  TakeChunk,
} from '../../dfdaemon/session/blobs.ts'
import { type Digest, digestOf } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { TaskKey } from '../../shared/task-key.ts'

const CHUNK_BYTES = 256 * 1024
/** Blobs up to this many bytes are offered as they are in memory. */
const SMALL_BYTES = 64 * 1024

export interface BlobBegun {
  readonly request: BlobRequest
  /** Until it is let go of. */
  readonly isOpen: boolean
  land(): void
  fail(error: Error): void
}

export class MemoryBlobs implements Blobs {
  readonly #blobs = new Map<Digest, Buffer>()
  readonly requests: BlobRequest[] = []
  /** Parts that were opened, by request; undefined for the whole. */
  readonly spans: Array<readonly ByteSpan[] | undefined> = []
  /** What was to be fetched before it is read; the test says how that goes. */
  readonly ahead: BlobBegun[] = []
  /** Fails the body after so many bytes. */
  failAfterBytes = Number.POSITIVE_INFINITY
  /** Ends the body after so many bytes, as if it were whole. */
  endAfterBytes = Number.POSITIVE_INFINITY
  /** Blobs opened and not let go of. */
  held = 0
  /** Streams that are open now. */
  openStreams = 0
  opened = 0
  /** True if blobs can be had without opening them; how often they were. */
  inMemoryToo = false
  atOnce = 0
  /** What `open` waits for before it answers. */
  gate: Promise<void> | undefined

  add(bytes: Buffer): Digest {
    const digest = digestOf(bytes)
    this.#blobs.set(digest, bytes)
    return digest
  }

  inMemory(key: TaskKey): Buffer | undefined {
    const bytes = this.inMemoryToo ? this.#blobs.get(key as Digest) : undefined
    if (bytes !== undefined) this.atOnce++
    return bytes
  }

  async open(
    request: BlobRequest,
    spans: readonly ByteSpan[] | undefined,
    signal: AbortSignal,
  ): Promise<OpenBlob> {
    signal.throwIfAborted()
    this.requests.push(request)
    this.spans.push(spans)
    const bytes = this.#find(request)
    this.opened++
    await this.gate
    this.held++
    let isHeld = true
    const close = (): void => {
      if (isHeld) this.held--
      isHeld = false
    }
    return {
      size: bytes.byteLength,
      from: 'cache',
      bytes: this.#isWell && bytes.byteLength <= SMALL_BYTES ? bytes : undefined,
      send: (offset, length, take, sendSignal) =>
        this.#send(bytes.subarray(offset, offset + length), take, sendSignal),
      close,
    }
  }

  get #isWell(): boolean {
    return this.failAfterBytes === Number.POSITIVE_INFINITY && this.endAfterBytes === this.failAfterBytes
  }

  async fetchAhead(request: BlobRequest, signal: AbortSignal): Promise<BlobAhead | undefined> {
    signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const ahead = { request, isOpen: true, land: resolve, fail: reject }
    this.ahead.push(ahead)
    return {
      whole: until => {
        until.addEventListener('abort', () => reject(until.reason))
        return promise
      },
      close: () => {
        ahead.isOpen = false
      },
    }
  }

  async length(request: BlobRequest): Promise<number> {
    return this.#find(request).byteLength
  }

  #find({ digest }: BlobRequest): Buffer {
    const bytes = this.#blobs.get(digest)
    if (bytes === undefined)
      throw new PantalaError('SOURCE_BLOB_UNKNOWN', { detail: `GET ${digest} answered 404` })
    return bytes
  }

  async #send(bytes: Buffer, take: TakeChunk, signal: AbortSignal): Promise<void> {
    this.openStreams++
    try {
      for (let at = 0; at < bytes.byteLength; at += CHUNK_BYTES) {
        signal.throwIfAborted()
        if (at >= this.endAfterBytes) return
        if (at >= this.failAfterBytes) throw new PantalaError('SOURCE_DIGEST_MISMATCH')
        const end = Math.min(at + CHUNK_BYTES, bytes.byteLength, this.failAfterBytes, this.endAfterBytes)
        await take(bytes.subarray(at, end))
      }
    } finally {
      this.openStreams--
    }
  }
}
