// Reads Range headers (RFC 9110, section 14): which parts of a body are asked for, or that none can be had. Pure.
import type { ByteSpan } from '../session/blobs.ts'

/** Parts to send, in the order asked for; all of the body (undefined); or nothing that could be sent (`unsatisfiable`). */
export type RangeAnswer = readonly ByteSpan[] | 'unsatisfiable' | undefined

/** Ranges in one request that are honoured; with more the whole body answers, as section 14.2 allows. podman asks for dozens. */
export const RANGES_MAX = 128

/**
 * What to answer for a body of `size` bytes (section 14.1.2). Headers that are malformed or of another unit are passed over, as section
 * 14.2 asks; so are too many ranges, and ranges that overlap, as it allows: the whole body answers them. Of several ranges those
 * that lie past the end are left out; `unsatisfiable` only if all do. An empty body has no range that a Content-Range could
 * name (section 14.4): a suffix of it is the whole, any other range is unsatisfiable.
 */
export function readRange(header: string | undefined, size: number): RangeAnswer {
  const set = /^bytes=(.*)$/is.exec(header ?? '')?.[1]
  if (set === undefined) return undefined
  // Empty elements of a list are passed over, at least one must be left (section 5.6.1).
  const specs = set.split(',').map(trimBlanks)
  const spans: ByteSpan[] = []
  let ranges = 0
  let isEmptySuffix = false
  for (const spec of specs) {
    if (spec === '') continue
    if (++ranges > RANGES_MAX) return undefined
    const span = readSpec(spec, size)
    if (span === 'malformed') return undefined
    if (span === 'whole') isEmptySuffix = true
    else if (span !== 'past') spans.push(span)
  }
  if (ranges === 0 || isEmptySuffix) return undefined
  if (spans.length === 0) return 'unsatisfiable'
  return hasOverlap(spans) ? undefined : spans
}

/** One `first-last`, `first-` or `-length`. `past`: nothing of the body; `whole`: an empty body's suffix. */
function readSpec(spec: string, size: number): ByteSpan | 'malformed' | 'past' | 'whole' {
  const parts = /^(\d*)-(\d*)$/.exec(spec)
  if (parts === null) return 'malformed'
  const [, firstText, lastText] = parts as unknown as [string, string, string]
  if (firstText === '') {
    if (lastText === '') return 'malformed'
    const wanted = Number(lastText)
    if (wanted === 0) return 'past'
    if (size === 0) return 'whole'
    const length = Math.min(wanted, size)
    return { offset: size - length, length }
  }
  if (lastText !== '' && isLess(lastText, firstText)) return 'malformed'
  const offset = Number(firstText)
  if (offset >= size) return 'past'
  const last = lastText === '' ? size - 1 : Math.min(Number(lastText), size - 1)
  return { offset, length: last - offset + 1 }
}

/** Compares digits of any length, which numbers could not tell apart. */
function isLess(a: string, b: string): boolean {
  const [left, right] = [a.replace(/^0+/, ''), b.replace(/^0+/, '')]
  return left.length === right.length ? left < right : left.length < right.length
}

function hasOverlap(spans: readonly ByteSpan[]): boolean {
  const rising = spans.toSorted((a, b) => a.offset - b.offset)
  return rising.some((span, index) => {
    const before = rising[index - 1]
    return before !== undefined && before.offset + before.length > span.offset
  })
}

/** Without the optional whitespace of a list. */
function trimBlanks(text: string): string {
  return text.replace(/^[ \t]+|[ \t]+$/g, '')
}
