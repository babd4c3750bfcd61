// Asks another HTTP proxy for a tunnel, over a connection to it; reads no byte beyond its answer.
import type { Socket } from 'node:net'
import { PantalaError, toPantalaError } from '../../../shared/errors.ts'

/** Longest head of an answer that is read, in bytes. */
const ANSWER_BYTES_MAX = 16 * 1024

/** @throws PantalaError SOURCE_AWAY, or the signal's reason; the socket is destroyed then */
export function askForTunnel(
  socket: Socket,
  authority: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    let head = Buffer.alloc(0)
    const settle = (error?: unknown): void => {
      signal.removeEventListener('abort', onAbort)
      socket.off('readable', onReadable)
      socket.off('error', onError)
      socket.off('end', onEnd)
      if (error === undefined) {
        resolve(socket)
        return
      }
      socket.on('error', () => {})
      socket.destroy()
      reject(error)
    }
    const fail = (what: string, cause?: unknown): void =>
      settle(new PantalaError('SOURCE_AWAY', { detail: `${authority}: the HTTP proxy ${what}`, cause }))
    const onAbort = (): void => settle(signal.reason)
    const onError = (error: Error): void =>
      settle(toPantalaError(error, 'SOURCE_AWAY', `${authority}: the HTTP proxy broke off`))
    const onEnd = (): void => fail('hung up')
    const onReadable = (): void => {
      for (let chunk: Buffer | null = socket.read(); chunk !== null; chunk = socket.read()) {
        head = Buffer.concat([head, chunk])
        const end = head.indexOf('\r\n\r\n')
        if (end < 0) {
          if (head.byteLength <= ANSWER_BYTES_MAX) continue
          fail('answers too much')
          return
        }
        const status = /^HTTP\/1\.[01] (\d{3})/.exec(head.toString('latin1', 0, 64))?.[1]
        if (status === undefined || !status.startsWith('2')) {
          fail(`answered ${status ?? 'no HTTP'}`)
          return
        }
        const rest = head.subarray(end + 4)
        settle()
        if (rest.byteLength > 0) socket.unshift(rest)
        return
      }
    }
    signal.addEventListener('abort', onAbort, { once: true })
    socket.on('readable', onReadable)
    socket.once('error', onError)
    socket.once('end', onEnd)
    const lines = Object.entries({ host: authority, ...headers }).map(
      ([name, value]) => `${name}: ${value}\r\n`,
    )
    socket.write(`CONNECT ${authority} HTTP/1.1\r\n${lines.join('')}\r\n`)
    if (signal.aborted) onAbort()
  })
}
