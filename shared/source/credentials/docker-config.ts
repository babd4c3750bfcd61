// Reads credentials as docker, podman and Kubernetes keep them, and finds those for a place at a registry. Opens no file.
import { parse } from 'yaml'
import { canonicalRegistry } from '../upstreams.ts'

const ENTRIES_MAX = 1_000
const DEPTH_MAX = 2

/** User name that stands for an identity token instead of a password, as docker's credential helpers have it. */
export const IDENTITY_TOKEN_USER = '<token>'

/** Credentials for hosts, and repositories under a path, that a key names. */
export interface CredentialEntry {
  /** Labels of the host; `*` in one stands for any characters. */
  readonly host: string
  /** Undefined: the scheme's usual port. */
  readonly port: number | undefined
  /** Segments that the repository name begins with. */
  readonly path: readonly string[]
  /** The Authorization header. */
  readonly header: string
}

/** What is wrong with a file, in words that hold nothing of its content but keys. */
export class CredentialsFault extends Error {}

/**
 * Entries of a docker config.json (also podman's auth.json), of a Kubernetes pull secret's manifest in JSON or YAML, or of the older
 * `.dockercfg` form inside one.
 * @throws CredentialsFault
 */
export function readCredentials(text: string, depth = 0): readonly CredentialEntry[] {
  const document = parseDocument(text)
  for (const key of ['credsStore', 'credHelpers'])
    if (isMap(document[key]) ? Object.keys(document[key]).length > 0 : Boolean(document[key]))
      throw new CredentialsFault(
        `${key} names programs that are not run here: give a file that holds the credentials`,
      )
  if (document['kind'] === 'Secret') {
    if (depth >= DEPTH_MAX) throw new CredentialsFault('a Secret inside a Secret')
    return readSecret(document, depth)
  }
  if (!isMap(document['auths'])) throw new CredentialsFault('no auths in it, and no Kubernetes pull secret')
  return readAuths(document['auths'])
}

function parseDocument(text: string): Record<string, unknown> {
  let document: unknown
  try {
    // No aliases: a small file could stand for a huge one.
    document = parseJson(text) ?? parse(text, { maxAliasCount: 0, logLevel: 'error' })
  } catch {
    throw new CredentialsFault('neither JSON nor YAML')
  }
  if (!isMap(document))
    throw new CredentialsFault('neither a docker config.json nor a Kubernetes pull secret')
  return document
}

/** Not left to YAML, which has its own mind about tabs. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function readSecret(secret: Record<string, unknown>, depth: number): readonly CredentialEntry[] {
  for (const field of ['data', 'stringData']) {
    const content = secret[field]
    if (!isMap(content)) continue
    const read = (value: unknown) =>
      typeof value !== 'string'
        ? ''
        : field === 'data'
          ? Buffer.from(value, 'base64').toString('utf8')
          : value
    const config = read(content['.dockerconfigjson'])
    if (config !== '') return readCredentials(config, depth + 1)
    const older = read(content['.dockercfg'])
    if (older !== '') return readAuths(parseDocument(older))
  }
  throw new CredentialsFault('the Secret has neither .dockerconfigjson nor .dockercfg')
}

function readAuths(auths: Record<string, unknown>): readonly CredentialEntry[] {
  const entries: CredentialEntry[] = []
  for (const [key, auth] of Object.entries(auths).slice(0, ENTRIES_MAX)) {
    if (!isMap(auth)) throw new CredentialsFault(`auths: ${JSON.stringify(key)} is no map`)
    const header = headerOf(key, auth)
    const place = readKey(key)
    // An empty entry is what docker leaves where a helper keeps the password.
    if (header !== undefined && place !== undefined) entries.push({ ...place, header })
  }
  return entries
}

function headerOf(key: string, auth: Record<string, unknown>): string | undefined {
  const text = (name: string) => (typeof auth[name] === 'string' ? auth[name] : '')
  const token = text('registrytoken')
  if (token !== '') {
    if (!/^[\x21-\x7e]{1,16000}$/.test(token))
      throw new CredentialsFault(`auths: ${JSON.stringify(key)} has no usable registrytoken`)
    return `Bearer ${token}`
  }
  if (text('identitytoken') !== '') return basic(IDENTITY_TOKEN_USER, text('identitytoken'))
  if (text('username') !== '') return basic(text('username'), text('password'))
  if (text('auth') === '') return undefined
  // Docker pads with zeros.
  const plain = Buffer.from(text('auth'), 'base64').toString('utf8').replace(/\0+$/, '')
  const colon = plain.indexOf(':')
  if (colon <= 0)
    throw new CredentialsFault(
      `auths: ${JSON.stringify(key)} has an auth that is not base64 of user:password`,
    )
  return basic(plain.slice(0, colon), plain.slice(colon + 1))
}

function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}

/** `https://index.docker.io/v1/`, `reg.lab`, `reg.lab:5000`, `reg.lab/team`, `*.reg.lab`; undefined for what names no host. */
function readKey(key: string): Omit<CredentialEntry, 'header'> | undefined {
  const match = /^(?:https?:\/\/)?(\[[0-9a-f:.]+\]|[^/:[\]]+)(?::([0-9]{1,5}))?(\/.*)?$/i.exec(key.trim())
  if (match === null) return undefined
  const [, host = '', port, rest = ''] = match
  const path = rest.split('/').filter(segment => segment !== '')
  if (path[0] === 'v1' || path[0] === 'v2') path.shift()
  return { host: canonicalRegistry(host), port: port === undefined ? undefined : Number(port), path }
}

/**
 * The header for a repository at an origin: of the entry with the longest path, a plain host before a pattern; undefined if none fits.
 * The port must be the same; a key without one means the usual port.
 */
export function findCredentials(
  entries: readonly CredentialEntry[],
  origin: string,
  repository: string,
): string | undefined {
  const url = new URL(origin)
  const host = canonicalRegistry(url.hostname)
  const usual = url.protocol === 'http:' ? 80 : 443
  const port = url.port === '' ? usual : Number(url.port)
  const segments = repository.split('/')
  let best: CredentialEntry | undefined
  for (const entry of entries) {
    const fits =
      (entry.port ?? usual) === port &&
      hostFits(entry.host, host) &&
      entry.path.every((segment, index) => segment === segments[index])
    if (fits && (best === undefined || rankOf(entry) > rankOf(best))) best = entry
  }
  return best?.header
}

function rankOf(entry: CredentialEntry): number {
  return entry.path.length * 2 + (entry.host.includes('*') ? 0 : 1)
}

/** As Kubernetes has it: a pattern has as many labels as the host. */
function hostFits(pattern: string, host: string): boolean {
  if (!pattern.includes('*')) return pattern === host
  const [wanted, labels] = [pattern.split('.'), host.split('.')]
  return wanted.length === labels.length && wanted.every((label, index) => labelFits(label, labels[index]!))
}

function labelFits(pattern: string, label: string): boolean {
  const [head = '', ...rest] = pattern.split('*')
  if (rest.length === 0) return pattern === label
  if (!label.startsWith(head)) return false
  let at = head.length
  const tail = rest.pop()!
  for (const part of rest) {
    const found = label.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return label.length - tail.length >= at && label.endsWith(tail)
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
