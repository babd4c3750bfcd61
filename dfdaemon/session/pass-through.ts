// Streams a blob straight from the source when the store can't take it; nothing is kept or shared, the digest is still checked.
import { Readable } from 'node:stream'
import { DigestCheck } from '../../shared/digest.ts'
import { PantalaError, toPantalaError } from '../../shared/errors.ts'
import type { SourceFetcher, SourceRange } from '../fetch/source-fetcher.ts'

/**
 * A Readable of the range. A whole blob is checked against its digest and its last byte comes only if it matches; a part of one can't be
 * checked here, the runtime does that. Destroying the stream ends the fetch.
 */
export function openPassThrough(source: SourceFetcher, range: SourceRange): Readable {
  const whole = range.offset === 0 && range.length === range.size
  const check = whole ? new DigestCheck(range.digest) : undefined
  const stop = new AbortController()
  let wantMore: (() => void) | undefined
  let started = false
  let taken = 0
  let last: Buffer | undefined

  const take = (chunk: Uint8Array): Promise<void> | undefined => {
    check?.update(chunk)
    taken += chunk.byteLength
    let ready = Buffer.from(chunk)
    if (check !== undefined && taken === range.length) {
      last = ready.subarray(ready.byteLength - 1)
      ready = ready.subarray(0, ready.byteLength - 1)
    }
    if (ready.byteLength === 0 || stream.push(ready)) return undefined
    return new Promise(resolve => {
      wantMore = resolve
    })
  }

  const run = async (): Promise<void> => {
    await source.fetch(range, take, stop.signal)
    if (check !== undefined && !check.matches()) {
      throw new PantalaError('SOURCE_DIGEST_MISMATCH', { detail: range.digest })
    }
    if (last !== undefined) stream.push(last)
    stream.push(null)
  }

  const stream = new Readable({
    highWaterMark: 1024 * 1024,
    read() {
      if (!started) {
        started = true
        run().catch(error => stream.destroy(toPantalaError(error, 'SOURCE_AWAY')))
      }
      wantMore?.()
      wantMore = undefined
    },
    destroy(error, callback) {
      stop.abort(error ?? new PantalaError('SHUTTING_DOWN', { detail: 'the reader left' }))
      wantMore?.()
      callback(error)
    },
  })
  return stream
}
