// Reduces the Accept header of a runtime to what makes a difference, so that requests which differ only in its order are one.

const indexTypes = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]
const imageTypes = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]
const TYPES_MAX = 32

/**
 * Media types to ask the source for, in one order whatever the caller's; empty for callers that take every common kind of manifest
 * (runtimes of today) or name none.
 */
export function classifyAccept(accept: readonly string[]): readonly string[] {
  const types = new Set<string>()
  for (const header of accept)
    for (const part of header.split(',')) {
      const type = part.split(';', 1)[0]!.trim().toLowerCase()
      if (type !== '' && types.size < TYPES_MAX) types.add(type)
    }
  const takesAll =
    types.size === 0 || types.has('*/*') || [...indexTypes, ...imageTypes].every(type => types.has(type))
  return takesAll ? [] : [...types].sort()
}

/** True if a caller of this class takes the media type. */
export function takesMediaType(accepted: readonly string[], mediaType: string): boolean {
  return accepted.length === 0 || accepted.includes(mediaType) || accepted.includes('application/*')
}
