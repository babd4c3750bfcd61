// Turns the Location of a registry's answer to a push into one that leads back through this proxy to the same registry, and such a path into
// the registry's own again. Asks nobody.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

/** Longer ones are handed on as they are, in characters: the way back must fit into a request. */
const LOCATION_CHARS_MAX = 2_700

/** How the client named what it writes to. */
export interface AskedPlace {
  readonly registry: string
  readonly repository: string
  /** The repository as it stands in the client's path: with a registry before it, without `library/`. */
  readonly name: string
  /** What the client gave as `ns`, which its next request must carry, too. */
  readonly ns: string | undefined
  /** Path and query of the request as the registry got it. */
  readonly path: string
  /** Scheme, host and port of the registry. */
  readonly origin: string
}

const sealedPattern = /^~([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{22})$/

export class UploadLocations {
  readonly #key = randomBytes(32)

  /**
   * The Location for the client. The registry's own paths lead back here; where it keeps uploads outside `/v2/<name>/`, the path is carried
   * sealed in a session's name, so that nobody can make one up. What another host is to get stays as it is.
   */
  rewrite(location: string, place: AskedPlace): string {
    const base = `${place.origin}${place.path}`
    if (location.length > LOCATION_CHARS_MAX || !URL.canParse(location, base)) return location
    const url = new URL(location, base)
    if (url.host !== new URL(place.origin).host || url.username !== '' || url.hash !== '') return location
    const path = pathOf(location, url)
    const own = `/v2/${place.repository}/`
    if (path.startsWith(own)) return addNs(`/v2/${place.name}/${path.slice(own.length)}`, place.ns)
    return addNs(`/v2/${place.name}/blobs/uploads/${this.#seal(path, place)}`, place.ns)
  }

  /** The path and query that a session's name carries; undefined if it is an ordinary one, or not sealed here for this repository. */
  open(session: string, place: Pick<AskedPlace, 'registry' | 'repository'>): string | undefined {
    const parts = sealedPattern.exec(session)
    if (parts === null) return undefined
    const path = Buffer.from(parts[1]!, 'base64url').toString('latin1')
    const mac = Buffer.from(parts[2]!, 'base64url')
    return timingSafeEqual(mac, this.#mac(path, place)) ? path : undefined
  }

  #seal(path: string, place: AskedPlace): string {
    const mac = this.#mac(path, place).toString('base64url')
    return `~${Buffer.from(path, 'latin1').toString('base64url')}.${mac}`
  }

  #mac(path: string, { registry, repository }: Pick<AskedPlace, 'registry' | 'repository'>): Buffer {
    const text = JSON.stringify([registry, repository, path])
    return createHmac('sha256', this.#key).update(text).digest().subarray(0, 16)
  }
}

/** Path and query as the registry spelled them, since URL would spell some characters anew. */
function pathOf(location: string, url: URL): string {
  const spelled = /^(?:[a-z][a-z0-9+.-]*:)?\/\/[^/?#]*(\/[^#]*)$/i.exec(location)?.[1]
  if (spelled !== undefined) return spelled
  return location.startsWith('/') ? location : `${url.pathname}${url.search}`
}

function addNs(path: string, ns: string | undefined): string {
  if (ns === undefined) return path
  return `${path}${path.includes('?') ? '&' : '?'}ns=${encodeURIComponent(ns)}`
}
