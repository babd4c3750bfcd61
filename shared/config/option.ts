// What an option is: its key, kind, default, unit and doc; and how its text is read. One table per service describes all of them.
import { isIP } from 'node:net'

/** How an option's value is written. */
export type OptionKind =
  | 'string'
  | 'secret'
  | 'boolean'
  | 'count'
  | 'bytes'
  | 'duration'
  | 'ratio'
  | 'address'
  | 'list'
  | 'map'

export interface Option {
  /** Dotted: nested in YAML, PANTALA_<SERVICE>_… in the environment, --… as a flag. */
  readonly key: string
  readonly kind: OptionKind
  /** Undefined: unset unless given. Written as a user would. */
  readonly preset?: unknown
  readonly doc: string
  readonly required?: boolean
  /** Only these texts are allowed. */
  readonly choices?: readonly string[]
  /** More rules; the message of what is wrong, or undefined. Called with the read value. */
  check?(value: never): string | undefined
}

/** A host and port to listen on. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** What reading a value gives: the value, or what is wrong with it. */
export type Reading = { readonly value: unknown } | { readonly fault: string }

/** The unit each kind is kept in, for the documents. */
export const unitOf: Record<OptionKind, string> = {
  string: '',
  secret: '',
  boolean: 'true or false',
  count: '',
  bytes: 'bytes; 512MiB, 10GB',
  duration: 'ms; 500ms, 5s, 10m',
  ratio: 'ratio',
  address: 'host:port',
  list: 'list; comma-separated outside YAML',
  map: 'map; JSON outside YAML',
}

/** Reads a value from YAML (any type) or from text (environment, flag). */
export function readValue(option: Option, raw: unknown): Reading {
  const reading = readKind(option.kind, raw)
  if ('fault' in reading) return reading
  if (option.choices !== undefined && !option.choices.includes(reading.value as string)) {
    return { fault: `must be one of ${option.choices.join(', ')}` }
  }
  const fault = option.check?.(reading.value as never)
  return fault === undefined ? reading : { fault }
}

function readKind(kind: OptionKind, raw: unknown): Reading {
  switch (kind) {
    case 'string':
    case 'secret':
      return typeof raw === 'string' || typeof raw === 'number'
        ? { value: String(raw) }
        : { fault: 'must be a text' }
    case 'boolean':
      return readBoolean(raw)
    case 'count':
      return readNumber(raw, true)
    case 'ratio':
      return readNumber(raw, false)
    case 'bytes':
      return readScaled(raw, byteUnits, 'bytes, as 512MiB or 10GB')
    case 'duration':
      return readScaled(raw, durationUnits, 'a duration, as 500ms, 5s or 10m')
    case 'address':
      return readAddress(raw)
    case 'list':
      return readList(raw)
    case 'map':
      return readMap(raw)
  }
}

const byteUnits: Record<string, number> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
}

const durationUnits: Record<string, number> = { '': 1, ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

function readBoolean(raw: unknown): Reading {
  if (raw === true || raw === 'true' || raw === '1' || raw === 'yes') return { value: true }
  if (raw === false || raw === 'false' || raw === '0' || raw === 'no') return { value: false }
  return { fault: 'must be true or false' }
}

function readNumber(raw: unknown, whole: boolean): Reading {
  const value = typeof raw === 'string' && raw.trim() !== '' ? Number(raw) : raw
  const sound =
    typeof value === 'number' && value >= 0 && (whole ? Number.isSafeInteger(value) : Number.isFinite(value))
  return sound
    ? { value }
    : { fault: whole ? 'must be a whole number, 0 or more' : 'must be a number, 0 or more' }
}

function readScaled(raw: unknown, units: Record<string, number>, what: string): Reading {
  const parts = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(String(raw))
  const scale = parts === null ? undefined : units[parts[2]!.toLowerCase()]
  if (parts === null || scale === undefined) return { fault: `must be ${what}` }
  const value = Math.round(Number(parts[1]) * scale)
  return Number.isSafeInteger(value) ? { value } : { fault: 'is too large' }
}

function readAddress(raw: unknown): Reading {
  return parseAddress(String(raw)) === undefined
    ? { fault: 'must be host:port, as 127.0.0.1:65001 or [::1]:65001' }
    : { value: String(raw) }
}

/** Takes `host:port` apart; undefined if it is none. */
export function parseAddress(text: string): Address | undefined {
  const parts = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/i.exec(text)
  const host = parts?.[1] ?? parts?.[2]
  const port = Number(parts?.[3])
  if (host === undefined || port > 65_535) return undefined
  return parts?.[1] !== undefined && isIP(host) !== 6 ? undefined : { host, port }
}

function readList(raw: unknown): Reading {
  const items = typeof raw === 'string' ? raw.split(',').map(item => item.trim()) : raw
  if (!Array.isArray(items) || items.some(item => typeof item !== 'string'))
    return { fault: 'must be a list of texts' }
  return { value: items.filter(item => item !== '') }
}

function readMap(raw: unknown): Reading {
  let value = raw
  if (typeof raw === 'string') {
    try {
      value = JSON.parse(raw)
    } catch {
      return { fault: 'must be a map (JSON, when given as a text)' }
    }
  }
  const sound = typeof value === 'object' && value !== null && !Array.isArray(value)
  return sound ? { value } : { fault: 'must be a map' }
}
