// Which headers of a message an HTTP proxy passes on, and how it tells that a message has been here before. Pure.
import { PantalaError } from '../../shared/errors.ts'
import { hopHeaders, namedByConnection } from '../proxy/hop-headers.ts'

/** Besides headers of one connection: what is set anew here. */
const ownHeaders: ReadonlySet<string> = new Set([...hopHeaders, 'host', 'via'])

/**
 * Headers to send on, as name and value in turn: those of one connection left out, the host asked for and this proxy added.
 * @param raw name and value in turn, as they came
 * @throws PantalaError LOOP_DETECTED if this proxy is among those the message came through
 */
export function passOnHeaders(raw: readonly string[], host: string, self: string): string[] {
  const connection: string[] = []
  const through: string[] = []
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index]!.toLowerCase()
    if (name === 'connection') connection.push(raw[index + 1]!)
    if (name === 'via') through.push(raw[index + 1]!)
  }
  const via = viaHeader(through.join(', '), host, self)
  const named = namedByConnection(connection)
  const kept: string[] = ['host', host]
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index]!.toLowerCase()
    if (!ownHeaders.has(name) && !named.has(name)) kept.push(name, raw[index + 1]!)
  }
  kept.push('via', via)
  return kept
}

/** @param through the Via header that came, empty if none did @throws PantalaError LOOP_DETECTED if this proxy is in it */
export function viaHeader(through: string, host: string, self: string): string {
  if (through.split(/[\s,]+/).includes(self))
    throw new PantalaError('LOOP_DETECTED', { detail: `${host} sends what it is asked back to this proxy` })
  return through === '' ? `1.1 ${self}` : `${through}, 1.1 ${self}`
}

/** Headers of an answer to hand back: those of one connection, and what would lead the client past this proxy, left out. */
export function passBackHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string | string[]> {
  const named = namedByConnection(headers['connection'])
  return Object.fromEntries(
    Object.entries(headers).filter(
      (entry): entry is [string, string | string[]] =>
        entry[1] !== undefined &&
        (entry[0] === 'via' || !ownHeaders.has(entry[0])) &&
        entry[0] !== 'alt-svc' &&
        !named.has(entry[0]),
    ),
  )
}
