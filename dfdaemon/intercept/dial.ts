// Opens a TCP connection to a target within a deadline, to addresses that the guard lets through only.
import { lookup as dnsLookup, type LookupAddress } from 'node:dns'
import { connect, isIP, type LookupFunction, type Socket } from 'node:net'
import { type ConnectionOptions, type TLSSocket, connect as tlsConnect } from 'node:tls'
import { PantalaError, toPantalaError } from '../../shared/errors.ts'
import { showTarget, type Target } from './host-name.ts'
import type { OutboundGuard } from './outbound-guard.ts'

/** Names are looked up and connections made within this, in ms. */
const DIAL_MS = 5_000

/** @throws PantalaError UPSTREAM_FORBIDDEN | LOOP_DETECTED | SOURCE_AWAY, or the signal's reason */
export function dial(target: Target, guard: OutboundGuard, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    let refusal: unknown
    const lookup: LookupFunction = (hostname, options, callback) => {
      dnsLookup(hostname, { ...options, all: true }, (error, found: LookupAddress[]) => {
        if (error !== null) return callback(error, '', 0)
        const usable = found.filter(({ address }) => {
          try {
            guard.checkAddress(target, address)
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
    signal.throwIfAborted()
    guard.check(target)
    if (isIP(target.host) !== 0) guard.checkAddress(target, target.host)
    const socket = connect({
      host: target.host,
      port: target.port,
      lookup,
      allowHalfOpen: true,
      noDelay: true,
    })
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
    const onError = (error: NodeJS.ErrnoException): void =>
      settle(
        refusal ??
          toPantalaError(error, 'SOURCE_AWAY', `${showTarget(target)} (${error.code ?? 'network error'})`),
      )
    const timer = setTimeout(
      () =>
        settle(
          new PantalaError('SOURCE_AWAY', {
            detail: `${showTarget(target)}: no connection within ${DIAL_MS} ms`,
          }),
        ),
      DIAL_MS,
    )
    signal.addEventListener('abort', onAbort, { once: true })
    socket.once('error', onError)
    socket.once('connect', () => settle())
  })
}

/** As `dial`, and TLS on it; the certificate must hold. @throws as `dial`, SOURCE_AWAY also for a handshake that fails */
export async function dialTls(
  target: Target,
  guard: OutboundGuard,
  ca: readonly string[] | undefined,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const socket = await dial(target, guard, signal)
  const secured = tlsConnect({ socket, ...tlsOptionsFor(target, ca) })
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

/** Names the host that the certificate must be for; an address is not sent as a name (RFC 6066, section 3). */
export function tlsOptionsFor({ host }: Target, ca: readonly string[] | undefined): ConnectionOptions {
  return {
    host,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(ca === undefined ? {} : { ca: [...ca] }),
  }
}
