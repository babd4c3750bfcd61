// Reads host[:port] as clients and options write it, into one spelling. Pure; looks nothing up.

import { isIP } from 'node:net'
import { domainToASCII } from 'node:url'

/** A host and a port to connect to. */
export interface Target {
  /** Lower case; an address in its shortest form and without brackets. */
  readonly host: string
  readonly port: number
}

/** Longest text that is read, in characters. */
const TARGET_CHARS_MAX = 300

const namePattern =
  /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$/

/** Takes `host`, `host:port` or `[address]:port` apart; undefined if it is none, or has no port and none is given. */
export function readTarget(text: string, presetPort?: number): Target | undefined {
  if (text.length > TARGET_CHARS_MAX) return undefined
  const parts = /^(\[[0-9a-f:.]+\]|[^:/?#@\s[\]]+)(?::(\d{1,5}))?$/i.exec(text)
  if (parts === null) return undefined
  const host = readHost(parts[1]!)
  const port = parts[2] === undefined ? presetPort : Number(parts[2])
  return host === undefined || port === undefined || port < 1 || port > 65_535 ? undefined : { host, port }
}

/** One spelling for every way to write a host: `0x7f.1` is 127.0.0.1, as the system's resolver would have it. */
function readHost(text: string): string | undefined {
  const url = `http://${text}/`
  if (!URL.canParse(url)) return undefined
  const { hostname } = new URL(url)
  const bare = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
  if (isIP(bare) !== 0) return bare
  const name = domainToASCII(bare).replace(/\.$/, '')
  return namePattern.test(name) ? name : undefined
}

/** `host:port`, with brackets where the host is an IPv6 address. */
export function showTarget({ host, port }: Target): string {
  return `${showHost(host)}:${port}`
}

/** The registry's name: the port is left out where it is `impliedPort`. */
export function registryName({ host, port }: Target, impliedPort: number): string {
  return port === impliedPort ? showHost(host) : `${showHost(host)}:${port}`
}

function showHost(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host
}
