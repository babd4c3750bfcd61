// Edits of a text as replacements at offsets, so that what was not named stays byte for byte, and an edit can be told apart and taken back.

/** At `offset` of the text before, `removed` gives way to `inserted`. Offsets count UTF-16 units. */
export interface TextEdit {
  readonly offset: number
  readonly removed: string
  readonly inserted: string
}

/** The text with every edit done. @throws TypeError if edits overlap or the text does not have what they remove */
export function applyEdits(text: string, edits: readonly TextEdit[]): string {
  const parts: string[] = []
  let done = 0
  for (const { offset, removed, inserted } of [...edits].sort((one, other) => one.offset - other.offset)) {
    if (offset < done || !text.startsWith(removed, offset))
      throw new TypeError(`an edit does not fit at offset ${offset}`)
    parts.push(text.slice(done, offset), inserted)
    done = offset + removed.length
  }
  return parts.join('') + text.slice(done)
}

/**
 * Takes edits back from a text that others have changed since, by looking for what they inserted. Undefined unless each is found exactly
 * once, so that no guess is made; whoever asks must still check what the text now means.
 */
export function takeBackEdits(text: string, edits: readonly TextEdit[]): string | undefined {
  const back: TextEdit[] = []
  for (const { removed, inserted } of edits) {
    if (inserted === '') return undefined
    const offset = text.indexOf(inserted)
    if (offset < 0 || text.indexOf(inserted, offset + 1) >= 0) return undefined
    back.push({ offset, removed: inserted, inserted: removed })
  }
  try {
    return applyEdits(text, back)
  } catch {
    return undefined
  }
}

/** Puts a block of whole lines at an offset that begins a line or ends the text; lines end as the text's do. */
export function insertLines(text: string, offset: number, lines: readonly string[]): TextEdit {
  const eol = lineEnding(text)
  const before = text.slice(0, offset)
  const open = before === '' || before === '\uFEFF' || before.endsWith('\n') ? '' : eol
  return { offset, removed: '', inserted: open + lines.map(line => line + eol).join('') }
}

/** What most of the text's lines end with; `\n` if it has one line only. */
export function lineEnding(text: string): '\n' | '\r\n' {
  const all = text.split('\n').length - 1
  return all > 0 && (text.split('\r\n').length - 1) * 2 > all ? '\r\n' : '\n'
}

/** Where an offset lies, counted from 1. */
export function positionOf(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset)
  const lastBreak = before.lastIndexOf('\n')
  return { line: before.split('\n').length, column: offset - lastBreak }
}

/** The byte order mark that some editors put first, or nothing. */
export function byteOrderMark(text: string): '' | '\uFEFF' {
  return text.startsWith('\uFEFF') ? '\uFEFF' : ''
}
