// A runtime's part in the network lab: waits in a host's namespace, pulls an image when told to, checks every digest, keeps nothing. One JSON object per line each way.
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { pullLean } from '../lean/pull-image.ts'

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

const PULL_MS = 900_000

async function carryOut(order: ClientOrder): Promise<ClientAnswer> {
  const startedAt = performance.now()
  const cpu = process.cpuUsage()
  let firstByteMs = 0
  const answer = (bytes: number, error?: string): ClientAnswer => {
    const { user, system } = process.cpuUsage(cpu)
    return { ms: performance.now() - startedAt, bytes, firstByteMs, error, cpuSeconds: (user + system) / 1e6 }
  }
  const noteBytes = () => {
    if (firstByteMs === 0) firstByteMs = performance.now() - startedAt
  }
  const { registryUrl, repository, tag: reference } = order
  try {
    const signal = AbortSignal.timeout(PULL_MS)
    return answer(await pullLean({ registryUrl, repository, reference }, noteBytes, signal))
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
