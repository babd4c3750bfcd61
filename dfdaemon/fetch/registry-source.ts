// Fetches a range of a blob from the source in order, and takes up again where a connection broke. Chooses no endpoint and checks no digest.
import type { Clock } from '../../shared/clock.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { BlobAnswer, SourceClient } from '../../shared/source/source-client.ts'
import { contentOf } from '../../shared/task-key.ts'
import { pumpBody } from './body-pump.ts'
import type { SourceFetcher, SourceRange } from './source-fetcher.ts'

export interface RegistrySourceComponents {
  readonly client: SourceClient
  readonly clock: Clock
  readonly logger: Logger
  /** Spreads pauses; Math.random if absent. */
  readonly random?: () => number
}

export interface RegistrySourceInit {
  /** A body that sends nothing for this long, while it is wanted, is cut and resumed, in ms. */
  readonly stallTimeoutMs: number
  /** The same where another endpoint can go on, in ms; `stallTimeoutMs` if absent. */
  readonly failoverMs?: number
  /** Tries in a row that bring no byte, at most. */
  readonly fruitlessTriesMax?: number
  /** Tries in all for one range, however much each brings. */
  readonly triesMax?: number
  /** Pause before a try after one that brought nothing, in ms; doubled each time, and half to one and a half of that, so that many do not come back together. */
  readonly pauseMs?: number
}

/** See SourceFetcher. */
export class RegistrySource implements SourceFetcher {
  readonly #components: RegistrySourceComponents
  readonly #init: Required<RegistrySourceInit>

  constructor(components: RegistrySourceComponents, init: RegistrySourceInit) {
    this.#components = components
    this.#init = {
      fruitlessTriesMax: 3,
      triesMax: 50,
      pauseMs: 100,
      failoverMs: init.stallTimeoutMs,
      ...init,
    }
  }

  async fetch(
    range: SourceRange,
    take: (chunk: Uint8Array) => Promise<void> | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, logger, random = Math.random } = this.#components
    const { stallTimeoutMs, failoverMs, fruitlessTriesMax, triesMax, pauseMs } = this.#init
    checkRange(range)
    const end = range.offset + range.length
    let at = range.offset
    let fruitless = 0
    for (let tries = 1; at < end; tries++) {
      const answer = await this.#open(range, at, signal)
      const pumped = await pumpBody(
        { body: answer.body, clock },
        {
          stallTimeoutMs: answer.hasRival === true ? Math.min(failoverMs, stallTimeoutMs) : stallTimeoutMs,
          skip: at - answer.offset,
          length: end - at,
          take,
        },
        signal,
      )
      at += pumped.taken
      if (pumped.stopped !== undefined) throw pumped.stopped.reason
      if (pumped.failure === undefined) return
      answer.failed?.(pumped.failure.message)
      fruitless = pumped.taken > 0 ? 0 : fruitless + 1
      if (fruitless >= fruitlessTriesMax || tries >= triesMax) throw pumped.failure
      logger.info(
        { digest: range.digest, registry: range.source.registry, at, code: pumped.failure.code },
        'the source broke off: resuming',
      )
      if (fruitless > 0) await wait(clock, pauseMs * 2 ** (fruitless - 1) * (0.5 + random()), signal)
    }
  }

  async #open(range: SourceRange, at: number, signal: AbortSignal): Promise<BlobAnswer> {
    const { source, digest, size, offset, length } = range
    const end = offset + length
    // Up to the blob's end no length is named: then the answer is the same as a runtime gets, and at 0 no range at all.
    const answer = await this.#components.client.openBlob(
      source,
      contentOf(digest),
      at,
      end === size ? undefined : end - at,
      signal,
      range.passOver,
    )
    if (answer.size !== undefined && answer.size !== size) {
      answer.body.destroy()
      throw new PantalaError('SOURCE_LENGTH_WRONG', {
        detail: `the source has ${answer.size} bytes of a blob of ${size}`,
      })
    }
    // Only for the first byte: to go on where a connection broke, what was taken has to pass again.
    if (at === offset && at - answer.offset > (range.skipBytesMax ?? Number.POSITIVE_INFINITY)) {
      answer.body.destroy()
      throw new PantalaError('SOURCE_RANGE_IGNORED', {
        detail: `asked for byte ${at} of ${digest}, it began at ${answer.offset}`,
      })
    }
    return answer
  }
}

function checkRange({ offset, length, size }: SourceRange): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= size))
    throw new RangeError(`bytes ${offset} to ${offset + length} of a blob of ${size}`)
}

function wait(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  return new Promise((resolve, reject) => {
    const stop = () => {
      timer.cancel()
      reject(signal.reason)
    }
    const timer = clock.after(ms, () => {
      signal.removeEventListener('abort', stop)
      resolve()
    })
    signal.addEventListener('abort', stop, { once: true })
  })
}
