// A registry that holds one blob at a time in memory, for moving very much without a disk full of images; blobs only, ranges included.
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { makeNoise } from '../../harness/small-image.ts'

export class MemoryRegistry {
  readonly #server: Server
  #blob: Uint8Array = new Uint8Array()
  #digest = ''

  constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response))
  }

  /** `host:port`. */
  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  start(): Promise<void> {
    return new Promise(resolve => this.#server.listen(0, '127.0.0.1', () => resolve()))
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise(resolve => this.#server.close(resolve))
  }

  /** Replaces the blob by noise that depends on `seed`; its path. */
  setBlob(seed: string, bytes: number): string {
    this.#blob = makeNoise(seed, bytes)
    this.#digest = `sha256:${createHash('sha256').update(this.#blob).digest('hex')}`
    return `/v2/bench/moved/blobs/${this.#digest}`
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    if (request.url === '/v2/') {
      response.end('{}')
      return
    }
    if (!request.url?.endsWith(`/blobs/${this.#digest}`)) {
      response.writeHead(404).end()
      return
    }
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
    const start = range === null ? 0 : Number(range[1])
    const end = range?.[2] ? Math.min(this.#blob.byteLength, Number(range[2]) + 1) : this.#blob.byteLength
    response.writeHead(range === null ? 200 : 206, {
      'content-length': end - start,
      'content-type': 'application/octet-stream',
      'accept-ranges': 'bytes',
      'docker-content-digest': this.#digest,
      ...(range === null ? {} : { 'content-range': `bytes ${start}-${end - 1}/${this.#blob.byteLength}` }),
    })
    if (request.method === 'HEAD') response.end()
    else response.end(this.#blob.subarray(start, end))
  }
}
