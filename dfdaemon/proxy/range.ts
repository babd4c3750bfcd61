// Reads Range headers (RFC 9110, section 14): one range of bytes, or none that is honoured. Pure.

/** Bytes to send: a part of the whole, all of it (undefined), or nothing that could be (`unsatisfiable`). */
export type RangeAnswer = { readonly offset: number; readonly length: number } | 'unsatisfiable' | undefined

/**
 * What to answer for a body of `size` bytes. Headers that are malformed, of another unit, or with several ranges are passed over, as the
 * RFC allows: the whole body answers them.
 */
export function readRange(header: string | undefined, size: number): RangeAnswer {
  const parts = /^bytes=[ \t]*(\d*)[ \t]*-[ \t]*(\d*)[ \t]*$/i.exec(header ?? '')
  if (parts === null) return undefined
  const [, firstText, lastText] = parts as unknown as [string, string, string]
  if (firstText === '' && lastText === '') return undefined
  if (firstText === '') {
    const wanted = Number(lastText)
    if (wanted === 0 || size === 0) return 'unsatisfiable'
    const length = Math.min(wanted, size)
    return { offset: size - length, length }
  }
  const offset = Number(firstText)
  const last = lastText === '' ? Number.POSITIVE_INFINITY : Number(lastText)
  if (last < offset) return undefined
  if (offset >= size) return 'unsatisfiable'
  return { offset, length: Math.min(last, size - 1) - offset + 1 }
}
