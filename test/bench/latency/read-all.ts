// Reads a list of URLs with a number of readers at once over kept-alive connections, and times each from request to last byte.
import { Pool } from 'undici'
import { LogHistogram } from '../log-histogram.ts'

export interface ReadFigures {
  readonly readers: number
  readonly reads: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
  readonly readsPerSecond: number
  /** Answers 503, after which the reader asked again; the time of the read goes on. */
  readonly refused: number
}

/** Pause after a 503, in ms. */
const AGAIN_MS = 20

const manifestTypes = 'application/vnd.oci.image.manifest.v1+json'

/** @throws Error on any answer but 200, or 503 */
export async function readAll(
  origin: string,
  paths: readonly string[],
  readers: number,
): Promise<ReadFigures> {
  const pool = new Pool(origin, { connections: readers, headersTimeout: 60_000, bodyTimeout: 60_000 })
  const times = new LogHistogram()
  let next = 0
  let refused = 0
  const read = async () => {
    for (let path = paths[next++]; path !== undefined; path = paths[next++]) {
      const startedAt = performance.now()
      const headers = { accept: manifestTypes }
      let { statusCode, body } = await pool.request({ method: 'GET', path, headers })
      let text = await body.text()
      while (statusCode === 503) {
        refused++
        await new Promise(resolve => setTimeout(resolve, AGAIN_MS))
        ;({ statusCode, body } = await pool.request({ method: 'GET', path, headers }))
        text = await body.text()
      }
      if (statusCode !== 200) throw new Error(`${origin}${path} was answered with ${statusCode}: ${text}`)
      times.record(performance.now() - startedAt)
    }
  }
  try {
    // Connections are made before the clock runs: what is measured is reads.
    await Promise.all(
      Array.from({ length: readers }, async () =>
        (await pool.request({ method: 'GET', path: '/v2/' })).body.dump(),
      ),
    )
    const startedAt = performance.now()
    await Promise.all(Array.from({ length: readers }, read))
    const seconds = (performance.now() - startedAt) / 1000
    return {
      readers,
      reads: paths.length,
      p50Ms: times.quantile(0.5),
      p99Ms: times.quantile(0.99),
      maxMs: times.max,
      readsPerSecond: paths.length / seconds,
      refused,
    }
  } finally {
    await pool.destroy()
  }
}

/** Time to the first byte of a body, in ms; the rest is read and thrown away. */
export async function timeFirstByte(url: string): Promise<number> {
  const startedAt = performance.now()
  const answer = await fetch(url)
  if (answer.status !== 200) throw new Error(`${url} was answered with ${answer.status}`)
  let firstMs: number | undefined
  for await (const _ of answer.body!) firstMs ??= performance.now() - startedAt
  return firstMs ?? performance.now() - startedAt
}
