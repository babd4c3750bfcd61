// Turns the source's links to the next page of a list into links that lead back through this proxy, to the same registry. Pure.

/** Longest Link header that is read, in characters, and links in it. */
const LINK_CHARS_MAX = 8 * 1024
const LINKS_MAX = 8

/** The list as the client asked for it. */
export interface AskedList {
  /** Path of the request, without query. */
  readonly path: string
  /** What the client gave as `ns`, which its next request must carry, too. */
  readonly ns: string | undefined
}

/**
 * A source names its own path (or itself): a client that follows it would lose the registry which it named by prefix or by `ns`, or go past
 * the proxy. The next page of a list differs in its query only, so that is all that is taken over. Undefined where nothing can be followed.
 */
export function rewriteLinks(header: string, asked: AskedList): string | undefined {
  if (header.length > LINK_CHARS_MAX) return undefined
  const links: string[] = []
  for (const [, target, params] of header.matchAll(/<([^<>]*)>([^<]*)/g)) {
    const rel = /;\s*rel\s*=\s*"?([a-z]{1,16})"?/i.exec(params!)?.[1]
    const query = rel === undefined ? undefined : readQuery(target!, asked)
    if (query !== undefined) links.push(`<${asked.path}?${query}>; rel="${rel}"`)
    if (links.length === LINKS_MAX) break
  }
  return links.length === 0 ? undefined : links.join(', ')
}

function readQuery(target: string, asked: AskedList): string | undefined {
  // Only the query is used, so that any base will do.
  const base = 'https://source.invalid/'
  if (!URL.canParse(target, base)) return undefined
  const query = new URL(target, base).searchParams
  query.delete('ns')
  if (asked.ns !== undefined) query.set('ns', asked.ns)
  return query.toString()
}
