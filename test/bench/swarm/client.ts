// A runtime's part in the network lab: waits in a host's namespace, pulls an image when told to, checks every digest, keeps nothing. One JSON object per line each way.
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { pullImage } from '../../../cli/pull/pull-image.ts'

export interface ClientOrder {
  readonly registryUrl: string
  readonly repository: string
  readonly tag: string
}

export interface ClientAnswer {
  readonly ms: number
  readonly bytes: number
  /** Since the order, of the first byte of any layer. */
  readonly firstByteMs: number
  readonly error?: string
  readonly cpuSeconds: number
}

async function carryOut(order: ClientOrder): Promise<ClientAnswer> {
  const startedAt = performance.now()
  const cpu = process.cpuUsage()
  let firstByteMs = 0
  const answer = (bytes: number, error?: string): ClientAnswer => {
    const { user, system } = process.cpuUsage(cpu)
    return { ms: performance.now() - startedAt, bytes, firstByteMs, error, cpuSeconds: (user + system) / 1e6 }
  }
  const image = { registry: undefined, repository: order.repository, reference: order.tag, digest: undefined }
  try {
    const pulled = await pullImage(
      { registryUrl: order.registryUrl, image, platform: { os: 'linux', architecture: 'amd64' } },
      {
        onBytes: () => {
          if (firstByteMs === 0) firstByteMs = performance.now() - startedAt
        },
      },
      AbortSignal.timeout(900_000),
    )
    return answer(pulled.bytes)
  } catch (error) {
    return answer(0, String(error))
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { name: { type: 'string', default: '' } } })
  process.stdout.write(`${JSON.stringify({ ready: values.name })}\n`)
  for await (const line of createInterface({ input: process.stdin }))
    process.stdout.write(`${JSON.stringify(await carryOut(JSON.parse(line) as ClientOrder))}\n`)
}
