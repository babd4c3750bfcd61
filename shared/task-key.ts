// Names tasks: the digest alone where anyone may have the content, else the digest with the registry that it was had from. Pure.
import { createHash } from 'node:crypto'
import { type Digest, isDigest } from './digest.ts'
import { canonicalRegistry } from './source/upstreams.ts'

/** Of the hash that stands for a registry in a key, in bytes. */
export const REALM_BYTES = 12
/** Longest key, in characters: a sha512 digest and a registry. */
export const TASK_KEY_CHARS_MAX = 135 + 1 + 2 * REALM_BYTES

const realmPattern = new RegExp(`^[0-9a-f]{${2 * REALM_BYTES}}$`)

/**
 * What a blob is stored, announced and spread under. `sha256:…` alone is what some registry gave to a caller without credentials: it may be
 * shared by callers of all registries. `sha256:…@<realm>` came from one registry under somebody's credentials, and is for that registry's
 * callers alone: another registry's word that it holds such a digest proves nothing. Every key is text that a Digest's type allows.
 */
export type TaskKey = Digest

/** The key of content that callers of `registry` alone may share. */
export function privateKey(content: Digest, registry: string): TaskKey {
  const realm = createHash('sha256').update(canonicalRegistry(registry)).digest('hex')
  return `${content}@${realm.slice(0, 2 * REALM_BYTES)}`
}

/** The digest that the bytes must have. */
export function contentOf(key: TaskKey): Digest {
  const at = key.indexOf('@')
  return at < 0 ? key : (key.slice(0, at) as Digest)
}

/** What stands for the registry in a key; undefined where the content is anyone's. */
export function realmOf(key: TaskKey): string | undefined {
  const at = key.indexOf('@')
  return at < 0 ? undefined : key.slice(at + 1)
}

export function isTaskKey(text: string): text is TaskKey {
  const at = text.indexOf('@')
  return at < 0 ? isDigest(text) : isDigest(text.slice(0, at)) && realmPattern.test(text.slice(at + 1))
}
