// Opens connections to targets within a deadline: to addresses that the guard lets through only, by way of the HTTP proxy where one is configured.
import { lookup as dnsLookup, type LookupAddress } from 'node:dns'
import { connect, isIP, type LookupFunction, type Socket } from 'node:net'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'
import { PantalaError, toPantalaError } from '../../../shared/errors.ts'
import type { HttpProxies } from '../../../shared/source/reach/http-proxy.ts'
import type { TlsOptions } from '../../../shared/source/reach/tls-trust.ts'
import { viaHeader } from '../message-headers.ts'
import { readTarget, showTarget, type Target } from './host-name.ts'
import type { OutboundGuard } from './outbound-guard.ts'
import { askForTunnel } from './proxy-hop.ts'

/** Names are looked up and TCP connections made within this, in ms. */
const DIAL_MS = 5_000

export interface DiallerComponents {
  readonly guard: OutboundGuard
  /** Under which this proxy is named in Via headers; no other has it. */
  readonly self: string
  readonly proxies: Pick<HttpProxies, 'proxyFor'>
  /** What TLS to a target is verified against, and what is shown to it. */
  trustFor(target: Target): TlsOptions
}

export interface DialOptions {
  /** Of what is to be spoken: another proxy may be configured for each. */
  readonly scheme?: 'http' | 'https'
  /** The Via header of the CONNECT that the connection is for. */
  readonly through?: string
}

export class Dialler {
  readonly #c: DiallerComponents

  constructor(components: DiallerComponents) {
    this.#c = components
  }

  /**
   * @throws PantalaError UPSTREAM_FORBIDDEN | LOOP_DETECTED | SOURCE_AWAY, or the signal's reason
   */
  async dial(
    target: Target,
    signal: AbortSignal,
    { scheme = 'https', through = '' }: DialOptions = {},
  ): Promise<Socket> {
    const via = viaHeader(through, showTarget(target), this.#c.self)
    const { guard, proxies } = this.#c
    guard.check(target)
    if (isIP(target.host) !== 0) guard.checkAddress(target, target.host)
    const proxy = proxies.proxyFor(new URL(`${scheme}://${showTarget(target)}/`))
    if (proxy === undefined) {
      return openTcp(target, signal, address => guard.checkAddress(target, address))
    }
    const url = new URL(proxy.url)
    const isTls = url.protocol === 'https:'
    const hop = readTarget(url.host, isTls ? 443 : 80)!
    // The proxy is the operator's word; it looks the target's name up.
    let socket = await openTcp(hop, signal, () => {})
    if (isTls) socket = await secure(socket, hop, this.#c.trustFor(hop), signal)
    const headers: Record<string, string> = { via }
    if (proxy.token !== undefined) headers['proxy-authorization'] = proxy.token
    return askForTunnel(socket, showTarget(target), headers, signal)
  }

  /** As `dial`, and TLS on it; the certificate must hold. @throws as `dial`, SOURCE_AWAY also for a handshake that fails */
  async dialTls(target: Target, signal: AbortSignal): Promise<TLSSocket> {
    return secure(await this.dial(target, signal), target, this.#c.trustFor(target), signal)
  }
}

/** Options of a handshake with a target; an address is not sent as a name (RFC 6066, section 3). */
export function tlsOptionsFor(
  { host }: Target,
  trust: TlsOptions,
): TlsOptions & { host: string; servername?: string } {
  return { host, ...(isIP(host) === 0 ? { servername: host } : {}), ...trust }
}

function secure(socket: Socket, target: Target, trust: TlsOptions, signal: AbortSignal): Promise<TLSSocket> {
  const secured = tlsConnect({ socket, ...tlsOptionsFor(target, trust) })
  return new Promise((resolve, reject) => {
    const settle = (error?: unknown): void => {
      signal.removeEventListener('abort', onAbort)
      secured.off('error', onError)
      if (error === undefined) {
        resolve(secured)
        return
      }
      secured.on('error', () => {})
      secured.destroy()
      socket.destroy()
      reject(error)
    }
    const onAbort = (): void => settle(signal.reason)
    const onError = (error: NodeJS.ErrnoException): void =>
      settle(toPantalaError(error, 'SOURCE_AWAY', `${showTarget(target)} (${error.code ?? error.message})`))
    signal.addEventListener('abort', onAbort, { once: true })
    secured.once('error', onError)
    secured.once('secureConnect', () => settle())
    if (signal.aborted) onAbort()
  })
}

/** `check` is called with each address before it is connected to, and throws for those that may not be. */
function openTcp(target: Target, signal: AbortSignal, check: (address: string) => void): Promise<Socket> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    let refusal: unknown
    const lookup: LookupFunction = (hostname, options, callback) => {
      dnsLookup(hostname, { ...options, all: true }, (error, found: LookupAddress[]) => {
        if (error !== null) return callback(error, '', 0)
        const usable = found.filter(({ address }) => {
          try {
            check(address)
            return true
          } catch (reason) {
            refusal = reason
            return false
          }
        })
        const first = usable[0]
        if (first === undefined) return callback(new Error('no address may be used'), '', 0)
        if (options.all === true) return callback(null, usable)
        callback(null, first.address, first.family)
      })
    }
    const socket = connect({ ...target, lookup, allowHalfOpen: true, noDelay: true })
    const settle = (error?: unknown): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      socket.off('error', onError)
      if (error === undefined) {
        resolve(socket)
        return
      }
      socket.on('error', () => {})
      socket.destroy()
      reject(error)
    }
    const onAbort = (): void => settle(signal.reason)
    const name = showTarget(target)
    const onError = (error: NodeJS.ErrnoException): void =>
      settle(refusal ?? toPantalaError(error, 'SOURCE_AWAY', `${name} (${error.code ?? 'network error'})`))
    const timer = setTimeout(
      () =>
        settle(new PantalaError('SOURCE_AWAY', { detail: `${name}: no connection within ${DIAL_MS} ms` })),
      DIAL_MS,
    )
    signal.addEventListener('abort', onAbort, { once: true })
    socket.once('error', onError)
    socket.once('connect', () => settle())
  })
}
