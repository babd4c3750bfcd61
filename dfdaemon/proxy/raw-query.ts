// Reads and changes single parameters of a query without spelling the others anew: registries put tokens there. Pure.

/** The query without all parameters of this name; with its question mark, empty where nothing is left. */
export function dropParameter(query: string, name: string): string {
  if (query === '') return ''
  const kept = split(query).filter(part => nameOf(part) !== name)
  return kept.length === 0 ? '' : `?${kept.join('&')}`
}

/** The query with the value of each parameter of this name put through `change`; what stays equal is left as it was spelled. */
export function changeParameter(query: string, name: string, change: (value: string) => string): string {
  const parts = split(query).map(part => {
    const value = nameOf(part) === name ? decode(part.slice(part.indexOf('=') + 1)) : undefined
    const changed = value === undefined ? undefined : change(value)
    return changed === undefined || changed === value ? part : `${name}=${encodeURIComponent(changed)}`
  })
  return parts.length === 0 ? '' : `?${parts.join('&')}`
}

/** All values of a parameter. */
export function parameters(query: string, name: string): string[] {
  return new URLSearchParams(query).getAll(name)
}

function split(query: string): string[] {
  return query
    .replace(/^\?/, '')
    .split('&')
    .filter(part => part !== '')
}

function nameOf(part: string): string | undefined {
  return decode(part.split('=', 1)[0]!)
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return undefined
  }
}
