// Sends one answer's body for the embedded registry: ranges, pace and the faults that strike in mid-body, with a count of what really left.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Bent } from './registry-faults.ts'

export interface BodySource {
  readonly size: number
  /** Fills `into` from `position`; returns how many bytes it got. */
  read(into: Buffer, position: number): Promise<number>
}

export interface BodyExchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly entry: { status: number; offset: number }
  readonly bent: Bent
  readonly count: (bytes: number) => void
}

/** Bytes read and sent at a time; less when a pace is set, so that it runs smoothly. */
const chunkBytes = 512 * 1024
const pacedChunkBytes = 16 * 1024

export async function sendBody(exchange: BodyExchange, source: BodySource): Promise<void> {
  const { request, response, entry, bent } = exchange
  const failed = response.statusCode >= 400
  const range = failed || bent.ignoresRange ? undefined : parseRange(request.headers.range, source.size)
  if (range === 'invalid') {
    response.setHeader('Content-Range', `bytes */${source.size}`)
    entry.status = 416
    response.writeHead(416, { 'Content-Length': 0 }).end()
    return
  }
  const offset = range?.first ?? 0
  const length = range === undefined ? source.size : range.last - range.first + 1
  if (range !== undefined) {
    response.statusCode = 206
    response.setHeader('Content-Range', `bytes ${range.first}-${range.last}/${source.size}`)
  }
  if (!failed) response.setHeader('Accept-Ranges', bent.ignoresRange ? 'none' : 'bytes')
  if (!bent.hidesLength) response.setHeader('Content-Length', length)
  entry.status = response.statusCode
  entry.offset = offset
  if (request.method === 'HEAD') return void response.end()
  await streamBytes(exchange, source, offset, length)
}

async function streamBytes(
  exchange: BodyExchange,
  source: BodySource,
  offset: number,
  length: number,
): Promise<void> {
  const { response, bent, count } = exchange
  const until = Math.min(length, bent.ending?.afterBytes ?? length)
  const step = bent.pace === undefined ? chunkBytes : pacedChunkBytes
  // Two buffers take turns: one is read into while the other is on its way out.
  const buffers = [Buffer.allocUnsafe(Math.min(step, until)), Buffer.allocUnsafe(Math.min(step, until))]
  let sending = Promise.resolve(true)
  let sent = 0
  for (let turn = 0; sent < until; turn++) {
    const chunk = buffers[turn % 2]!.subarray(0, Math.min(step, until - sent))
    const got = await source.read(chunk, offset + sent)
    if (got < chunk.byteLength) return void response.destroy()
    corrupt(chunk, offset + sent, bent.corruptAt)
    const waitMs = bent.pace?.book(got, performance.now()) ?? 0
    if (waitMs > 1) await new Promise(resolve => setTimeout(resolve, waitMs))
    if (!(await sending)) return
    sending = writeChunk(response, chunk, count)
    sent += got
  }
  if (!(await sending)) return
  if (until === length || bent.ending === undefined) return void response.end()
  if (bent.ending.kind === 'stall') {
    // Headers and an empty body are out too, so that the client hangs in the body and nowhere else.
    response.flushHeaders()
    return
  }
  if (bent.ending.kind === 'short' && bent.hidesLength) return void response.end()
  response.socket?.destroySoon()
}

/** Resolves to true once the bytes were handed to the kernel, to false if the client is gone. */
function writeChunk(
  response: ServerResponse,
  chunk: Buffer,
  count: (bytes: number) => void,
): Promise<boolean> {
  return new Promise(resolve => {
    if (response.destroyed || response.socket === null) return resolve(false)
    const gone = () => resolve(false)
    response.once('close', gone)
    response.write(chunk, error => {
      response.off('close', gone)
      if (!error) count(chunk.byteLength)
      resolve(!error)
    })
  })
}

function corrupt(chunk: Buffer, position: number, at: number | undefined): void {
  if (at === undefined || at < position || at >= position + chunk.byteLength) return
  chunk[at - position]! ^= 0x01
}

/** One range of RFC 9110 §14; several ranges count as none, which is allowed. */
function parseRange(
  header: string | undefined,
  size: number,
): { readonly first: number; readonly last: number } | 'invalid' | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '')
  if (match === null || (match[1] === '' && match[2] === '')) return undefined
  const [, from, to] = match as unknown as [string, string, string]
  const first = from === '' ? Math.max(0, size - Number(to)) : Number(from)
  const last = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1)
  return first > last || first >= size ? 'invalid' : { first, last }
}
