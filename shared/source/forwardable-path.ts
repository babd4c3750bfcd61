// Tells whether a path that came from outside may be put into a request as it is. Pure.

const PATH_CHARS_MAX = 4_096

/** Visible ASCII only, from the root, and no dot segments, which servers on the way would resolve. */
export function isForwardablePath(pathAndQuery: string): boolean {
  const [path] = pathAndQuery.split('?', 1) as [string]
  return (
    pathAndQuery.length <= PATH_CHARS_MAX &&
    /^\/[\x21-\x22\x24-\x7e]*$/.test(pathAndQuery) &&
    !/^\/\/|\/\.{1,2}(?:\/|$)|%2e|\\/i.test(path)
  )
}
