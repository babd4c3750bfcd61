// Reads TOML with the place of every table and key in it; what it means is left to smol-toml.
import { parse, TomlError } from 'smol-toml'
import { byteOrderMark } from './text-edits.ts'

export type TomlTree = { readonly [key: string]: unknown }

/** A header or a pair; `start` is where its line begins, `end` behind the line's end, both as offsets. */
export type TomlStatement = { readonly start: number; readonly end: number; readonly indent: string } & (
  | { readonly kind: 'table' | 'array-table'; readonly path: readonly string[] }
  | {
      readonly kind: 'pair'
      /** The header it stands under; -1 at the top. Index into the list of statements. */
      readonly header: number
      /** With the header's path in front. */
      readonly path: readonly string[]
      /** As written, without the header's. */
      readonly key: readonly string[]
      readonly keyStart: number
      readonly valueStart: number
      readonly valueEnd: number
    }
)

export type TomlPair = Extract<TomlStatement, { kind: 'pair' }>

/** What is no TOML, and where. */
export class TomlFault extends Error {
  readonly line: number
  readonly column: number

  constructor(error: TomlError) {
    super(error.message.split('\n')[0]!.replace(/^Invalid TOML document: /, ''))
    this.line = error.line
    this.column = error.column
  }
}

/** What the text means; whole numbers as bigint. @throws TomlFault */
export function parseToml(text: string): TomlTree {
  try {
    return parse(text.slice(byteOrderMark(text).length), { integersAsBigInt: true })
  } catch (error) {
    if (error instanceof TomlError) throw new TomlFault(error)
    throw error
  }
}

/** Every header and pair, in order. Only for a text that `parseToml` takes: it checks nothing. */
export function listStatements(text: string): TomlStatement[] {
  const statements: TomlStatement[] = []
  let at = byteOrderMark(text).length
  let header = -1
  while (at < text.length) {
    const start = at
    const indent = matchAt(text, at, /[ \t]*/y)
    at += indent.length
    if (text[at] === '[') {
      const isArray = text[at + 1] === '['
      const { path, end } = readKey(text, at + (isArray ? 2 : 1))
      at = lineEndAfter(text, end)
      header = statements.length
      statements.push({ kind: isArray ? 'array-table' : 'table', path, start, end: at, indent })
    } else if (/[#\r\n]|^$/.test(text[at] ?? '')) {
      at = lineEndAfter(text, at)
    } else {
      const { path: key, end } = readKey(text, at)
      const valueStart = end + 1 + matchAt(text, end + 1, /[ \t]*/y).length
      const valueEnd = skipValue(text, valueStart)
      const keyStart = at
      at = lineEndAfter(text, valueEnd)
      const under = statements[header]
      const path = under === undefined ? key : [...under.path, ...key]
      statements.push({
        kind: 'pair',
        header,
        path,
        key,
        keyStart,
        valueStart,
        valueEnd,
        start,
        end: at,
        indent,
      })
    }
  }
  return statements
}

/** A key of one part or more, dotted, bare or quoted; `end` is behind it and the space that follows. */
function readKey(text: string, start: number): { path: string[]; end: number } {
  const path: string[] = []
  let at = start
  for (;;) {
    at += matchAt(text, at, /[ \t]*/y).length
    const part = matchAt(text, at, /"(?:[^"\\\r\n]|\\.)*"|'[^'\r\n]*'|[A-Za-z0-9_-]+/y)
    path.push(part.startsWith("'") ? part.slice(1, -1) : part.startsWith('"') ? readBasic(part) : part)
    at += part.length
    at += matchAt(text, at, /[ \t]*/y).length
    if (part === '' || text[at] !== '.') return { path, end: at }
    at++
  }
}

function readBasic(quoted: string): string {
  return (parse(`v = ${quoted}`) as { v: string }).v
}

/** The offset behind a value, without the space and comment after it. */
function skipValue(text: string, start: number): number {
  let at = start
  let depth = 0
  let end = start
  for (;;) {
    const token = matchAt(
      text,
      at,
      /"""(?:[^"\\]|\\[\s\S]|"{1,2}(?!"))*"{3,5}|'''(?:[^']|'{1,2}(?!'))*'{3,5}|"(?:[^"\\\r\n]|\\.)*"|'[^'\r\n]*'|#[^\r\n]*|[[\]{}]|[ \t]+|\r?\n|[^\s"'#[\]{}]+/y,
    )
    const isBreak = token.endsWith('\n')
    if (token === '' || (depth === 0 && (isBreak || token.startsWith('#')))) return end
    if (token === '[' || token === '{') depth++
    if (token === ']' || token === '}') depth--
    at += token.length
    if (!/^[ \t\r\n]/.test(token)) end = at
  }
}

function lineEndAfter(text: string, at: number): number {
  const end = text.indexOf('\n', at)
  return end < 0 ? text.length : end + 1
}

function matchAt(text: string, at: number, pattern: RegExp): string {
  pattern.lastIndex = at
  return pattern.exec(text)?.[0] ?? ''
}

/** A TOML basic string. */
export function quoteToml(text: string): string {
  // JSON's escapes are TOML's as well; DEL must be escaped in TOML only.
  return JSON.stringify(text).replaceAll('\u007f', '\\u007f')
}

export function isSamePath(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && startsWithPath(one, other)
}

export function startsWithPath(path: readonly string[], start: readonly string[]): boolean {
  return start.length <= path.length && start.every((part, index) => path[index] === part)
}

/** What stands at a path of tables; undefined if nothing does. */
export function treeAt(tree: unknown, path: readonly string[]): unknown {
  let found = tree
  for (const part of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, part)) return undefined
    found = (found as TomlTree)[part]
  }
  return found
}
