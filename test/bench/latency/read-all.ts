// Reads a list of URLs with a number of readers at once over kept-alive connections, and times each from request to last byte.
import { LeanConnection, leanRequest } from '../lean/connection.ts'
import { LogHistogram } from '../log-histogram.ts'
import { readCpuSeconds } from '../measure.ts'

export interface ReadFigures {
  readonly readers: number
  readonly reads: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
  readonly readsPerSecond: number
  /** Answers 503, after which the reader asked again; the time of the read goes on. */
  readonly refused: number
  /** Processor time of this process for one read, in µs. */
  readonly clientMicros: number
  /** And of the server, where its process was named. */
  readonly serverMicros: number | undefined
}

export interface ReadInit {
  /** How often each is read; once unless given. */
  readonly passes?: number
  /** Process whose time is measured. */
  readonly pid?: number | undefined
}

/** Pause after a 503, in ms. */
const AGAIN_MS = 20

/** Of each reader: an answer fits in, and hundreds of readers take little. */
const BUFFER_BYTES = 16 * 1024

const manifestTypes = 'application/vnd.oci.image.manifest.v1+json'

/** @throws Error on any answer but 200, or 503 */
export async function readAll(
  origin: string,
  paths: readonly string[],
  readers: number,
  { passes = 1, pid }: ReadInit = {},
): Promise<ReadFigures> {
  const times = new LogHistogram()
  const requests = paths.map(path => leanRequest(origin, path, manifestTypes))
  const reads = paths.length * passes
  let next = 0
  let refused = 0
  const read = async (connection: LeanConnection) => {
    for (let turn = next++; turn < reads; turn = next++) {
      const request = requests[turn % requests.length]!
      const startedAt = performance.now()
      let answer = await connection.ask(request)
      while (answer.status === 503) {
        refused++
        await new Promise(resolve => setTimeout(resolve, AGAIN_MS))
        answer = await connection.ask(request)
      }
      if (answer.status !== 200)
        throw new Error(
          `${origin}${paths[turn % paths.length]} was answered with ${answer.status}: ${answer.body}`,
        )
      times.record(performance.now() - startedAt)
    }
  }
  // Connections are made before the clock runs: what is measured is reads.
  const connections = await Promise.all(
    Array.from({ length: readers }, () => LeanConnection.open(origin, { bufferBytes: BUFFER_BYTES })),
  )
  try {
    const ownBefore = process.cpuUsage()
    const serverBefore = pid === undefined ? 0 : readCpuSeconds(pid)
    const startedAt = performance.now()
    await Promise.all(connections.map(read))
    const seconds = (performance.now() - startedAt) / 1000
    const own = process.cpuUsage(ownBefore)
    return {
      readers,
      reads,
      p50Ms: times.quantile(0.5),
      p99Ms: times.quantile(0.99),
      maxMs: times.max,
      readsPerSecond: reads / seconds,
      refused,
      clientMicros: (own.user + own.system) / reads,
      serverMicros: pid === undefined ? undefined : ((readCpuSeconds(pid) - serverBefore) / reads) * 1e6,
    }
  } finally {
    for (const connection of connections) connection.close()
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
