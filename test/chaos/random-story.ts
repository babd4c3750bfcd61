// Everything at random: up to three faults at the same time, chosen and timed by a seed, until the time is over and all is mended.
import { type HostName, hosts, supernodes } from './cluster.ts'
import type { Stage } from './stage.ts'
import type { Story } from './stories.ts'

type Random = () => number

interface Fault {
  readonly name: string
  /** Parts that nothing else may happen to meanwhile. */
  readonly touches: readonly string[]
  readonly run: (stage: Stage) => Promise<void>
}

const FAULTS_AT_ONCE_MAX = 3

/** Numbers from 0 to 1 that depend on the seed alone (mulberry32). */
export function makeRandom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** `say` gets a line for each fault. */
export function makeRandomStory(minutes: number, seed: number, say: (line: string) => void): Story {
  return {
    name: 'random',
    tell: `everything at random for ${minutes} min, up to ${FAULTS_AT_ONCE_MAX} faults at the same time, from the seed ${seed}`,
    async run(stage) {
      const random = makeRandom(seed)
      const running = new Map<Fault, Promise<void>>()
      const started = performance.now()
      let count = 0
      while (performance.now() - started < minutes * 60_000) {
        await stage.hold(500 + random() * 2_500)
        const fault = chooseFault(random)
        const busy = new Set([...running.keys()].flatMap(one => one.touches))
        if (running.size >= FAULTS_AT_ONCE_MAX || fault.touches.some(part => busy.has(part))) continue
        count++
        say(`  ${((performance.now() - started) / 1000).toFixed(1)} s ${fault.name}`)
        running.set(
          fault,
          fault.run(stage).finally(() => running.delete(fault)),
        )
        // Looked at in the end; until then it must not be taken for one that nobody looks at.
        running.get(fault)!.catch(error => say(`  ${fault.name}: ${error.message}`))
      }
      await Promise.all(running.values())
      stage.figures['faults'] = count
      await stage.hold(3_000)
    },
  }
}

function chooseFault(random: Random): Fault {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!
  const between = (min: number, max: number) => Math.round(min + random() * (max - min))
  const host: HostName = pick(hosts)
  const supernode = pick(supernodes)
  const ms = between(1_000, 8_000)
  const kinds: readonly (() => Fault)[] = [
    () => ({ name: `${host} killed`, touches: [host], run: stage => stage.killHost(host, ms / 2) }),
    () => ({ name: `${host} restarted`, touches: [host], run: stage => stage.restartHost(host) }),
    () => ({
      name: `${host} frozen for ${ms} ms`,
      touches: [host],
      run: stage => stage.freezeHost(host, ms),
    }),
    () => ({
      name: `${host} cut off for ${ms} ms`,
      touches: [host],
      run: stage => stage.disconnected(host, 'cluster', ms),
    }),
    () => ({
      name: `${host} without registry for ${ms} ms`,
      touches: [host, 'registry'],
      run: stage => stage.disconnected(host, 'registry', ms),
    }),
    () => ({
      name: `${supernode} killed`,
      touches: [supernode],
      run: stage => stage.killSupernodes([supernode], ms),
    }),
    () => ({
      name: `all supernodes killed`,
      touches: supernodes,
      run: stage => stage.killSupernodes(supernodes, ms),
    }),
    () => ({
      name: `the seed of ${supernode} killed`,
      touches: [supernode],
      run: stage => stage.cluster.killSeed(supernode),
    }),
    () => ({
      name: `${supernode} cut off for ${ms} ms`,
      touches: [supernode],
      run: stage => stage.disconnected(supernode, 'cluster', ms),
    }),
    () => {
      const others = [...supernodes, ...hosts].filter(one => one !== host && one !== supernode)
      return {
        name: `${host} and ${supernode} parted from the others for ${ms} ms`,
        touches: ['network'],
        run: stage => stage.parted([host, supernode], others, ms),
      }
    },
    () => ({
      name: `registry fails for ${ms} ms`,
      touches: ['registry'],
      run: stage => stage.registryFailing(ms),
    }),
    () => ({
      name: `registry killed for ${ms} ms`,
      touches: ['registry'],
      run: stage => stage.registryDown(ms),
    }),
    () => ({ name: `disk full for ${ms} ms`, touches: ['disk'], run: stage => stage.diskFull(ms) }),
    () => ({
      name: `dfdaemon-3 lies for ${ms} ms`,
      touches: ['dfdaemon-3'],
      run: stage => stage.lyingHost(ms),
    }),
  ]
  return pick(kinds)()
}
