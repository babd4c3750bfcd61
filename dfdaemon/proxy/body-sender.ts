// Moves a body to a client: with backpressure, cut when it fails or the client takes nothing, without a promise per chunk.
import type { ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'

export interface BodySend {
  readonly body: Readable
  /** Headers are written already. */
  readonly response: ServerResponse
  readonly signal: AbortSignal
  onSent(bytes: number): void
}

/**
 * Resolves true when the last byte left, false when the client went away. After a failure of the body the socket is destroyed, so that
 * the client never sees a clean end. @throws the body's error
 */
export function sendBody(send: BodySend, init: { stalledSendMs: number }): Promise<boolean> {
  const { body, response, signal } = send
  return new Promise((resolve, reject) => {
    let settled = false
    let unsent = 0
    const stalled = setTimeout(() => finish(false), init.stalledSendMs)
    stalled.unref()
    const settle = (): boolean => {
      if (settled) return false
      settled = true
      clearTimeout(stalled)
      signal.removeEventListener('abort', onGone)
      return true
    }
    const finish = (whole: boolean, error?: Error): void => {
      if (!settle()) return
      if (!whole) {
        body.destroy()
        response.destroy()
      }
      if (error === undefined) resolve(whole)
      else reject(error)
    }
    const onGone = (): void => finish(false)
    const onTaken = (): void => {
      stalled.refresh()
      if (unsent > 0) send.onSent(unsent)
      unsent = 0
    }
    body.on('data', (chunk: Buffer) => {
      stalled.refresh()
      unsent += chunk.byteLength
      if (response.write(chunk)) onTaken()
      else body.pause()
    })
    response.on('drain', () => {
      onTaken()
      body.resume()
    })
    body.on('end', () => {
      stalled.refresh()
      response.end(() => {
        onTaken()
        finish(true)
      })
    })
    body.on('error', error => finish(false, error))
    response.on('error', onGone)
    response.on('close', onGone)
    signal.addEventListener('abort', onGone, { once: true })
    if (signal.aborted || response.destroyed) onGone()
  })
}
