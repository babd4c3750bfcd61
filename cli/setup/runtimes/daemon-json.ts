// Edits dockerd's daemon.json: Pantala first among registry-mirrors, and the proxies if they are set there. Everything else stays as it is.
import { PantalaError } from '../../../shared/errors.ts'
import {
  appendMember,
  findMember,
  insertFirstItem,
  JsonFault,
  type JsonMember,
  type JsonNode,
  jsonValue,
  readJson,
  removeEntry,
  replaceNode,
} from '../text/json-text.ts'
import { applyEdits, byteOrderMark, lineEnding, positionOf, type TextEdit } from '../text/text-edits.ts'

/** What daemon.json is to say. */
export interface DaemonWish {
  /** First of registry-mirrors. */
  readonly mirror?: string
  /** Values of `proxies`, where it is there already. */
  readonly proxies?: Readonly<Record<string, string>>
}

type JsonObject = JsonNode & { kind: 'object' }
type JsonArray = JsonNode & { kind: 'array' }

/** The document, which must be an object; undefined for a file with nothing in it. @throws PantalaError SETUP_CONFIG_INVALID */
export function readDaemonJson(path: string, text: string): JsonObject | undefined {
  if (text.slice(byteOrderMark(text).length).trim() === '') return undefined
  try {
    const node = readJson(text)
    if (node.kind === 'object') return node
    throw refuse(path, text, node.start, 'an object in braces is expected')
  } catch (error) {
    if (!(error instanceof JsonFault)) throw error
    throw new PantalaError('SETUP_CONFIG_INVALID', {
      detail: `${path}:${error.line}:${error.column}: ${error.message}`,
      cause: error,
    })
  }
}

/** Edits that make the text say what is wished; none if it does. @throws PantalaError SETUP_CONFIG_INVALID */
export function editDaemonJson(path: string, text: string, wish: DaemonWish): TextEdit[] {
  const document = readDaemonJson(path, text)
  if (document === undefined) {
    if (wish.mirror === undefined) return []
    const eol = lineEnding(text)
    const mark = byteOrderMark(text)
    const inserted = `${mark}{${eol}  "registry-mirrors": [${JSON.stringify(wish.mirror)}]${eol}}${eol}`
    return [{ offset: 0, removed: text, inserted }]
  }
  return [
    ...(wish.mirror === undefined ? [] : addMirror(path, text, document, wish.mirror)),
    ...(wish.proxies === undefined ? [] : setProxies(path, text, document, wish.proxies)),
  ]
}

function addMirror(path: string, text: string, document: JsonObject, mirror: string): TextEdit[] {
  const member = findMember(document, 'registry-mirrors')
  if (member === undefined)
    return [appendMember(text, document, 'registry-mirrors', `[${JSON.stringify(mirror)}]`)]
  const list = readMirrors(path, text, member)
  if (list.items.some(item => isSameMirror(jsonValue(item), mirror))) return []
  return [insertFirstItem(text, list, JSON.stringify(mirror))]
}

function readMirrors(path: string, text: string, { node }: JsonMember): JsonArray {
  if (node.kind !== 'array') throw refuse(path, text, node.start, 'registry-mirrors must be a list')
  for (const item of node.items) {
    if (item.kind !== 'scalar' || typeof item.value !== 'string')
      throw refuse(path, text, item.start, 'registry-mirrors must be a list of strings')
  }
  return node
}

/** dockerd takes a mirror with and without a slash at its end for the same. */
function isSameMirror(one: unknown, other: string): boolean {
  return typeof one === 'string' && one.replace(/\/+$/, '') === other.replace(/\/+$/, '')
}

/** True if the mirror is in the list, but others stand before it. */
export function isLaterMirror(document: JsonObject | undefined, mirror: string): boolean {
  const node = document && findMember(document, 'registry-mirrors')?.node
  return node?.kind === 'array' && node.items.findIndex(item => isSameMirror(jsonValue(item), mirror)) > 0
}

function setProxies(
  path: string,
  text: string,
  document: JsonObject,
  wish: Readonly<Record<string, string>>,
): TextEdit[] {
  const proxies = findMember(document, 'proxies')?.node
  if (proxies?.kind !== 'object')
    throw refuse(path, text, proxies?.start ?? document.start, 'proxies must be an object')
  if (proxies.members.length === 0) return [replaceNode(text, proxies, JSON.stringify(wish))]
  return Object.entries(wish).flatMap(([key, value]) => {
    const member = findMember(proxies, key)
    if (member === undefined) return [appendMember(text, proxies, key, JSON.stringify(value))]
    return jsonValue(member.node) === value ? [] : [replaceNode(text, member.node, JSON.stringify(value))]
  })
}

/**
 * Takes back, from a file that others changed since, what turned `before` into `after`. Undefined if it is not to be found; an empty
 * document comes back as an empty text if there was no file.
 */
export function takeBackDaemonJson(
  text: string,
  before: string | undefined,
  after: string,
): string | undefined {
  try {
    const old = before === undefined ? undefined : readDaemonJson('', before)
    const made = readDaemonJson('', after)!
    const withoutMirror = takeBackMirror(text, old, made)
    const result = takeBackProxies(withoutMirror, old, made)
    const left = readDaemonJson('', result)
    return before === undefined && left?.members.length === 0 ? '' : result
  } catch (error) {
    if (error instanceof PantalaError) return undefined
    throw error
  }
}

function takeBackMirror(text: string, old: JsonObject | undefined, made: JsonObject): string {
  const oldMirrors = listOf(old && findMember(old, 'registry-mirrors')?.node)
  const mirror = listOf(findMember(made, 'registry-mirrors')?.node).find(
    candidate => !oldMirrors.includes(candidate),
  )
  const document = readDaemonJson('', text)
  const member = document && findMember(document, 'registry-mirrors')
  if (mirror === undefined || document === undefined || member?.node.kind !== 'array') return text
  const index = member.node.items.findIndex(item => jsonValue(item) === mirror)
  if (index < 0) return text
  const hadKey = old !== undefined && findMember(old, 'registry-mirrors') !== undefined
  if (member.node.items.length > 1 || hadKey) return applyEdits(text, [removeEntry(text, member.node, index)])
  return applyEdits(text, [removeEntry(text, document, document.members.indexOf(member))])
}

function takeBackProxies(start: string, old: JsonObject | undefined, made: JsonObject): string {
  const oldProxies = old && findMember(old, 'proxies')?.node
  const madeProxies = findMember(made, 'proxies')?.node
  if (oldProxies?.kind !== 'object' || madeProxies?.kind !== 'object') return start
  let text = start
  for (const { key, node } of madeProxies.members) {
    const was = findMember(oldProxies, key)
    const value = jsonValue(node)
    if (was !== undefined && jsonValue(was.node) === value) continue
    const document = readDaemonJson('', text)
    const proxies = document && findMember(document, 'proxies')?.node
    const member = proxies && findMember(proxies, key)
    if (proxies?.kind !== 'object' || member === undefined || jsonValue(member.node) !== value) continue
    text = applyEdits(text, [
      was === undefined
        ? removeEntry(text, proxies, proxies.members.indexOf(member))
        : replaceNode(text, member.node, JSON.stringify(jsonValue(was.node))),
    ])
  }
  return text
}

function listOf(node: JsonNode | undefined): unknown[] {
  return node?.kind === 'array' ? node.items.map(jsonValue) : []
}

function refuse(path: string, text: string, offset: number, why: string): PantalaError {
  const { line, column } = positionOf(text, offset)
  return new PantalaError('SETUP_CONFIG_INVALID', { detail: `${path}:${line}:${column}: ${why}` })
}
