// Frames the parts of a multipart/byteranges answer (RFC 9110, section 14.6): what stands between them, and how long it all is. Sends nothing.
import { randomBytes } from 'node:crypto'
import type { ByteSpan } from '../session/blobs.ts'

/** One part: `head` goes before its bytes. */
export interface RangePart {
  readonly head: string
  readonly span: ByteSpan
}

export interface MultipartRanges {
  readonly contentType: string
  /** Of heads, parts and end, in bytes. */
  readonly contentLength: number
  readonly parts: readonly RangePart[]
  /** Goes after the last part. */
  readonly end: string
}

/** The value of Content-Range for a part of a body of `size` bytes (section 14.4). */
export function contentRange({ offset, length }: ByteSpan, size: number): string {
  return `bytes ${offset}-${offset + length - 1}/${size}`
}

/**
 * Parts in the order of `spans`, as section 15.3.7.2 wants it: podman takes them by their place. The boundary is random, so that no
 * content could be made to hold it.
 */
export function frameRanges(
  spans: readonly ByteSpan[],
  size: number,
  contentType: string,
  boundary: string = randomBytes(20).toString('hex'),
): MultipartRanges {
  const parts = spans.map((span, index) => ({
    head: `${index === 0 ? '' : '\r\n'}--${boundary}\r\nContent-Type: ${contentType}\r\nContent-Range: ${contentRange(span, size)}\r\n\r\n`,
    span,
  }))
  const end = `\r\n--${boundary}--\r\n`
  // All of it is ASCII: characters are bytes.
  const contentLength = parts.reduce((sum, { head, span }) => sum + head.length + span.length, end.length)
  return { contentType: `multipart/byteranges; boundary=${boundary}`, contentLength, parts, end }
}
