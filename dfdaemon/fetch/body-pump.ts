// Moves a source's body into a taker: by events rather than promises, held up while the taker is busy, cut when it stalls.
import type { Clock, Timer } from '../../shared/clock.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { BlobAnswer } from '../../shared/source/source-client.ts'
import { YoungGarbage } from '../../shared/young-garbage.ts'

/** A body that gave all that was wanted may end by itself for this long, so that its connection can be used again, in ms. */
const ENDING_MS = 500

export interface BodyPumpInit {
  readonly stallTimeoutMs: number
  /** Bytes at the start of the body that are not wanted. */
  readonly skip: number
  /** Bytes wanted after those. */
  readonly length: number
  readonly take: (chunk: Uint8Array) => Promise<void> | undefined
}

/** How it went: bytes given to the taker, and what ended it early. */
export interface Pumped {
  readonly taken: number
  /** The source's failure, if it did not give all. */
  readonly failure?: PantalaError
  /** What the taker threw, or the signal's reason. */
  readonly stopped?: { readonly reason: unknown }
}

/** Runs one body to its end. On return the taker is not busy and is not called again. */
export function pumpBody(
  components: { readonly body: BlobAnswer['body']; readonly clock: Clock },
  init: BodyPumpInit,
  signal: AbortSignal,
): Promise<Pumped> {
  return new Promise(resolve => new BodyPump(components, init, signal, resolve))
}

class BodyPump {
  readonly #garbage = new YoungGarbage()
  readonly #body: BlobAnswer['body']
  readonly #clock: Clock
  readonly #init: BodyPumpInit
  readonly #signal: AbortSignal
  readonly #resolve: (pumped: Pumped) => void
  #skip: number
  #taken = 0
  #busy = false
  #ended: Pick<Pumped, 'failure' | 'stopped'> | undefined
  #lastByteAt: number
  #watch: Timer

  constructor(
    { body, clock }: { readonly body: BlobAnswer['body']; readonly clock: Clock },
    init: BodyPumpInit,
    signal: AbortSignal,
    resolve: (pumped: Pumped) => void,
  ) {
    this.#body = body
    this.#clock = clock
    this.#init = init
    this.#signal = signal
    this.#resolve = resolve
    this.#skip = init.skip
    this.#lastByteAt = clock.monotonic()
    this.#watch = clock.after(init.stallTimeoutMs, this.#checkStall)
    body.on('error', this.#onError)
    body.on('end', this.#onEnd)
    body.on('close', this.#onEnd)
    body.on('data', this.#onData)
    signal.addEventListener('abort', this.#onAbort)
    if (signal.aborted) this.#onAbort()
  }

  readonly #onData = (chunk: Uint8Array): void => {
    if (this.#ended !== undefined) return
    this.#lastByteAt = this.#clock.monotonic()
    this.#garbage.note(chunk.byteLength)
    let wanted = chunk
    if (this.#skip > 0) {
      const skipped = Math.min(this.#skip, chunk.byteLength)
      this.#skip -= skipped
      if (skipped === chunk.byteLength) return
      wanted = chunk.subarray(skipped)
    }
    const left = this.#init.length - this.#taken
    if (wanted.byteLength > left) wanted = wanted.subarray(0, left)
    this.#taken += wanted.byteLength
    let taking: Promise<void> | undefined
    try {
      taking = this.#init.take(wanted)
    } catch (reason) {
      this.#end({ stopped: { reason } })
      return
    }
    if (taking !== undefined) this.#holdUp(taking)
    if (this.#taken === this.#init.length) this.#end({})
  }

  #holdUp(taking: Promise<void>): void {
    this.#busy = true
    this.#body.pause()
    taking.then(
      () => {
        this.#busy = false
        this.#lastByteAt = this.#clock.monotonic()
        if (this.#ended === undefined) this.#body.resume()
        else this.#settle()
      },
      reason => {
        this.#busy = false
        // What the taker threw matters more than how the source ended meanwhile.
        if (this.#ended === undefined) return this.#end({ stopped: { reason } })
        if (this.#ended.stopped === undefined) this.#ended = { stopped: { reason } }
        this.#settle()
      },
    )
  }

  readonly #onError = (error: Error): void => {
    const code = (error as { code?: unknown }).code
    if (code === 'UND_ERR_BODY_TIMEOUT') this.#endStalled()
    else {
      const detail = `the body broke off${typeof code === 'string' ? ` (${code})` : ''}`
      this.#end({ failure: new PantalaError('SOURCE_AWAY', { detail, cause: error }) })
    }
  }

  readonly #onEnd = (): void => {
    const missing = this.#init.length - this.#taken
    this.#end({
      failure: new PantalaError('SOURCE_LENGTH_WRONG', { detail: `the body ended ${missing} bytes early` }),
    })
  }

  readonly #onAbort = (): void => this.#end({ stopped: { reason: this.#signal.reason } })

  /** Runs once per deadline, not per chunk; time in which the taker is busy does not count. */
  readonly #checkStall = (): void => {
    const { stallTimeoutMs } = this.#init
    const waited = this.#busy ? 0 : this.#clock.monotonic() - this.#lastByteAt
    if (waited >= stallTimeoutMs) this.#endStalled()
    else this.#watch = this.#clock.after(stallTimeoutMs - waited, this.#checkStall)
  }

  #endStalled(): void {
    const detail = `no byte for ${this.#init.stallTimeoutMs} ms`
    this.#end({ failure: new PantalaError('SOURCE_STALLED', { detail }) })
  }

  #end(how: Pick<Pumped, 'failure' | 'stopped'>): void {
    if (this.#ended !== undefined) return
    this.#ended = how
    this.#watch.cancel()
    this.#signal.removeEventListener('abort', this.#onAbort)
    this.#body.off('data', this.#onData)
    if (how.failure === undefined && how.stopped === undefined) letEnd(this.#body, this.#clock)
    else this.#body.destroy()
    if (!this.#busy) this.#settle()
  }

  #settle(): void {
    this.#resolve({ taken: this.#taken, ...this.#ended })
  }
}

/** Lets a body that should be over come to its end; cuts it if it sends more or does not end. */
function letEnd(body: BlobAnswer['body'], clock: Clock): void {
  const timer = clock.after(ENDING_MS, () => body.destroy())
  body.on('data', () => body.destroy())
  body.on('close', () => timer.cancel())
  body.resume()
}
