// Which headers of a message are for one connection only, and so go no further than whoever stands between client and registry. Pure.

/** Headers of one connection (RFC 9110, section 7.6.1; `http2-settings` is of RFC 7540, section 3.2.1, where an upgrade to HTTP/2 asks for it). */
export const hopHeaders: ReadonlySet<string> = new Set([
  'connection',
  'expect',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** Headers that a message's own Connection header, or headers, name as meant for one connection; in lower case. */
export function namedByConnection(connection: string | readonly string[] | undefined): ReadonlySet<string> {
  const names = [connection ?? []].flat().join(',').toLowerCase().split(',')
  return new Set(names.map(name => name.trim()).filter(name => name !== ''))
}
