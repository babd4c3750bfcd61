// Fetches one blob as a runtime would: hashed while it comes, resumed with Range where it was cut.
import { type Dispatcher, request } from 'undici'
import { type Digest, DigestCheck } from '../../shared/digest.ts'
import { YoungGarbage } from '../../shared/young-garbage.ts'

/** Takes a chunk; a promise holds the stream up until it settles. */
export type TakeChunk = (chunk: Buffer) => Promise<void> | undefined

export interface BlobWish {
  readonly url: string
  readonly digest: Digest
  readonly size: number
  readonly headers: Readonly<Record<string, string>>
}

/** Cuts in a row without a single new byte before the fetch is given up. */
const FRUITLESS_TRIES_MAX = 4

/** @throws Error that names the blob and what was wrong with it, or the signal's reason */
export async function fetchBlob(
  wish: BlobWish,
  dispatcher: Dispatcher,
  take: TakeChunk,
  signal: AbortSignal,
): Promise<void> {
  const check = new DigestCheck(wish.digest)
  for (let fruitless = 0; check.bytes < wish.size; ) {
    const before = check.bytes
    const cut = await fetchPart(wish, dispatcher, check, take, signal)
    if (cut === undefined) break
    signal.throwIfAborted()
    fruitless = check.bytes > before ? 0 : fruitless + 1
    if (fruitless >= FRUITLESS_TRIES_MAX)
      throw new Error(`blob ${wish.digest} was cut at ${check.bytes} bytes: ${cut.message}`, { cause: cut })
  }
  if (check.bytes !== wish.size)
    throw new Error(`blob ${wish.digest} has ${check.bytes} bytes, not ${wish.size}`)
  if (!check.matches()) throw new Error(`blob ${wish.digest} came with bytes that do not have its digest`)
}

/**
 * Reads on from where the check is; the error of a cut, or undefined if the answer ended well.
 * @throws Error for an answer that is no part of the blob, and whatever `take` fails with
 */
async function fetchPart(
  wish: BlobWish,
  dispatcher: Dispatcher,
  check: DigestCheck,
  take: TakeChunk,
  signal: AbortSignal,
): Promise<Error | undefined> {
  const from = check.bytes
  let answer: Dispatcher.ResponseData
  try {
    answer = await request(wish.url, {
      dispatcher,
      signal,
      headers: { ...wish.headers, ...(from > 0 ? { range: `bytes=${from}-` } : {}) },
    })
  } catch (error) {
    return error as Error
  }
  const { statusCode, headers, body } = answer
  const resumes = statusCode === 206 && String(headers['content-range']).startsWith(`bytes ${from}-`)
  if (statusCode !== 200 && !resumes) {
    const text = (await body.text()).slice(0, 500)
    throw new Error(`blob ${wish.digest} was answered with ${statusCode}: ${text}`)
  }
  // A server may answer a range with the whole: what is already there is passed over.
  let skip = resumes ? 0 : from
  const garbage = new YoungGarbage()
  return new Promise((resolve, reject) => {
    const giveUp = (error: Error): void => {
      reject(error)
      body.destroy()
    }
    body.on('data', (whole: Buffer) => {
      const chunk = whole.subarray(Math.min(skip, whole.byteLength))
      skip -= whole.byteLength - chunk.byteLength
      if (chunk.byteLength === 0) return
      if (check.bytes + chunk.byteLength > wish.size) {
        giveUp(new Error(`blob ${wish.digest} came with more than its ${wish.size} bytes`))
        return
      }
      check.update(chunk)
      garbage.note(chunk.byteLength)
      const wait = take(chunk)
      if (wait === undefined) return
      body.pause()
      wait.then(() => body.resume(), giveUp)
    })
    body.on('end', () => resolve(undefined))
    body.on('error', resolve)
    body.on('close', () => resolve(new Error('the connection was closed')))
  })
}
