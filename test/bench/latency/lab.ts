// The latency lab: small reads by few and by many readers, cold, from the cluster and from the host itself; first bytes; a large local blob against nginx.
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ClusterHost, LocalCluster, plainHttpUpstreams } from '../../../cli/demo/cluster.ts'
import { ServiceProcess } from '../../../cli/demo/processes.ts'
import { DockerRegistry } from '../../harness/docker-registry.ts'
import { findCommand } from '../../harness/packages.ts'
import { makeNoise } from '../../harness/small-image.ts'
import { buildBundle, bundledProgram } from '../bundle.ts'
import { atLeast, atMost, type Goal, type Lab } from '../lab.ts'
import { median } from '../measure.ts'
import { NginxServer } from '../nginx-server.ts'
import { plotBars } from '../svg-plot.ts'
import { ManyPusher, type Pushed } from './push-many.ts'
import { type ReadFigures, readAll, timeFirstByte } from './read-all.ts'

/** Where what is read lies: only at the registry, in the cluster, on the host itself; and the registry itself, without Pantala. */
export type Place = 'direct' | 'cold' | 'peer-warm' | 'local-warm'
const places: readonly Place[] = ['direct', 'cold', 'peer-warm', 'local-warm']

/** Servers of one KiB from memory or page cache, for scale. */
export type Baseline = 'nginx' | 'bare node:http'

export interface LatencyFigures {
  readonly baselines: Readonly<Record<Baseline, readonly ReadFigures[]>>
  readonly blob: Readonly<Record<Place, readonly ReadFigures[]>>
  readonly manifest: Readonly<Record<Place, readonly ReadFigures[]>>
  readonly firstByteMs: Readonly<Record<Place, number>>
  readonly firstByteMiB: number
  readonly local: {
    readonly mib: number
    readonly pantala: number
    readonly nginx: number
    readonly ratio: number
  }
}

const MiB = 2 ** 20
/** What a server has at hand is read so many times, since it is over so soon. */
const WARM_PASSES = 20

export const latencyLab: Lab<LatencyFigures> = {
  name: 'latency',
  summary:
    'Times of small reads by 1, 50 and 500 readers, first bytes of a large blob, and local reads against nginx',
  options: {
    readers: { default: '1,50,500', meaning: 'readers at once, comma-separated' },
    reads: {
      default: '400,1500,3000',
      short: '20,100,500',
      meaning: 'reads of each kind, for each of these',
    },
    mib: { default: '100', short: '8', meaning: 'size of the blob whose first byte is timed, MiB' },
    'local-mib': { default: '1024', short: '64', meaning: 'size of the blob read locally, MiB' },
    repetitions: { default: '5', short: '2', meaning: 'times that large blobs are read' },
  },
  whyNot: () => {
    const missing = ['docker-registry', 'nginx', 'curl'].filter(command => findCommand(command) === undefined)
    return missing.length === 0 ? undefined : `${missing.join(', ')} not found`
  },
  run: async (wish, say) => {
    await buildBundle()
    const registry = new DockerRegistry()
    const cluster = new LocalCluster({
      hosts: 2,
      program: bundledProgram(),
      upstreams: () => plainHttpUpstreams(registry.address),
    })
    try {
      await registry.start()
      await cluster.start(AbortSignal.timeout(120_000))
      const bench = new LatencyBench(registry.url, cluster.hosts, say)
      const readers = wish['readers']!.split(',').map(Number)
      const reads = wish['reads']!.split(',').map(Number)
      const repetitions = Number(wish['repetitions'])
      return {
        baselines: await bench.readBaselines(readers, reads),
        blob: await bench.readSmall('1 KiB blobs', readers, reads, (pusher, name, count) =>
          pusher.pushBlobs(name, count, 1024),
        ),
        manifest: await bench.readSmall('manifests', readers, reads, (pusher, name, count) =>
          pusher.pushManifests(name, count),
        ),
        firstByteMs: await bench.timeFirstBytes(Number(wish['mib']) * MiB, repetitions),
        firstByteMiB: Number(wish['mib']),
        local: await bench.readLocal(Number(wish['local-mib']), repetitions),
      }
    } finally {
      await cluster.stop()
      await registry.stop()
    }
  },
  judge,
  render,
  plots: figures => ({
    p50: plotBars(
      { title: '1 KiB blob, p50', xLabel: 'where it is, readers', yLabel: 'ms' },
      places.flatMap(place =>
        figures.blob[place].map(read => ({ label: `${place} ${read.readers}`, value: read.p50Ms })),
      ),
    ),
  }),
}

class LatencyBench {
  readonly #registryUrl: string
  readonly #first: string
  readonly #firstPid: number | undefined
  readonly #second: string
  readonly #say: (text: string) => void
  readonly #pusher: ManyPusher

  constructor(registryUrl: string, hosts: readonly ClusterHost[], say: (text: string) => void) {
    this.#registryUrl = registryUrl
    this.#first = hosts[0]!.proxyUrl
    this.#firstPid = hosts[0]!.process.pid
    this.#second = hosts[1]!.proxyUrl
    this.#say = say
    this.#pusher = new ManyPusher(registryUrl)
  }

  async readSmall(
    what: string,
    readers: readonly number[],
    reads: readonly number[],
    push: (pusher: ManyPusher, name: string, count: number) => Promise<Pushed[]>,
  ): Promise<Record<Place, ReadFigures[]>> {
    const figures: Record<Place, ReadFigures[]> = { direct: [], cold: [], 'peer-warm': [], 'local-warm': [] }
    // A few that do not count, so that code is compiled and connections between the hosts are there.
    const warming = (await push(this.#pusher, `${what}-warming`, 50)).map(({ path }) => path)
    for (const origin of [this.#registryUrl, this.#first, this.#second, this.#first])
      await readAll(origin, warming, 4)
    for (const [index, count] of readers.entries()) {
      this.#say(`${what}, ${count} readers`)
      const paths = (await push(this.#pusher, `${what}-${count}`, reads[index]!)).map(({ path }) => path)
      figures.direct.push(await readAll(this.#registryUrl, paths, count))
      figures.cold.push(await readAll(this.#first, paths, count))
      figures['peer-warm'].push(await readAll(this.#second, paths, count))
      const init = { passes: WARM_PASSES, pid: this.#firstPid }
      figures['local-warm'].push(await readAll(this.#first, paths, count, init))
    }
    return figures
  }

  /** The same readers at nginx with one worker, and at a server on Node that does nothing but answer. */
  async readBaselines(
    readers: readonly number[],
    reads: readonly number[],
  ): Promise<LatencyFigures['baselines']> {
    this.#say('baselines')
    const directory = await mkdtemp(join(tmpdir(), 'pantala-latency-'))
    const nginx = new NginxServer()
    let port: string | undefined
    const bare = new ServiceProcess({
      name: 'bare server',
      command: process.execPath,
      args: [join(import.meta.dirname, 'bare-server.ts')],
      onLine: line => {
        port ??= /^port (\d+)$/.exec(line)?.[1]
      },
    })
    const figures: Record<Baseline, ReadFigures[]> = { nginx: [], 'bare node:http': [] }
    try {
      await writeFile(join(directory, 'blob'), makeNoise('baseline', 1024))
      await nginx.start(directory)
      bare.start()
      await bare.waitUntil(async () => port !== undefined, { deadlineMs: 10_000 })
      for (const [index, count] of readers.entries()) {
        const paths = Array.from({ length: reads[index]! }, () => '/blob')
        const init = { passes: WARM_PASSES }
        figures.nginx.push(await readAll(nginx.url, paths, count, init))
        const own = { ...init, pid: bare.pid }
        figures['bare node:http'].push(await readAll(`http://127.0.0.1:${port}`, paths, count, own))
      }
      return figures
    } finally {
      await Promise.all([nginx.stop(), bare.stop(3_000)])
      await rm(directory, { recursive: true, force: true })
    }
  }

  async timeFirstBytes(bytes: number, repetitions: number): Promise<Record<Place, number>> {
    this.#say('first byte of a large blob')
    const times: Record<Place, number[]> = { direct: [], cold: [], 'peer-warm': [], 'local-warm': [] }
    for (let turn = 0; turn < repetitions; turn++) {
      const [blob] = await this.#pusher.pushBlobs(`large-${turn}`, 1, bytes)
      times.direct.push(await timeFirstByte(`${this.#registryUrl}${blob!.path}`))
      times.cold.push(await timeFirstByte(`${this.#first}${blob!.path}`))
      times['peer-warm'].push(await timeFirstByte(`${this.#second}${blob!.path}`))
      times['local-warm'].push(await timeFirstByte(`${this.#first}${blob!.path}`))
    }
    const medians = places.map(place => [place, median(times[place])] as const)
    return Object.fromEntries(medians) as Record<Place, number>
  }

  /** MB/s that curl sees, of the host and of nginx in turns; the same bytes. */
  async readLocal(mib: number, repetitions: number): Promise<LatencyFigures['local']> {
    this.#say('a large blob from the host itself, and from nginx')
    const directory = await mkdtemp(join(tmpdir(), 'pantala-latency-'))
    const nginx = new NginxServer()
    try {
      const bytes = makeNoise('local', mib * MiB)
      await mkdir(join(directory, 'www'))
      await writeFile(join(directory, 'www', 'blob'), bytes)
      await nginx.start(join(directory, 'www'))
      const [blob] = await this.#pusher.pushBlobs('local', 1, mib * MiB)
      const url = `${this.#first}${blob!.path}`
      await timeFirstByte(url)
      const rates = { pantala: [] as number[], nginx: [] as number[] }
      await curlRate(url)
      await curlRate(`${nginx.url}/blob`)
      for (let turn = 0; turn < repetitions; turn++) {
        rates.pantala.push(await curlRate(url))
        rates.nginx.push(await curlRate(`${nginx.url}/blob`))
      }
      const [own, other] = [median(rates.pantala), median(rates.nginx)]
      return { mib, pantala: own, nginx: other, ratio: own / other }
    } finally {
      await nginx.stop()
      await rm(directory, { recursive: true, force: true })
    }
  }
}

function curlRate(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const args = ['-sS', '-f', '-o', '/dev/null', '-w', '%{speed_download}', url]
    execFile(findCommand('curl')!, args, (error, stdout, stderr) => {
      if (error !== null) reject(new Error(stderr, { cause: error }))
      else resolve(Number(stdout) / 1e6)
    })
  })
}

function judge({ blob, local }: LatencyFigures): Goal[] {
  const fifty = blob['local-warm'].find(read => read.readers === 50)
  return [
    ...(fifty === undefined
      ? []
      : [
          atMost('1 KiB blob, local-warm, 50 readers: p50', fifty.p50Ms, 2, 'ms'),
          atMost('1 KiB blob, local-warm, 50 readers: p99', fifty.p99Ms, 10, 'ms'),
        ]),
    atLeast('local-warm blob to curl, of nginx’s MB/s', local.ratio, 0.8, '×'),
  ]
}

function render(figures: LatencyFigures): string {
  const { local, firstByteMs } = figures
  return `Two hosts, a supernode with its seed, docker-registry and the reader on one machine without limits; services from the bundle. Each read of a kind is of another blob or
manifest. **Direct**: docker-registry without Pantala. **Cold**: nobody in the cluster has it. **Peer-warm**: another host read it before. **Local-warm**: this host did.
Readers keep their connections; a read is timed from its request to its last byte, client's part included (one Node process, that speaks just enough HTTP). After a 503 a reader asks
again 20 ms later; its time goes on. Local-warm reads go over the list ${WARM_PASSES} times. CPU is the time of a processor for one read, of the client and, where shown, of the server.
**nginx** (one worker) and a **bare node:http** server that always answers the same KiB show what the readers and the machine take at best.

## A blob of 1 KiB

${renderReads([...rowsOf(figures.blob), ...baselineRows(figures)])}

![p50 of a 1 KiB blob](latency-p50.svg)

## A manifest, by digest

${renderReads(rowsOf(figures.manifest))}

## First byte of ${figures.firstByteMiB} MiB

| ${places.join(' | ')} |
|---|---|---|---|
| ${places.map(place => `${firstByteMs[place].toFixed(1)} ms`).join(' | ')} |

## A blob of ${local.mib} MiB that the host has, to curl

| | MB/s |
|---|---|
| Pantala | ${Math.round(local.pantala)} |
| nginx, the same file | ${Math.round(local.nginx)} |
| ratio | ${local.ratio.toFixed(2)} |
`
}

type Row = readonly [where: string, read: ReadFigures]

function rowsOf(reads: Readonly<Record<Place, readonly ReadFigures[]>>): Row[] {
  return places.flatMap(place => reads[place].map(read => [place, read] as const))
}

function baselineRows({ baselines }: LatencyFigures): Row[] {
  return Object.entries(baselines).flatMap(([name, reads]) => reads.map(read => [name, read] as const))
}

function renderReads(rows: readonly Row[]): string {
  const lines = rows.map(([where, read]) => {
    const times = [read.p50Ms.toFixed(2), read.p99Ms.toFixed(2), read.maxMs.toFixed(1)]
    const micros = [read.clientMicros, read.serverMicros].map(each =>
      each === undefined ? '' : `${Math.round(each)} µs`,
    )
    const cells = [where, read.readers, ...times.map(time => `${time} ms`), Math.round(read.readsPerSecond)]
    return `| ${[...cells, read.refused, ...micros].join(' | ')} |`
  })
  return [
    '| where | readers | p50 | p99 | max | reads/s | answers 503 | CPU, client | CPU, server |',
    '|---|---|---|---|---|---|---|---|---|',
    ...lines,
  ].join('\n')
}
