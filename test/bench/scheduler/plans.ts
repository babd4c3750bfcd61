// Who pulls what and when in the simulations: one image by everybody within half a minute, and many images over a day. Deterministic.
import { seededRandom } from '../random.ts'
import type { Pull, SwarmInit } from './swarm-model.ts'

const MiB = 2 ** 20
/** Ten layers as of an application's image, small and large, in MiB: 108 in all. */
export const layerMiB: readonly number[] = [15, 1, 2, 24, 4, 4, 8, 32, 14, 4]
/** 1 Gbit/s, in bytes per ms. */
export const HOST_RATE = 125_000
export const SOURCE_RATE = 125_000
const RUSH_MS = 30_000
const DAY_MS = 24 * 60 * 60_000
const MINUTE_MS = 60_000

/** `hosts` hosts, each beginning to pull the image at a random moment of `withinMs`. */
export function planRush(hosts: number, seed: number, withinMs = RUSH_MS): SwarmInit {
  const random = seededRandom(seed)
  const layers = layerMiB.map((_, index) => index)
  return {
    hosts,
    seeds: 1,
    taskBytes: layerMiB.map(mebibytes => mebibytes * MiB),
    pulls: Array.from({ length: hosts }, (_, host) => ({ atMs: random() * withinMs, host, layers })),
    hostRate: HOST_RATE,
    sourceRate: SOURCE_RATE,
    heartbeatMs: 5000,
    random,
    untilMs: 10 * MINUTE_MS,
  }
}

/**
 * A day: `images` images of which each ten share their two lower layers, each rolled out to a few hosts up to a tenth of all, within ten
 * minutes of a random moment; then hosts that pull an image on their own.
 */
export function planDay(hosts: number, images: number, seed: number): SwarmInit {
  const random = seededRandom(seed)
  const pick = (count: number) => Math.floor(random() * count)
  const taskBytes: number[] = []
  const addTask = (mebibytes: number) => taskBytes.push(Math.ceil(mebibytes * MiB)) - 1
  const bases = Array.from({ length: Math.ceil(images / 10) }, () => [addTask(29), addTask(40)])
  const layersOf = Array.from({ length: images }, (_, image) => [
    ...bases[Math.floor(image / 10)]!,
    ...Array.from({ length: 8 }, () => addTask(1 + 2 ** (random() * 5))),
  ])
  const pulls: Pull[] = []
  const busyUntil = new Map<number, number>()
  const add = (atMs: number, host: number, layers: readonly number[]) => {
    // One pull of a host at a time: two minutes are plenty for one.
    const at = Math.max(atMs, busyUntil.get(host) ?? 0)
    busyUntil.set(host, at + 2 * MINUTE_MS)
    pulls.push({ atMs: at, host, layers })
  }
  const moments: { atMs: number; layers: readonly number[]; hosts: number }[] = layersOf.map(layers => ({
    atMs: random() * (DAY_MS - 30 * MINUTE_MS),
    layers,
    hosts: Math.ceil((hosts / 10) * random() ** 2) + 1,
  }))
  for (let alone = 0; alone < images * 10; alone++)
    moments.push({ atMs: random() * DAY_MS, layers: layersOf[pick(images)]!, hosts: 1 })
  for (const { atMs, layers, hosts: count } of moments.sort((a, b) => a.atMs - b.atMs))
    for (let turn = 0; turn < count; turn++)
      add(atMs + (count === 1 ? 0 : random() * 10 * MINUTE_MS), pick(hosts), layers)
  return {
    hosts,
    seeds: 2,
    taskBytes,
    pulls,
    hostRate: HOST_RATE,
    sourceRate: SOURCE_RATE,
    heartbeatMs: 0,
    random,
    untilMs: 2 * DAY_MS,
  }
}
