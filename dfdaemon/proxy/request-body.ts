// Reads a client's request body piece by piece, only as fast as it is taken; and lets an answer reach a client that is still sending.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as delay, setImmediate as immediate } from 'node:timers/promises'
import { PantalaError } from '../../shared/errors.ts'
import { isOfStream } from './http2-exchange.ts'

/** How long, and how many bytes, a client may go on sending after the answer to its request, in ms. */
const LINGER_MS = 2_000
const LINGER_BYTES_MAX = 4 * 1024 * 1024

const changeEvents = ['readable', 'end', 'close', 'error'] as const

export interface BodyReading {
  /** Ends the reading without ending the request. */
  readonly signal: AbortSignal
  /** Told before the first byte is waited for. */
  onBegin?(): void
  /** Told of each chunk, when it is taken. */
  onChunk?(bytes: number): void
}

/**
 * The body's bytes. Unlike the request's own iterator it leaves the request alone when it ends early, so that it can still be answered.
 * @throws PantalaError DEADLINE_PASSED if the client went away, or the signal's reason
 */
export async function* readRequestBody(
  request: IncomingMessage,
  { signal, onBegin, onChunk }: BodyReading,
): AsyncGenerator<Buffer> {
  onBegin?.()
  for (;;) {
    signal.throwIfAborted()
    const chunk: Buffer | null = request.read()
    if (chunk !== null) {
      onChunk?.(chunk.byteLength)
      yield chunk
    } else if (request.readableEnded) break
    else if (request.destroyed) throw clientGone()
    else await changes(request, signal)
  }
  // Some clients of HTTP/2 end a stream before they reset it. A body cut short should not look whole to the registry, where that can be told.
  if (isOfStream(request)) await immediate()
  if (request.aborted) throw clientGone()
}

function clientGone(): PantalaError {
  return new PantalaError('DEADLINE_PASSED', { detail: 'the client went away' })
}

/** Settles when there may be more to read, or there is an end. @throws the signal's reason */
function changes(request: IncomingMessage, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      for (const name of changeEvents) request.off(name, settle)
      signal.removeEventListener('abort', settle)
      if (signal.aborted) reject(signal.reason)
      else resolve()
    }
    for (const name of changeEvents) request.on(name, settle)
    signal.addEventListener('abort', settle)
  })
}

/** True if the request announced a body. */
export function hasBody(request: IncomingMessage): boolean {
  const { 'transfer-encoding': encoding, 'content-length': length } = request.headers
  return encoding !== undefined || Number(length ?? 0) > 0
}

/** True if bytes of the request may still come. */
export function isSending(request: IncomingMessage): boolean {
  return hasBody(request) && !request.complete && !request.destroyed
}

/**
 * Ends an answer whose body is written. To a client that is still sending: what it sends is thrown away for a moment first, since closing at
 * once would reset the connection, and the answer might be lost on the way.
 */
export async function endAnswer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (isSending(request) && !response.destroyed) {
    const over = new AbortController()
    let bytes = 0
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.byteLength
      if (bytes > LINGER_BYTES_MAX) over.abort()
    })
    request.once('end', () => over.abort())
    request.once('close', () => over.abort())
    request.resume()
    await delay(LINGER_MS, undefined, { signal: over.signal }).catch(() => {})
  }
  response.end()
}
