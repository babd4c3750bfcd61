// The part of CBOR (RFC 8949) that messages use: whole numbers, text, byte strings, lists, maps with text keys, booleans and null. Built for speed; hostile bytes cost little.

const UINT = 0
const NEGATIVE = 1
const BYTES = 2
const TEXT = 3
const LIST = 4
const MAP = 5
const SIMPLE = 7
const FALSE = 20
const TRUE = 21
const NULL = 22
const TWO_32 = 0x1_0000_0000
const BUFFER_BYTES_FIRST = 1024
/** Text shorter than this is looked at character by character. */
const SHORT_CHARS = 128
/** Nested lists and maps. */
const DEPTH_MAX = 16

/** Encodes `value`; fields that are undefined are left out. @throws TypeError for what messages never hold */
export function encodeCbor(value: unknown): Uint8Array {
  const writer = new CborWriter()
  writer.write(value)
  return writer.done()
}

/** Words that are keys of messages, as `decodeCbor` looks for them: by length. */
export type KnownKeys = readonly (readonly string[] | undefined)[]

export function groupKeys(keys: Iterable<string>): KnownKeys {
  const groups: string[][] = []
  for (const key of new Set(keys)) {
    groups[key.length] ??= []
    groups[key.length]!.push(key)
  }
  return groups
}

/**
 * Decodes one value that takes all of `frame`; byte strings are copies. Only the shortest form of each length and number is taken, no key twice,
 * nothing of unknown length, no tags or fractions.
 * @throws SyntaxError for all else, and past `itemsMax` items
 */
export function decodeCbor(frame: Uint8Array, itemsMax: number, keys: KnownKeys = []): unknown {
  const reader = new CborReader(frame, itemsMax, keys)
  const value = reader.read(0)
  reader.end()
  return value
}

class CborWriter {
  #buffer = Buffer.allocUnsafe(BUFFER_BYTES_FIRST)
  #at = 0

  write(value: unknown): void {
    switch (typeof value) {
      case 'string':
        this.#text(value)
        return
      case 'number':
        if (!Number.isSafeInteger(value)) throw new TypeError(`${value} in a message`)
        if (value >= 0) this.#head(UINT, value)
        else this.#head(NEGATIVE, -1 - value)
        return
      case 'boolean':
        this.#head(SIMPLE, value ? TRUE : FALSE)
        return
      case 'object':
        if (value === null) this.#head(SIMPLE, NULL)
        else if (Array.isArray(value)) {
          this.#head(LIST, value.length)
          for (const item of value) this.write(item)
        } else if (value instanceof Uint8Array) this.#bytes(value)
        else this.#map(value as Record<string, unknown>)
        return
      default:
        throw new TypeError(`${typeof value} in a message`)
    }
  }

  done(): Uint8Array {
    return new Uint8Array(this.#buffer.buffer, this.#buffer.byteOffset, this.#at)
  }

  #map(map: Record<string, unknown>): void {
    let count = 0
    for (const key in map) if (map[key] !== undefined) count++
    this.#head(MAP, count)
    for (const key in map) {
      const value = map[key]
      if (value === undefined) continue
      this.#text(key)
      this.write(value)
    }
  }

  #bytes(bytes: Uint8Array): void {
    this.#head(BYTES, bytes.byteLength)
    this.#makeRoom(bytes.byteLength)
    this.#buffer.set(bytes, this.#at)
    this.#at += bytes.byteLength
  }

  #text(text: string): void {
    if (text.length < SHORT_CHARS && this.#ascii(text)) return
    const length = Buffer.byteLength(text)
    this.#head(TEXT, length)
    this.#makeRoom(length)
    this.#buffer.write(text, this.#at, length)
    this.#at += length
  }

  /** Short text without any other characters goes byte by byte, which is faster; false if there are others. */
  #ascii(text: string): boolean {
    const start = this.#at
    const { length } = text
    this.#head(TEXT, length)
    this.#makeRoom(length)
    const buffer = this.#buffer
    let at = this.#at
    for (let index = 0; index < length; index++) {
      const code = text.charCodeAt(index)
      if (code > 127) {
        this.#at = start
        return false
      }
      buffer[at++] = code
    }
    this.#at = at
    return true
  }

  #head(major: number, value: number): void {
    this.#makeRoom(9)
    const buffer = this.#buffer
    const first = major << 5
    if (value < 24) buffer[this.#at++] = first | value
    else if (value < 0x100) {
      buffer[this.#at++] = first | 24
      buffer[this.#at++] = value
    } else if (value < 0x1_0000) {
      buffer[this.#at++] = first | 25
      this.#at = buffer.writeUInt16BE(value, this.#at)
    } else if (value < TWO_32) {
      buffer[this.#at++] = first | 26
      this.#at = buffer.writeUInt32BE(value, this.#at)
    } else {
      buffer[this.#at++] = first | 27
      this.#at = buffer.writeUInt32BE(Math.floor(value / TWO_32), this.#at)
      this.#at = buffer.writeUInt32BE(value % TWO_32, this.#at)
    }
  }

  #makeRoom(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.byteLength) return
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.byteLength * 2, this.#at + bytes))
    larger.set(this.#buffer.subarray(0, this.#at))
    this.#buffer = larger
  }
}

class CborReader {
  readonly #frame: Buffer
  #itemsLeft: number
  #at = 0

  readonly #keys: KnownKeys

  constructor(frame: Uint8Array, itemsMax: number, keys: KnownKeys) {
    this.#keys = keys
    this.#frame = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength)
    this.#itemsLeft = itemsMax
  }

  end(): void {
    if (this.#at !== this.#frame.byteLength) throw new SyntaxError('more than one value')
  }

  read(depth: number): unknown {
    if (--this.#itemsLeft < 0) throw new SyntaxError('too many items')
    const first = this.#byte()
    const major = first >> 5
    if (major === SIMPLE) return readSimple(first & 31)
    const value = this.#length(first & 31)
    switch (major) {
      case UINT:
        return value
      case NEGATIVE:
        return -1 - value
      case BYTES: {
        const start = this.#skip(value)
        return Uint8Array.prototype.slice.call(
          new Uint8Array(this.#frame.buffer, this.#frame.byteOffset + start, value),
        )
      }
      case TEXT: {
        const start = this.#skip(value)
        return this.#text(start, value)
      }
      case LIST:
        return this.#list(value, depth + 1)
      case MAP:
        return this.#map(value, depth + 1)
      default:
        throw new SyntaxError('a tag')
    }
  }

  #list(count: number, depth: number): unknown[] {
    this.#checkNested(count, depth)
    const list: unknown[] = []
    for (let index = 0; index < count; index++) list.push(this.read(depth))
    return list
  }

  #map(count: number, depth: number): Record<string, unknown> {
    this.#checkNested(count, depth)
    const map: Record<string, unknown> = {}
    for (let index = 0; index < count; index++) {
      const key = this.#knownKey() ?? this.read(depth)
      if (typeof key !== 'string' || key === '__proto__' || Object.hasOwn(map, key))
        throw new SyntaxError('a wrong key')
      map[key] = this.read(depth)
    }
    return map
  }

  /** Known keys are not made anew each time, which is slow; undefined if it is none. */
  #knownKey(): string | undefined {
    const frame = this.#frame
    const length = frame[this.#at]! - (TEXT << 5)
    const start = this.#at + 1
    if (!(length > 0 && length < 24 && start + length <= frame.byteLength)) return undefined
    const keys = this.#keys[length]
    if (keys === undefined || this.#itemsLeft === 0) return undefined
    for (const key of keys) {
      let index = 0
      while (index < length && key.charCodeAt(index) === frame[start + index]) index++
      if (index < length) continue
      this.#itemsLeft--
      this.#at = start + length
      return key
    }
    return undefined
  }

  /** Before anything is made for them: each item takes a byte at least. */
  #checkNested(count: number, depth: number): void {
    if (depth > DEPTH_MAX) throw new SyntaxError('nested too deep')
    if (count > this.#frame.byteLength - this.#at) throw new SyntaxError('cut short')
  }

  #text(start: number, length: number): string {
    const frame = this.#frame
    if (length > 12) return frame.toString('utf8', start, start + length)
    // Keys and words.
    let text = ''
    for (let at = start; at < start + length; at++) {
      const code = frame[at]!
      if (code > 127) return frame.toString('utf8', start, start + length)
      text += String.fromCharCode(code)
    }
    return text
  }

  #length(short: number): number {
    if (short < 24) return short
    const frame = this.#frame
    const at = this.#at
    let value: number
    let least: number
    if (short === 24) [value, least] = [this.#byte(), 24]
    else if (short === 25) [value, least] = [frame.readUInt16BE(this.#skip(2)), 0x100]
    else if (short === 26) [value, least] = [frame.readUInt32BE(this.#skip(4)), 0x1_0000]
    else if (short === 27) {
      const start = this.#skip(8)
      ;[value, least] = [frame.readUInt32BE(start) * TWO_32 + frame.readUInt32BE(start + 4), TWO_32]
    } else throw new SyntaxError('of unknown length')
    if (value < least || !Number.isSafeInteger(value)) throw new SyntaxError(`a wrong number at ${at}`)
    return value
  }

  #byte(): number {
    if (this.#at >= this.#frame.byteLength) throw new SyntaxError('cut short')
    return this.#frame[this.#at++]!
  }

  /** Where the next `count` bytes start; goes on behind them. */
  #skip(count: number): number {
    const start = this.#at
    if (count > this.#frame.byteLength - start) throw new SyntaxError('cut short')
    this.#at = start + count
    return start
  }
}

function readSimple(value: number): boolean | null {
  if (value === FALSE) return false
  if (value === TRUE) return true
  if (value === NULL) return null
  throw new SyntaxError('a wrong simple value')
}
