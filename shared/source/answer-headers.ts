// Reads the headers of a registry's answer with suspicion: lengths, ranges and media types that can be used, or undefined.

type Headers = Readonly<Record<string, string>>

/** Content-Length in bytes. */
export function readLength(headers: Headers): number | undefined {
  const text = headers['content-length']
  return text !== undefined && /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined
}

/** Content-Range: `bytes 5-9/10`, `bytes 5-9/*`, or, in a 416, `bytes *\/10`. */
export function readContentRange(
  headers: Headers,
): { first: number | undefined; size: number | undefined } | undefined {
  const match = /^bytes (?:([0-9]{1,15})-([0-9]{1,15})|\*)\/([0-9]{1,15}|\*)$/i.exec(
    headers['content-range'] ?? '',
  )
  if (match === null) return undefined
  const [, first, last, size] = match
  if (first !== undefined && Number(first) > Number(last)) return undefined
  return {
    first: first === undefined ? undefined : Number(first),
    size: size === '*' ? undefined : Number(size),
  }
}

const vague = new Set(['', 'application/json', 'application/octet-stream', 'text/plain', 'text/html'])
const mediaTypePattern = /^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$/

/** A manifest's media type: what the header says, or where that is vague, what the manifest itself says or looks like. */
export function readMediaType(headers: Headers, body: Uint8Array | undefined): string {
  const text = (headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase()
  const fromHeader = mediaTypePattern.test(text) ? text : ''
  if (!vague.has(fromHeader) || body === undefined) return fromHeader
  return guessMediaType(body) ?? (fromHeader === '' ? 'application/octet-stream' : fromHeader)
}

function guessMediaType(body: Uint8Array): string | undefined {
  try {
    const manifest: unknown = JSON.parse(Buffer.from(body).toString('utf8'))
    if (typeof manifest !== 'object' || manifest === null) return undefined
    const { mediaType, manifests, config, schemaVersion } = manifest as Record<string, unknown>
    if (typeof mediaType === 'string' && mediaTypePattern.test(mediaType)) return mediaType
    if (Array.isArray(manifests)) return 'application/vnd.oci.image.index.v1+json'
    if (typeof config === 'object' && config !== null) return 'application/vnd.oci.image.manifest.v1+json'
    return schemaVersion === 1 ? 'application/vnd.docker.distribution.manifest.v1+prettyjws' : undefined
  } catch {
    return undefined
  }
}
