// The scenarios of the network lab: how many hosts, what links, who begins when, what goes wrong.

export interface Scenario {
  readonly name: string
  readonly hosts: number
  /** Bits per second of every link each way, the registry's and the supernode's included. */
  readonly rate: number
  /** Of the hosts' uplinks, where they differ. */
  readonly upRate?: number
  readonly imageBytes: number
  readonly layers: number
  readonly start: 'together' | 'staggered' | 'waves'
  /** The last host's links are slower by this. */
  readonly slowBy?: number
  /** Half of the hosts in a second zone, behind a link of so many bits per second. */
  readonly thinRate?: number
  /** A host is killed half-way, and started again with what it has on disk. */
  readonly churn?: boolean
  /** Pulls the same image straight from the registry too, before. */
  readonly direct?: boolean
  /** Where every service's CPU profile goes when it ends. */
  readonly profileDirectory?: string
}

const MiB = 2 ** 20
const Mbit = 1_000_000
const plain = { hosts: 8, rate: 200 * Mbit, imageBytes: 256 * MiB, layers: 4, start: 'together' } as const

/** What `npm run bench -- swarm` runs, in this order. */
export const scenarios: readonly Scenario[] = [
  { ...plain, name: 'one host', hosts: 1, direct: true },
  { ...plain, name: '8 hosts together', direct: true },
  { ...plain, name: '4 hosts, 50 Mbit/s', hosts: 4, rate: 50 * Mbit },
  { ...plain, name: '16 hosts, 50 Mbit/s', hosts: 16, rate: 50 * Mbit },
  { ...plain, name: 'staggered', imageBytes: 128 * MiB, start: 'staggered' },
  { ...plain, name: 'waves of 20 %', imageBytes: 128 * MiB, start: 'waves' },
  { ...plain, name: 'one host 10x slower', slowBy: 10 },
  { ...plain, name: 'uplinks at half', imageBytes: 128 * MiB, upRate: 100 * Mbit },
  { ...plain, name: 'two zones, thin link', rate: 100 * Mbit, imageBytes: 128 * MiB, thinRate: 50 * Mbit },
  { ...plain, name: 'a host killed', imageBytes: 128 * MiB, churn: true },
]

/** One of everything, small. */
export const shortScenarios: readonly Scenario[] = [
  { ...plain, name: '3 hosts together', hosts: 3, imageBytes: 24 * MiB, layers: 2, direct: true },
  { ...plain, name: 'two zones, thin link', hosts: 4, imageBytes: 16 * MiB, thinRate: 100 * Mbit },
]

/** `256MiB`, `1GiB`, `200mbit`, `1gbit` to a number. @throws Error for what is neither */
export function parseAmount(text: string): number {
  const match = /^([\d.]+)(MiB|GiB|mbit|gbit)$/.exec(text)
  if (match === null) throw new Error(`${text} is not an amount like 256MiB or 200mbit`)
  const unit = { MiB, GiB: 1024 * MiB, mbit: Mbit, gbit: 1000 * Mbit }[match[2] as 'MiB']
  return Number(match[1]) * unit
}

/**
 * Of the image that everybody pulls before: code is compiled once it has run often, and after 64 MiB V8 was still at it, for 6 % of the machine in the pull that was
 * measured. So the warm-up is as large as the image and in as many layers, up to this.
 */
export const WARM_UP_BYTES_MAX = 256 * MiB

/** Lengths of an image's layers, in bytes; the image is made smaller to fit `bytesMax`. */
export function layersOf({ layers, imageBytes }: Scenario, bytesMax = Number.POSITIVE_INFINITY): number[] {
  return Array.from({ length: layers }, () => Math.min(imageBytes, bytesMax) / layers)
}

/**
 * The least a pull can take, in ms: the image over one link, over the thin one if there are zones, and all hosts' copies over all uplinks together,
 * that of the seed among them.
 */
export function leastMs(scenario: Scenario, imageBytes = scenario.imageBytes): number {
  const { hosts, rate, upRate = rate, thinRate = rate } = scenario
  return (imageBytes * 8000) / Math.min(rate, thinRate, (rate + hosts * upRate) / hosts)
}

/** When each host begins, ms after the first; undefined: when the wave before has ended. */
export function startDelays(scenario: Scenario): readonly (number | undefined)[] {
  const { hosts, start } = scenario
  const boundMs = leastMs(scenario)
  return Array.from({ length: hosts }, (_, host) =>
    start === 'staggered' ? (host * boundMs) / hosts : start === 'together' ? 0 : undefined,
  )
}

/** Hosts by wave: each a fifth of all, rounded up to the next whole host. */
export function wavesOf(hosts: number): readonly (readonly number[])[] {
  const size = Math.ceil(hosts / 5)
  const all = Array.from({ length: hosts }, (_, host) => host)
  return Array.from({ length: Math.ceil(hosts / size) }, (_, wave) =>
    all.slice(wave * size, (wave + 1) * size),
  )
}
