// Reads JSON with the place of everything in it, and makes edits that leave the rest of the text as it is.
import { positionOf, type TextEdit } from './text-edits.ts'

export type JsonNode = {
  /** From the first character to behind the last. */
  readonly start: number
  readonly end: number
} & (
  | { readonly kind: 'object'; readonly members: readonly JsonMember[] }
  | { readonly kind: 'array'; readonly items: readonly JsonNode[] }
  | { readonly kind: 'scalar'; readonly value: string | number | boolean | null }
)

export interface JsonMember {
  readonly key: string
  readonly start: number
  readonly node: JsonNode
}

/** What is no JSON, and where. */
export class JsonFault extends Error {
  readonly line: number
  readonly column: number

  constructor(text: string, offset: number, message: string) {
    super(message)
    const { line, column } = positionOf(text, offset)
    this.line = line
    this.column = column
  }
}

const DEPTH_MAX = 512

/** Reads strict JSON (RFC 8259), with a byte order mark let through. @throws JsonFault */
export function readJson(text: string): JsonNode {
  const reader = new JsonReader(text)
  return reader.readDocument()
}

class JsonReader {
  readonly #text: string
  #at: number

  constructor(text: string) {
    this.#text = text
    this.#at = text.startsWith('\uFEFF') ? 1 : 0
  }

  readDocument(): JsonNode {
    const node = this.#readValue(0)
    this.#skipSpace()
    if (this.#at < this.#text.length) this.#fail('something stands after the end of the document')
    return node
  }

  #readValue(depth: number): JsonNode {
    if (depth > DEPTH_MAX) this.#fail(`nested deeper than ${DEPTH_MAX}`)
    this.#skipSpace()
    const sign = this.#text[this.#at]
    if (sign === '{') return this.#readObject(depth)
    if (sign === '[') return this.#readArray(depth)
    if (sign === '"') {
      const start = this.#at
      return { kind: 'scalar', value: this.#readString(), start, end: this.#at }
    }
    const word = this.#match(/true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y)
    if (word === undefined) this.#fail(sign === undefined ? 'it ends too early' : 'a value is expected')
    return { kind: 'scalar', value: JSON.parse(word), start: this.#at - word.length, end: this.#at }
  }

  #readObject(depth: number): JsonNode {
    const start = this.#at++
    const members: JsonMember[] = []
    while (!this.#takeEnd('}', members.length > 0)) {
      const keyStart = this.#at
      if (this.#text[keyStart] !== '"') this.#fail('a name in quotes is expected')
      const key = this.#readString()
      this.#skipSpace()
      if (this.#text[this.#at] !== ':') this.#fail('a colon is expected')
      this.#at++
      members.push({ key, start: keyStart, node: this.#readValue(depth + 1) })
    }
    return { kind: 'object', members, start, end: this.#at }
  }

  #readArray(depth: number): JsonNode {
    const start = this.#at++
    const items: JsonNode[] = []
    while (!this.#takeEnd(']', items.length > 0)) items.push(this.#readValue(depth + 1))
    return { kind: 'array', items, start, end: this.#at }
  }

  /** True behind the closing bracket; else stands at the next entry, its comma taken. */
  #takeEnd(bracket: string, hasEntries: boolean): boolean {
    this.#skipSpace()
    if (this.#text[this.#at] === bracket) {
      this.#at++
      return true
    }
    if (!hasEntries) return false
    if (this.#text[this.#at] !== ',') this.#fail(`a comma or ${bracket} is expected`)
    this.#at++
    this.#skipSpace()
    if (this.#text[this.#at] === bracket) this.#fail(`nothing follows the comma before ${bracket}`)
    return false
  }

  #readString(): string {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: JSON's own rule
    const raw = this.#match(/"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y)
    if (raw === undefined) this.#fail('a string does not end, or has a character that must be escaped')
    return JSON.parse(raw) as string
  }

  #skipSpace(): void {
    this.#match(/[ \t\r\n]*/y)
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0]
    if (found !== undefined) this.#at += found.length
    return found
  }

  #fail(message: string): never {
    throw new JsonFault(this.#text, this.#at, message)
  }
}

/** The member that counts: as with Go and JavaScript, the last of that name. */
export function findMember(node: JsonNode, key: string): JsonMember | undefined {
  return node.kind === 'object' ? node.members.findLast(member => member.key === key) : undefined
}

/** The node's plain value. */
export function jsonValue(node: JsonNode): unknown {
  if (node.kind === 'scalar') return node.value
  if (node.kind === 'array') return node.items.map(jsonValue)
  // A null prototype, since a key may be __proto__.
  const value: Record<string, unknown> = Object.create(null)
  for (const member of node.members) value[member.key] = jsonValue(member.node)
  return value
}

/** Puts an item first, spaced as the items already there. */
export function insertFirstItem(text: string, array: JsonNode & { kind: 'array' }, item: string): TextEdit {
  const [first, second] = array.items
  if (first === undefined) {
    return { offset: array.start, removed: text.slice(array.start, array.end), inserted: `[${item}]` }
  }
  const lead = text.slice(array.start + 1, first.start)
  const between =
    second === undefined ? undefined : /,([ \t\r\n]*)$/.exec(text.slice(first.end, second.start))
  const gap = lead.includes('\n') ? lead : (between?.[1] ?? (isDense(text) ? '' : ' '))
  return { offset: first.start, removed: '', inserted: `${item},${gap}` }
}

/** Adds a member at the end of an object, spaced as the members before it. */
export function appendMember(
  text: string,
  object: JsonNode & { kind: 'object' },
  key: string,
  value: string,
): TextEdit {
  const name = JSON.stringify(key)
  const last = object.members.at(-1)
  if (last === undefined) {
    const eol = text.includes('\r\n') ? '\r\n' : '\n'
    const inserted = `{${eol}  ${name}: ${value}${eol}}`
    return { offset: object.start, removed: text.slice(object.start, object.end), inserted }
  }
  const lead = /[ \t\r\n]*$/.exec(text.slice(object.start, last.start))![0]
  const colon = /:[ \t]*$/.exec(text.slice(last.start, last.node.start))?.[0] ?? ':'
  return { offset: last.node.end, removed: '', inserted: `,${lead}${name}${colon}${value}` }
}

export function replaceNode(text: string, node: JsonNode, value: string): TextEdit {
  return { offset: node.start, removed: text.slice(node.start, node.end), inserted: value }
}

/** Removes one entry of an object or array, with the comma that goes with it. `index` counts members or items. */
export function removeEntry(text: string, node: JsonNode, index: number): TextEdit {
  const spans =
    node.kind === 'object'
      ? node.members.map(member => ({ start: member.start, end: member.node.end }))
      : node.kind === 'array'
        ? node.items
        : []
  const [before, one, after] = [spans[index - 1], spans[index]!, spans[index + 1]]
  const [start, end] =
    after !== undefined
      ? [one.start, after.start]
      : before !== undefined
        ? [before.end, one.end]
        : [node.start + 1, node.end - 1]
  return { offset: start, removed: text.slice(start, end), inserted: '' }
}

/** True for JSON without any space outside strings. */
function isDense(text: string): boolean {
  return !/[ \t\r\n]/.test(text.trim().replace(/"(?:[^"\\]|\\.)*"/g, ''))
}
