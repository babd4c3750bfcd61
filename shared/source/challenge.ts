// Reads WWW-Authenticate (RFC 9110, section 11.6.1), whatever a server put there; decides nothing.

/** One challenge: its scheme in lower case and its parameters, names in lower case. */
export interface Challenge {
  readonly scheme: string
  readonly params: ReadonlyMap<string, string>
}

/** Longer headers are not read, in characters. */
const CHALLENGE_CHARS_MAX = 8 * 1024
const CHALLENGES_MAX = 8
const PARAMS_MAX = 16

const tokenAt = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y
const blanksAt = /[ \t]*/y
const separatorsAt = /[ \t,]*/y
const equalsAt = /[ \t]*=[ \t]*/y
const quotedAt = /"((?:[^"\\]|\\[\s\S])*)"/y
const token68At = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y

/** All challenges that can be understood, in order; what follows a fault is left out. Never throws. */
export function parseChallenges(header: string): readonly Challenge[] {
  if (header.length > CHALLENGE_CHARS_MAX) return []
  const challenges: { scheme: string; params: Map<string, string> }[] = []
  let at = 0
  const match = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const found = pattern.exec(header)
    if (found !== null) at = pattern.lastIndex
    return found
  }
  while (challenges.length < CHALLENGES_MAX) {
    match(separatorsAt)
    const scheme = match(tokenAt)
    if (scheme === null) break
    const params = new Map<string, string>()
    challenges.push({ scheme: scheme[0].toLowerCase(), params })
    match(blanksAt)
    // A scheme may be followed by a token68, which no scheme used by registries has: skipped.
    if (at < header.length && header[at] !== ',') {
      const before = at
      const isParam = match(tokenAt) !== null && match(equalsAt) !== null && at < header.length
      at = before
      if (!isParam && match(token68At) !== null) continue
    }
    if (!readParams(params)) return challenges
  }
  return challenges

  /** Reads `name=value` pairs up to the next scheme or the end; false at a fault. */
  function readParams(params: Map<string, string>): boolean {
    for (;;) {
      match(separatorsAt)
      const start = at
      const name = match(tokenAt)
      if (name === null) return at >= header.length
      if (match(equalsAt) === null) {
        at = start // the next challenge's scheme
        return true
      }
      const quoted = match(quotedAt)
      const value = quoted === null ? match(tokenAt)?.[0] : quoted[1]!.replace(/\\([\s\S])/g, '$1')
      if (value === undefined || params.size >= PARAMS_MAX) return false
      const key = name[0].toLowerCase()
      if (!params.has(key)) params.set(key, value)
    }
  }
}
