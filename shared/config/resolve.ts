// Resolves options from file, environment and flags, in rising order of precedence, and names every fault at once.
import { readFileSync } from 'node:fs'
import { type Document, parseDocument } from 'yaml'
import { PantalaError } from '../errors.ts'
import { stripCredentials } from '../logger.ts'
import { type Option, readValue } from './option.ts'

/** Where a value came from. */
export type Origin = 'default' | `file ${string}` | `environment ${string}` | `flag ${string}`

export interface ResolvedOption {
  readonly option: Option
  readonly value: unknown
  readonly origin: Origin
}

export interface ConfigSources {
  /** `dfdaemon` or `supernode`: the middle part of environment names. */
  readonly service: string
  readonly file: string | undefined
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Option key to text, as given on the command line. */
  readonly flags: Readonly<Record<string, string>>
  /** Words of the command line that are neither a known flag nor its value. */
  readonly strayWords?: readonly string[]
}

/** The environment variable of an option: `store.quotaBytes` is PANTALA_DFDAEMON_STORE_QUOTA_BYTES. */
export function environmentName(service: string, key: string): string {
  const words = key.replaceAll('.', '_').replace(/[A-Z]/g, letter => `_${letter}`)
  return `PANTALA_${service}_${words}`.toUpperCase()
}

/** The flag of an option: `store.quotaBytes` is --store.quota-bytes. */
export function flagName(key: string): string {
  return `--${key.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}`
}

/** @throws PantalaError CONFIG_INVALID whose detail names every fault, one per line */
export function resolveOptions(options: readonly Option[], sources: ConfigSources): ResolvedOption[] {
  const faults: string[] = []
  const fromFile =
    sources.file === undefined ? new Map<string, unknown>() : readFile(sources.file, options, faults)
  const fromEnvironment = readEnvironment(options, sources, faults)
  const resolved = options.map(option => resolveOne(option, sources, fromFile, fromEnvironment, faults))
  const flagNames = options.map(option => flagName(option.key))
  const strayFlags = Object.keys(sources.flags)
    .map(flagName)
    .filter(name => !flagNames.includes(name))
  for (const word of [...strayFlags, ...(sources.strayWords ?? [])]) {
    const name = word.split('=')[0]!
    faults.push(
      name.startsWith('-')
        ? `${name}: unknown option${suggestName(name, flagNames)}`
        : `${name}: takes no arguments, only options`,
    )
  }
  if (faults.length > 0) {
    const s = faults.length === 1 ? 'fault' : 'faults'
    throw new PantalaError('CONFIG_INVALID', { detail: [`${faults.length} ${s}`, ...faults].join('\n  - ') })
  }
  return resolved
}

/** Nests resolved values by their dotted keys. */
export function nestValues(resolved: readonly ResolvedOption[]): Record<string, unknown> {
  const root: Record<string, unknown> = {}
  for (const { option, value } of resolved) {
    const path = option.key.split('.')
    let node = root
    for (const name of path.slice(0, -1)) {
      node[name] ??= {}
      node = node[name] as Record<string, unknown>
    }
    node[path.at(-1)!] = value
  }
  return root
}

function resolveOne(
  option: Option,
  sources: ConfigSources,
  fromFile: ReadonlyMap<string, unknown>,
  fromEnvironment: ReadonlyMap<string, string>,
  faults: string[],
): ResolvedOption {
  const { key } = option
  const variable = environmentName(sources.service, key)
  const given: { raw: unknown; origin: Origin; name: string } | undefined =
    sources.flags[key] !== undefined
      ? { raw: sources.flags[key], origin: `flag ${flagName(key)}`, name: flagName(key) }
      : fromEnvironment.has(key)
        ? { raw: fromEnvironment.get(key), origin: `environment ${variable}`, name: variable }
        : fromFile.has(key)
          ? { raw: fromFile.get(key), origin: `file ${sources.file}`, name: `${key} in ${sources.file}` }
          : undefined
  if (given === undefined) {
    if (option.required === true) {
      faults.push(`${key}: must be set (YAML ${key}, environment ${variable} or flag ${flagName(key)})`)
    }
    return { option, value: presetOf(option), origin: 'default' }
  }
  const reading = readValue(option, given.raw)
  if ('fault' in reading) {
    const shown = option.kind === 'secret' ? '' : `, not ${stripCredentials(JSON.stringify(given.raw))}`
    faults.push(`${given.name}: ${reading.fault}${shown}`)
    return { option, value: undefined, origin: given.origin }
  }
  return { option, value: reading.value, origin: given.origin }
}

function presetOf(option: Option): unknown {
  if (option.preset === undefined) return undefined
  const reading = readValue(option, option.preset)
  if ('fault' in reading) throw new TypeError(`default of ${option.key} ${reading.fault}`)
  return reading.value
}

function readEnvironment(
  options: readonly Option[],
  sources: ConfigSources,
  faults: string[],
): Map<string, string> {
  const byName = new Map(options.map(option => [environmentName(sources.service, option.key), option]))
  const prefix = `PANTALA_${sources.service.toUpperCase()}_`
  const found = new Map<string, string>()
  for (const [name, text] of Object.entries(sources.environment)) {
    if (!name.startsWith(prefix) || text === undefined) continue
    const option = byName.get(name)
    if (option !== undefined) found.set(option.key, text)
    else if (!serviceLink.test(name))
      faults.push(`${name}: unknown option${suggestName(name, [...byName.keys()])}`)
  }
  return found
}

/** What Kubernetes puts into the environment of every container for a Service named pantala-…: none of it is an option. */
const serviceLink =
  /_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$/

function readFile(file: string, options: readonly Option[], faults: string[]): Map<string, unknown> {
  const found = new Map<string, unknown>()
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    faults.push(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`)
    return found
  }
  // What it would warn of goes past our log, and repeats the file.
  const document = parseDocument(text, { logLevel: 'error' })
  if (document.errors.length > 0) {
    for (const error of document.errors) faults.push(`${file}: ${error.message.split('\n')[0]}`)
    return found
  }
  const byKey = new Map(options.map(option => [option.key, option]))
  const sections = new Set(['', ...options.flatMap(option => sectionsOf(option.key))])
  const walk = (node: unknown, path: string): void => {
    if (byKey.has(path)) {
      // An empty value, as of a section whose lines are all commented out, is none.
      if (node !== null) found.set(path, node)
    } else if (node === null && sections.has(path)) {
      return
    } else if (typeof node === 'object' && node !== null && !Array.isArray(node)) {
      for (const [name, child] of Object.entries(node)) walk(child, path === '' ? name : `${path}.${name}`)
    } else {
      faults.push(`${path === '' ? file : `${path} in ${file}`}: unknown option${suggest(path, options)}`)
    }
  }
  walk(toPlainValue(document, file, faults), '')
  return found
}

/** Undoes anchors and aliases, of which a hostile file may have only so many. */
function toPlainValue(document: Document, file: string, faults: string[]): unknown {
  try {
    return document.toJS({ maxAliasCount: 20 })
  } catch (error) {
    faults.push(`${file}: ${(error as Error).message}`)
    return null
  }
}

/** `a` and `a.b` of `a.b.c`. */
function sectionsOf(key: string): string[] {
  const names = key.split('.').slice(0, -1)
  return names.map((_name, index) => names.slice(0, index + 1).join('.'))
}

function suggest(key: string, options: readonly Option[]): string {
  return suggestName(
    key,
    options.map(option => option.key),
  )
}

/** `, did you mean …?` for a name within a few letters of a known one. */
function suggestName(name: string, known: readonly string[]): string {
  let best: { name: string; letters: number } | undefined
  for (const other of known) {
    const letters = editDistance(name.toLowerCase(), other.toLowerCase())
    if (letters <= Math.min(4, other.length / 3) && (best === undefined || letters < best.letters))
      best = { name: other, letters }
  }
  return best === undefined ? '' : `, did you mean ${best.name}?`
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    }
    row = next
  }
  return row[b.length]!
}
