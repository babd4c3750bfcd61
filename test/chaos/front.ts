// A program of its own: stands before the registry, paces and counts the bytes of blobs it passes on, and fails when it is told to.
// GET :5000 is the registry's face. On :5001, GET /counts tells what was sent; PUT /faults?status=503 has all requests answered so, without one none.
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'

const upstream = { host: process.env['FRONT_UPSTREAM'] ?? '10.89.2.200', port: 5000 }
const bytesPerSecond = Number(process.env['FRONT_BYTES_PER_SECOND'] ?? 12 * 1024 * 1024)

/** Bytes of bodies sent, by path. */
const sent: Record<string, number> = {}
let status = 0
/** When the link is free again, as of performance.now(). */
let freeAt = 0

function pace(bytes: number): number {
  const now = performance.now()
  freeAt = Math.max(freeAt, now) + (bytes / bytesPerSecond) * 1000
  return freeAt - now
}

function pass(incoming: IncomingMessage, outgoing: ServerResponse): void {
  if (status > 0) {
    outgoing.writeHead(status, { 'content-type': 'application/json' })
    outgoing.end('{"errors":[{"code":"UNAVAILABLE"}]}')
    return
  }
  const path = (incoming.url ?? '/').split('?', 1)[0]!
  const counted = incoming.method === 'GET' && path.includes('/blobs/')
  const { method, headers, url } = incoming
  const asked = request({ ...upstream, path: url, method, headers }, answer => {
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
    answer.on('data', (chunk: Buffer) => {
      const waitMs = counted ? pace(chunk.byteLength) : 0
      if (counted) sent[path] = (sent[path] ?? 0) + chunk.byteLength
      outgoing.write(chunk)
      // Timers are of a millisecond; less adds up until it is one.
      if (waitMs < 5) return
      answer.pause()
      setTimeout(() => answer.resume(), waitMs)
    })
    answer.on('end', () => outgoing.end())
    answer.on('error', () => outgoing.destroy())
  })
  // A registry that is away is nobody at its address: no answer is made up for it.
  asked.on('error', () => outgoing.destroy())
  outgoing.on('close', () => asked.destroy())
  incoming.pipe(asked)
}

createServer(pass).listen(5000)
createServer((incoming, outgoing) => {
  const url = new URL(incoming.url ?? '/', 'http://front')
  if (url.pathname === '/faults') status = Number(url.searchParams.get('status') ?? 0)
  outgoing.setHeader('content-type', 'application/json')
  outgoing.end(JSON.stringify(url.pathname === '/counts' ? sent : { status }))
}).listen(5001)

process.on('SIGTERM', () => process.exit(0))
