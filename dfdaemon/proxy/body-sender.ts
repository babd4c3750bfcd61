// Moves a body to a client chunk by chunk: backpressure by the system's own word, and a cut when the client takes nothing.
import type { ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { PantalaError, toPantalaError } from '../../shared/errors.ts'

export interface BodySenderInit {
  /** A client that takes no byte for this long is cut, in ms. */
  readonly stalledSendMs: number
  onSent?(bytes: number): void
}

/** Of a body in memory, so much is handed to the system at a time, in bytes: a slow client that moves is not taken for one that stalls. */
const SLICE_BYTES = 256 * 1024

/** One response's body. Headers are written already. */
export class BodySender {
  readonly #response: ServerResponse
  readonly #init: BodySenderInit
  #bytes = 0

  constructor(response: ServerResponse, init: BodySenderInit) {
    this.#response = response
    this.#init = init
  }

  /** Bytes taken so far. */
  get bytes(): number {
    return this.#bytes
  }

  /** Settles when the chunk was handed to the system. @throws PantalaError DEADLINE_PASSED when the client went away or was cut */
  take(chunk: Uint8Array): Promise<void> {
    this.#bytes += chunk.byteLength
    return this.#withinDeadline(done => {
      this.#response.write(chunk, error => {
        if (!error) this.#init.onSent?.(chunk.byteLength)
        done(error)
      })
    })
  }

  /** Puts a few bytes between chunks, such as a part's head; they are not counted, and the next chunk waits for them. */
  put(text: string): void {
    this.#response.write(text, 'latin1')
  }

  /** Ends the response; settles when its last byte was handed to the system. */
  end(): Promise<void> {
    return this.#withinDeadline(done => this.#response.end(() => done()))
  }

  /** Sends all there is and ends the response; settles as `end` does. */
  async endWith(bytes: Uint8Array): Promise<void> {
    const response = this.#response
    this.#bytes += bytes.byteLength
    if (!response.destroyed) response.end(bytes)
    // Nothing waits in this process any more; a client that goes away without reading it is nothing to wait for.
    const isHandedOver = response.writableLength === 0 && !response.destroyed
    if (!isHandedOver) {
      // A stream of HTTP/2 that was reset ends so, too.
      const isSent = () => (response.writableFinished ? undefined : new Error('reset'))
      await this.#withinDeadline(done => response.once('finish', () => done(isSent())))
    }
    this.#init.onSent?.(bytes.byteLength)
  }

  /** Takes a whole body that is in memory, and ends the response. @throws as `take` */
  async takeWhole(body: Uint8Array): Promise<void> {
    for (let at = 0; at < body.byteLength; at += SLICE_BYTES)
      await this.take(body.subarray(at, at + SLICE_BYTES))
    await this.end()
  }

  #withinDeadline(send: (done: (error?: Error | null) => void) => void): Promise<void> {
    const response = this.#response
    return new Promise((resolve, reject) => {
      const fail = (detail: string): void => settle(new PantalaError('DEADLINE_PASSED', { detail }))
      const onClose = (): void => fail('the client went away')
      const timer = setTimeout(() => {
        fail(`the client took nothing for ${this.#init.stalledSendMs} ms`)
        response.destroy()
      }, this.#init.stalledSendMs)
      const settle = (error?: Error | null): void => {
        clearTimeout(timer)
        response.off('close', onClose)
        if (error) reject(toPantalaError(error, 'DEADLINE_PASSED', 'the client went away'))
        else resolve()
      }
      if (response.destroyed) {
        onClose()
        return
      }
      response.once('close', onClose)
      send(settle)
    })
  }
}

/** Passes a stream on, and ends the response, or has `end` do it; a failure destroys the response. @throws the stream's error, or DEADLINE_PASSED */
export async function passStream(
  body: Readable,
  response: ServerResponse,
  init: BodySenderInit & { signal: AbortSignal; end?: () => Promise<void> },
): Promise<void> {
  const sender = new BodySender(response, init)
  try {
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      init.signal.throwIfAborted()
      await sender.take(chunk)
    }
    await (init.end === undefined ? sender.end() : init.end())
  } finally {
    body.destroy()
    await finished(body).catch(() => {})
  }
}
