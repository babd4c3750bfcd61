// Memory of two hosts while blob after blob goes through them, each evicting the ones before: whether it stays flat.
import { LocalCluster, plainHttpUpstreams } from '../../../cli/demo/cluster.ts'
import { bundledProgram } from '../bundle.ts'
import { readMemory } from '../measure.ts'
import { MemoryRegistry } from './memory-registry.ts'

export interface MovingFigures {
  /** Bytes that each host delivered to its reader. */
  readonly movedBytes: number
  readonly megabytesPerSecond: number
  /** GiB moved so far, and resident bytes of each process. */
  readonly samples: readonly { readonly gib: number; readonly hosts: readonly number[] }[]
  readonly peakBytes: number
  /** Median of the last quarter over that of the second, of the host that grew most. */
  readonly growth: number
}

const MiB = 2 ** 20
const GiB = 2 ** 30
const BLOB_BYTES = 512 * MiB
/** Small, so that what was moved is evicted: of each host, and of the seed, which would fill the disk otherwise. */
const QUOTA = '1536MiB'

export async function measureMoving(gib: number): Promise<MovingFigures> {
  const registry = new MemoryRegistry()
  await registry.start()
  const cluster = new LocalCluster({
    hosts: 2,
    program: bundledProgram(),
    upstreams: () => plainHttpUpstreams(registry.address),
    dfdaemonSettings: () => ({ store: { quotaBytes: QUOTA } }),
    supernodeSettings: { seed: { quotaBytes: QUOTA } },
  })
  try {
    await cluster.start(AbortSignal.timeout(120_000))
    const samples: { gib: number; hosts: number[] }[] = []
    const rounds = Math.ceil((gib * GiB) / BLOB_BYTES)
    let seconds = 0
    for (let round = 1; round <= rounds; round++) {
      const path = registry.setBlob(`moved-${round}`, BLOB_BYTES)
      const startedAt = performance.now()
      await Promise.all(cluster.hosts.map(host => readThrough(`${host.proxyUrl}${path}`)))
      seconds += (performance.now() - startedAt) / 1000
      const hosts = cluster.hosts.map(host => readMemory(host.process.pid!)!.rssBytes)
      samples.push({ gib: (round * BLOB_BYTES) / GiB, hosts })
    }
    const peaks = cluster.hosts.map(host => readMemory(host.process.pid!)!.peakBytes)
    return {
      movedBytes: rounds * BLOB_BYTES,
      megabytesPerSecond: (rounds * BLOB_BYTES) / 1e6 / seconds,
      samples,
      peakBytes: Math.max(...peaks),
      growth: Math.max(...[0, 1].map(host => growthOf(samples.map(sample => sample.hosts[host]!)))),
    }
  } finally {
    await cluster.stop()
    await registry.stop()
  }
}

function growthOf(values: readonly number[]): number {
  const quarter = Math.max(1, Math.floor(values.length / 4))
  const middle = (part: readonly number[]) => part.toSorted((a, b) => a - b)[part.length >> 1] ?? 0
  const early = middle(values.slice(quarter, quarter * 2))
  return early === 0 ? 1 : middle(values.slice(-quarter)) / early
}

async function readThrough(url: string): Promise<void> {
  const answer = await fetch(url)
  if (answer.status !== 200)
    throw new Error(`${url} was answered with ${answer.status}: ${await answer.text()}`)
  let bytes = 0
  for await (const chunk of answer.body!) bytes += chunk.byteLength
  if (bytes !== BLOB_BYTES) throw new Error(`${url} gave ${bytes} bytes`)
}
