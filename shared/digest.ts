// Content digests as the OCI image specification writes them; parsing and incremental checking, no I/O.
import { createHash, type Hash } from 'node:crypto'
import { PantalaError } from './errors.ts'

/** `sha256:<64 hex>` or `sha512:<128 hex>`, lower case (OCI image-spec, descriptor.md, "Digests"). */
export type Digest = `sha256:${string}` | `sha512:${string}`

const digestPattern = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/

export function isDigest(text: string): text is Digest {
  return digestPattern.test(text)
}

/** @throws PantalaError DIGEST_INVALID */
export function parseDigest(text: string): Digest {
  if (!isDigest(text)) throw new PantalaError('DIGEST_INVALID', { detail: text.slice(0, 160) })
  return text
}

/** The hash function a digest names. */
export function digestAlgorithm(digest: Digest): 'sha256' | 'sha512' {
  return digest.startsWith('sha256:') ? 'sha256' : 'sha512'
}

/** The digest of bytes in memory. */
export function digestOf(bytes: Uint8Array, algorithm: 'sha256' | 'sha512' = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` as Digest
}

/** Checks bytes that come in order against a digest. */
export class DigestCheck {
  readonly digest: Digest
  #hash: Hash
  #bytes = 0

  constructor(digest: Digest) {
    this.digest = digest
    this.#hash = createHash(digestAlgorithm(digest))
  }

  /** Bytes taken so far. */
  get bytes(): number {
    return this.#bytes
  }

  update(chunk: Uint8Array): void {
    this.#hash.update(chunk)
    this.#bytes += chunk.byteLength
  }

  /** Another that has taken the same bytes. @throws Error after `sum` or `matches` */
  copy(): DigestCheck {
    const copy = new DigestCheck(this.digest)
    copy.#hash = this.#hash.copy()
    copy.#bytes = this.#bytes
    return copy
  }

  /** The digest of the bytes taken. Call once. */
  sum(): Digest {
    return `${digestAlgorithm(this.digest)}:${this.#hash.digest('hex')}` as Digest
  }

  /** True if all bytes taken have the digest. Call once, and not after `sum`. */
  matches(): boolean {
    return this.sum() === this.digest
  }
}
