// Plays one scenario of the network lab, inside a namespace on the lab's switch; prints what it found as JSON. Started by lab.ts.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { makeSmallImage } from '../../harness/small-image.ts'
import { median } from '../measure.ts'
import type { ClientAnswer } from './client.ts'
import { LinkUsage, type UsageSample } from './link-usage.ts'
import { Namespaces } from './namespaces.ts'
import { layersOf, leastMs, type Scenario, startDelays, WARM_UP_BYTES_MAX, wavesOf } from './scenarios.ts'
import { SwarmCluster, type SwarmHost, WARM_UP_REPOSITORY } from './swarm-cluster.ts'

/** Times in ms, from a host's own beginning. */
export interface SwarmTimes {
  readonly first: number
  readonly median: number
  readonly last: number
  readonly firstByte: number
  readonly each: readonly number[]
}

export interface SwarmFigures {
  readonly scenario: Scenario
  readonly imageBytes: number
  /** The least a pull can take over one link, ms. */
  readonly boundMs: number
  /** The slow host and the killed one are not in it. */
  readonly times: SwarmTimes
  readonly lastOverBound: number
  /** The slow host, or the killed one from its second start. */
  readonly oddMs?: number
  readonly direct?: SwarmTimes
  /** Bodies of blobs and manifests that the registry sent, over the image's bytes. */
  readonly sourceRatio: number
  readonly uploads: readonly number[]
  readonly uploadMaxOverMean: number
  readonly seedUploadRatio: number
  /** Bytes over the thin link over the image's, towards zone b, and back. */
  readonly thinRatio?: { readonly there: number; readonly back: number }
  /** CPU seconds for each GiB that was pulled. */
  readonly cpuPerGiB: Readonly<Record<'supernode' | 'seed' | 'hosts' | 'clients', number>>
  /** Share of the machine's processors that was taken while hosts pulled. */
  readonly machineBusy: number
  readonly usage: readonly UsageSample[]
}

const GiB = 2 ** 30

async function play(scenario: Scenario, namespaces: Namespaces): Promise<SwarmFigures> {
  const directory = await mkdtemp(join(tmpdir(), 'pantala-swarm-'))
  const cluster = new SwarmCluster(namespaces, directory, scenario.profileDirectory)
  try {
    const layerBytes = layersOf(scenario)
    const layout = await makeSmallImage({ directory: join(directory, 'image'), layerBytes, index: false })
    await cluster.startRegistry(layout)
    await cluster.startSupernode()
    for (let number = 1; number <= scenario.hosts; number++)
      await cluster.addHost(number, zoneOf(scenario, number))
    await warmUp(scenario, cluster, join(directory, 'warm-up'))
    limitLinks(scenario, namespaces)
    const direct = scenario.direct ? await pullDirect(cluster) : undefined
    await cluster.registry.settle()
    cluster.registry.forget()
    return await pullThrough(scenario, cluster, namespaces, direct)
  } finally {
    await cluster.stop()
    await rm(directory, { recursive: true, force: true, maxRetries: 3 })
  }
}

/**
 * A service compiles its code while it pulls for the first time; what is measured is the rest of its life. Links have no limit yet. What was written is on the disk
 * at the end, or the system would write it back while others are measured.
 */
async function warmUp(scenario: Scenario, cluster: SwarmCluster, directory: string): Promise<void> {
  const layerBytes = layersOf(scenario, WARM_UP_BYTES_MAX)
  const layout = await makeSmallImage({ directory, seed: 'warm-up', layerBytes, index: false })
  await cluster.push(layout, WARM_UP_REPOSITORY)
  const answers = await Promise.all(cluster.hosts.map(host => cluster.pull(host, WARM_UP_REPOSITORY)))
  answers.forEach(expectDone)
  await promisify(execFile)('sync', ['-f', directory])
}

/** Every second host is in zone b where there are two. */
export function zoneOf(scenario: Scenario, number: number): 'a' | 'b' {
  return scenario.thinRate !== undefined && number % 2 === 0 ? 'b' : 'a'
}

function limitLinks(scenario: Scenario, namespaces: Namespaces): void {
  const { rate, hosts } = scenario
  for (const node of ['reg', 'sn']) namespaces.limit(node, { up: rate, down: rate })
  for (let number = 1; number <= hosts; number++) {
    const by = number === hosts ? (scenario.slowBy ?? 1) : 1
    namespaces.limit(`h${number}`, { up: (scenario.upRate ?? rate) / by, down: rate / by })
  }
}

async function pullDirect(cluster: SwarmCluster): Promise<SwarmTimes> {
  const answers = await Promise.all(cluster.hosts.map(host => cluster.pullDirect(host)))
  return timesOf(answers.map(expectDone))
}

async function pullThrough(
  scenario: Scenario,
  cluster: SwarmCluster,
  namespaces: Namespaces,
  direct: SwarmTimes | undefined,
): Promise<SwarmFigures> {
  const readUploads = () => Promise.all(cluster.hosts.map(host => cluster.uploadBytes(host)))
  const uploadsBefore = await readUploads()
  const cpuBefore = cluster.readCpu()
  const thinBefore = scenario.thinRate === undefined ? undefined : namespaces.thinCounters()
  const machineBefore = readMachine()
  const usage = new LinkUsage({
    registry: cluster.registry.pid!,
    supernode: cluster.supernodePid,
    hosts: () => cluster.hosts.map(host => host.process.pid!),
  })
  const answers = await pullAll(scenario, cluster)
  const samples = usage.stop()
  const machine = readMachine()
  const cpu = cluster.readCpu()
  const thin = scenario.thinRate === undefined ? undefined : namespaces.thinCounters()
  await cluster.registry.settle()
  const odd = scenario.slowBy !== undefined || scenario.churn === true ? answers.pop() : undefined
  const imageBytes = answers[0]!.bytes
  const boundMs = leastMs(scenario, imageBytes)
  const times = timesOf(answers)
  // A killed process forgot what it gave before.
  const uploads = (await readUploads()).map((bytes, index) => Math.max(0, bytes - uploadsBefore[index]!))
  const pulled = (imageBytes * scenario.hosts) / GiB
  const all = odd === undefined ? answers : [...answers, odd]
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
  // A slow uplink gives less, and a killed process forgets what it gave.
  const even = uploads.slice(0, answers.length)
  return {
    scenario,
    imageBytes,
    boundMs,
    times,
    lastOverBound: times.last / boundMs,
    oddMs: odd?.ms,
    direct,
    sourceRatio: cluster.registry.bytesSent / imageBytes,
    uploads,
    uploadMaxOverMean: Math.max(...even) / (sum(even) / even.length || 1),
    seedUploadRatio: scenario.hosts - sum(uploads) / imageBytes,
    thinRatio:
      thin === undefined
        ? undefined
        : {
            there: (thin.sentBytes - thinBefore!.sentBytes) / imageBytes,
            back: (thin.receivedBytes - thinBefore!.receivedBytes) / imageBytes,
          },
    cpuPerGiB: {
      supernode: (cpu.supernode - cpuBefore.supernode) / pulled,
      seed: (cpu.seed - cpuBefore.seed) / pulled,
      hosts: scenario.churn ? Number.NaN : (cpu.hosts - cpuBefore.hosts) / pulled,
      clients: sum(all.map(answer => answer.cpuSeconds)) / pulled,
    },
    usage: samples,
    machineBusy: (machine.busy - machineBefore.busy) / (machine.all - machineBefore.all),
  }
}

/** Answers in the order of the hosts. */
async function pullAll(scenario: Scenario, cluster: SwarmCluster): Promise<ClientAnswer[]> {
  const { hosts } = cluster
  if (scenario.start === 'waves') {
    const answers: ClientAnswer[] = []
    for (const wave of wavesOf(hosts.length))
      answers.push(
        ...(await Promise.all(wave.map(async host => expectDone(await cluster.pull(hosts[host]!))))),
      )
    return answers
  }
  const delays = startDelays(scenario)
  const boundMs = leastMs(scenario)
  return Promise.all(
    hosts.map(async (host, index) => {
      if (delays[index]! > 0) await sleep(delays[index]!)
      const isKilled = scenario.churn === true && index === hosts.length - 1
      return expectDone(await (isKilled ? pullAcrossDeath(cluster, host, boundMs / 2) : cluster.pull(host)))
    }),
  )
}

/** Killed half-way, started again, pulled from again; the answer is that of the second pull. */
async function pullAcrossDeath(
  cluster: SwarmCluster,
  host: SwarmHost,
  afterMs: number,
): Promise<ClientAnswer> {
  const first = cluster.pull(host)
  await sleep(afterMs)
  cluster.kill(host)
  await first
  await cluster.restart(host)
  return cluster.pull(host)
}

function expectDone(answer: ClientAnswer): ClientAnswer {
  if (answer.error !== undefined) throw new Error(`a pull failed: ${answer.error}`)
  return answer
}

function timesOf(answers: readonly ClientAnswer[]): SwarmTimes {
  const each = answers.map(answer => Math.round(answer.ms))
  return {
    first: Math.min(...each),
    median: median(each),
    last: Math.max(...each),
    firstByte: median(answers.map(answer => answer.firstByteMs)),
    each,
  }
}

/** Ticks of all processors since the machine started: those at work, and all. */
function readMachine(): { busy: number; all: number } {
  const [, ...ticks] = readFileSync('/proc/stat', 'utf8').split('\n')[0]!.split(/\s+/)
  const numbers = ticks.slice(0, 8).map(Number)
  const all = numbers.reduce((sum, value) => sum + value, 0)
  return { all, busy: all - numbers[3]! - numbers[4]! }
}

function sleep(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}

if (import.meta.main) {
  const [owner, scenario] = process.argv.slice(2) as [string, string]
  const figures = await play(JSON.parse(scenario) as Scenario, new Namespaces(Number(owner)))
  process.stdout.write(`${JSON.stringify(figures)}\n`)
}
