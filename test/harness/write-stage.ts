// A proxy whose writes go to a registry of the test's own over real sockets, and a client that sends bodies as the test says.
import { once } from 'node:events'
import {
  type ClientRequest,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http'
import type { Readable } from 'node:stream'
import type { TestContext } from 'node:test'
import { startProxy } from '../faults/proxy-harness.ts'
import { FakeRegistry } from './fake-registry.ts'
import { makeClient } from './source-client.ts'

export interface WriteAnswer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

export async function startWriteStage(t: TestContext) {
  const registry = await FakeRegistry.start()
  const client = makeClient({ [registry.name]: { insecure: true, mirrors: ['http://127.0.0.1:9/never'] } })
  const stage = await startProxy({ writeClient: client })
  t.after(async () => {
    await stage.proxy.stop(0)
    await client.close()
    await registry.stop()
  })
  /** The path in the repository `team/app` of the registry, as clients with a path prefix write it. */
  const at = (rest: string, query = '') =>
    `/v2/team/app/${rest}?${query === '' ? '' : `${query}&`}ns=${encodeURIComponent(registry.name)}`
  const open = (method: string, path: string, headers: RequestOptions['headers'] = {}): ClientRequest =>
    httpRequest(stage.proxy.url, { agent: false, method, path, headers })
  const send = async (
    method: string,
    path: string,
    { headers, body }: { headers?: RequestOptions['headers']; body?: Buffer | Readable } = {},
  ): Promise<WriteAnswer> => {
    const call = open(method, path, headers)
    const answer = readAnswer(call)
    if (body === undefined || Buffer.isBuffer(body)) call.end(body)
    else body.pipe(call)
    return answer
  }
  return { ...stage, registry, at, open, send }
}

/** The answer to a request, when it has come whole, whatever becomes of the request's body. */
export async function readAnswer(call: ClientRequest): Promise<WriteAnswer> {
  const responded = once(call, 'response') as Promise<[IncomingMessage]>
  const [response] = await responded
  // A server that answers early may close while the body is still on its way.
  call.on('error', () => {})
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  return { status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) }
}
