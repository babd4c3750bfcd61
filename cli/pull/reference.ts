// Image references as people write them: [registry/]repository[:tag][@digest].
import { type Digest, isDigest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'

export interface ImageReference {
  /** Undefined: the dfdaemon's default upstream. */
  readonly registry: string | undefined
  readonly repository: string
  /** Tag or digest that is asked for. */
  readonly reference: string
  readonly digest: Digest | undefined
}

const repositoryPattern =
  /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/

/** As docker reads them: the first part is a registry if it has a dot or a colon or is `localhost`. @throws PantalaError NAME_INVALID | REFERENCE_INVALID | DIGEST_INVALID */
export function parseReference(text: string): ImageReference {
  const at = text.indexOf('@')
  const digestText = at < 0 ? undefined : text.slice(at + 1)
  if (digestText !== undefined && !isDigest(digestText))
    throw new PantalaError('DIGEST_INVALID', { detail: digestText })
  const named = at < 0 ? text : text.slice(0, at)
  const slash = named.indexOf('/')
  const first = slash < 0 ? '' : named.slice(0, slash)
  const registry = /[.:]/.test(first) || first === 'localhost' ? first : undefined
  const rest = registry === undefined ? named : named.slice(slash + 1)
  const colon = rest.lastIndexOf(':')
  const repository = colon < 0 ? rest : rest.slice(0, colon)
  const tag = colon < 0 ? 'latest' : rest.slice(colon + 1)
  if (!repositoryPattern.test(repository)) throw new PantalaError('NAME_INVALID', { detail: repository })
  if (!tagPattern.test(tag)) throw new PantalaError('REFERENCE_INVALID', { detail: tag })
  return { registry, repository, reference: digestText ?? tag, digest: digestText }
}
