// Asks containerd for an image as a kubelet does (CRI, runtime.v1.ImageService), in the few bytes of gRPC and protobuf that this takes.
import { type ClientHttp2Session, connect } from 'node:http2'
import { connect as connectSocket } from 'node:net'

const answerDeadlineMs = 60_000

export class CriClient {
  readonly #session: ClientHttp2Session

  constructor(socketPath: string) {
    this.#session = connect('http://localhost', { createConnection: () => connectSocket(socketPath) })
    this.#session.on('error', () => {})
  }

  close(): void {
    this.#session.destroy()
  }

  /** PullImage. @throws Error with containerd's words */
  async pullImage(image: string, credentials?: { user: string; password: string }): Promise<void> {
    const auth =
      credentials === undefined
        ? Buffer.alloc(0)
        : field(2, Buffer.concat([field(1, credentials.user), field(2, credentials.password)]))
    await this.#call('PullImage', Buffer.concat([field(1, field(1, image)), auth]))
  }

  /** One call with one message each way (gRPC over HTTP/2). */
  #call(method: string, message: Buffer): Promise<Buffer> {
    const frame = Buffer.alloc(5 + message.byteLength)
    frame.writeUInt32BE(message.byteLength, 1)
    message.copy(frame, 5)
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({
        ':method': 'POST',
        ':path': `/runtime.v1.ImageService/${method}`,
        'content-type': 'application/grpc',
        te: 'trailers',
      })
      const chunks: Buffer[] = []
      let status: string | undefined
      let said = ''
      const note = (headers: Readonly<Record<string, unknown>>) => {
        if (headers['grpc-status'] === undefined) return
        status = String(headers['grpc-status'])
        said = decodeURIComponent(String(headers['grpc-message'] ?? ''))
      }
      stream.setTimeout(answerDeadlineMs, () => stream.destroy(new Error(`${method}: no answer`)))
      stream.on('response', note).on('trailers', note)
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.once('error', reject)
      stream.once('end', () => {
        if (status === '0') resolve(Buffer.concat(chunks).subarray(5))
        else reject(new Error(`${method}: status ${status}, ${said}`))
      })
      stream.end(frame)
    })
  }
}

/** A protobuf field of the kind that has a length: text or a message. */
function field(number: number, content: string | Buffer): Buffer {
  const bytes = Buffer.from(content)
  const head: number[] = [(number << 3) | 2]
  for (let left = bytes.byteLength; ; left >>>= 7) {
    head.push(left < 128 ? left : (left & 127) | 128)
    if (left < 128) break
  }
  return Buffer.concat([Buffer.from(head), bytes])
}
