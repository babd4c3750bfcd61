// Opens a TCP connection to a target within a deadline, to addresses that the guard lets through only.
import { lookup as dnsLookup, type LookupAddress } from 'node:dns'
import { connect, isIP, type LookupFunction, type Socket } from 'node:net'
import { PantalaError, toPantalaError } from '../../shared/errors.ts'
import { showTarget, type Target } from './host-name.ts'
import type { OutboundGuard } from './outbound-guard.ts'

/** Names are looked up and connections made within this, in ms. */
export const DIAL_MS = 5_000

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
      if (error === undefined) return resolve(socket)
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
