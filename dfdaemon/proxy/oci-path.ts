// Reads the paths of the OCI distribution API and finds which registry a request means. Pure.
import { type Digest, parseDigest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import type { Face } from './proxy-context.ts'

/** What a request asks for. */
export type OciTarget =
  | { readonly kind: 'root' }
  | { readonly kind: 'manifest'; readonly reference: string }
  | { readonly kind: 'blob'; readonly digest: Digest }
  | { readonly kind: 'tags' }
  | { readonly kind: 'referrers'; readonly digest: Digest }
  /** Where uploads begin, and their sessions; `session` is empty for the former. */
  | { readonly kind: 'upload'; readonly session: string }

export interface OciRequest {
  readonly target: OciTarget
  readonly registry: string
  readonly repository: string
  /** True if the first part of the name told the registry: what the client learnt at `GET /v2/` was of another, or of another name. */
  readonly isByPath: boolean
  /** The repository as it stands in the path: with a registry before it, without `library/`. */
  readonly name: string
  /** What follows it in the path, as it came. */
  readonly rest: string
}

/** Longest name taken, in characters (distribution-spec, "Pulling manifests": names of up to 255 characters with the host name). */
const NAME_CHARS_MAX = 255

/** Most of a request that an error repeats, in characters. */
const QUOTED_CHARS_MAX = 255

/** Grammar of names and tags in the OCI distribution specification 1.1, section "Pulling manifests". */
const namePattern = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const tagPattern = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/
const registryPattern = /^(?:localhost|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?$/i

/**
 * Reads a path and query. The registry is, in this order: `?ns=`, the first part of the name if it looks like a host (a dot, a colon or
 * `localhost`), the face's own; a face that is fixed stands for its own alone.
 * @throws PantalaError PATH_UNKNOWN | NAME_INVALID | REFERENCE_INVALID | DIGEST_INVALID | UPSTREAM_UNKNOWN
 */
export function readOciPath(path: string, ns: string | undefined, face: Face): OciRequest {
  const named = face.isFixed ? undefined : ns
  if (path === '/v2' || path === '/v2/') {
    const registry = readRegistry(named ?? face.registry)
    return { target: { kind: 'root' }, registry, repository: '', isByPath: false, name: '', rest: '' }
  }
  const { name, rest, target } = splitPath(path)
  const { registry, repository, isByPath } = readOciName(decode(name), named, face)
  if (repository.length > NAME_CHARS_MAX || !namePattern.test(repository)) {
    throw new PantalaError('NAME_INVALID', { detail: quoteAsked(repository) })
  }
  return { target, registry, repository, isByPath, name, rest }
}

/**
 * Which registry and repository a name means, by the rules of `readOciPath`; the repository is not checked.
 * @throws PantalaError UPSTREAM_UNKNOWN
 */
export function readOciName(
  name: string,
  ns: string | undefined,
  face: Face,
): { registry: string; repository: string; isByPath: boolean } {
  const named = face.isFixed ? undefined : ns
  const prefixed = face.isFixed || named !== undefined ? undefined : splitRegistry(name)
  const registry = readRegistry(named ?? prefixed?.registry ?? face.registry)
  const repository = completeName(registry, prefixed?.repository ?? name)
  return { registry, repository, isByPath: prefixed !== undefined }
}

/** Whom it asks, in the caller's own name. */
export function sourceOf({ registry, repository }: OciRequest, authorization: string | undefined): SourceRef {
  return { registry, repository, ...(authorization === undefined ? {} : { authorization }) }
}

function splitPath(path: string): { name: string; rest: string; target: OciTarget } {
  const found = (name: string, target: OciTarget) => ({
    name,
    rest: path.slice(`/v2/${name}/`.length),
    target,
  })
  const upload = /^\/v2\/(.+)\/blobs\/uploads(?:\/([^/]*))?$/.exec(path)
  if (upload !== null) return found(upload[1]!, { kind: 'upload', session: upload[2] ?? '' })
  const parts = /^\/v2\/(.+)\/(manifests|blobs|referrers)\/([^/]+)$/.exec(path)
  if (parts !== null) return found(parts[1]!, readTarget(parts[2]!, decode(parts[3]!)))
  const tags = /^\/v2\/(.+)\/tags\/list$/.exec(path)
  if (tags !== null) return found(tags[1]!, { kind: 'tags' })
  throw new PantalaError('PATH_UNKNOWN', { detail: quoteAsked(path) })
}

function readTarget(word: string, reference: string): OciTarget {
  if (word === 'blobs') return { kind: 'blob', digest: parseDigest(reference) }
  if (word === 'referrers') return { kind: 'referrers', digest: parseDigest(reference) }
  if (reference.includes(':')) return { kind: 'manifest', reference: parseDigest(reference) }
  if (!tagPattern.test(reference))
    throw new PantalaError('REFERENCE_INVALID', { detail: quoteAsked(reference) })
  return { kind: 'manifest', reference }
}

/** `reg.lab/team/app` is team/app of reg.lab; a name of one part is never a registry. */
function splitRegistry(name: string): { registry: string; repository: string } | undefined {
  const slash = name.indexOf('/')
  const first = name.slice(0, slash)
  if (slash < 0 || !(first.includes('.') || first.includes(':') || first === 'localhost')) return undefined
  return { registry: first, repository: name.slice(slash + 1) }
}

/** Docker Hub's official images are under library/, which runtimes leave out when they ask by a path prefix. */
function completeName(registry: string, name: string): string {
  return registry === 'docker.io' && !name.includes('/') ? `library/${name}` : name
}

function readRegistry(text: string): string {
  // What stands before an @ may be a password: it is not repeated.
  if (!registryPattern.test(text)) {
    throw new PantalaError('UPSTREAM_UNKNOWN', {
      detail: text.slice(text.lastIndexOf('@') + 1).slice(0, 160),
    })
  }
  return text.toLowerCase()
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new PantalaError('NAME_INVALID', { detail: quoteAsked(text) })
  }
}

/** A part of a request, fit for errors and log lines: what stands before an @ may be a password, and is left out. */
export function quoteAsked(text: string): string {
  return text
    .slice(0, 1000)
    .replace(/[^\s/]+@/g, '')
    .slice(0, QUOTED_CHARS_MAX)
}
