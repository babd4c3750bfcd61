// The stories: what happens to the cluster while images are pulled on every host. Each begins with a pull that is 40 % done.
import { hosts, supernodes } from './cluster.ts'
import type { Stage } from './stage.ts'

export interface Story {
  readonly name: string
  /** One line for the report. */
  readonly tell: string
  readonly run: (stage: Stage) => Promise<void>
}

/** How long pulls go on after the last fault of a story, in ms. */
const AFTER_MS = 3_000

export const stories: readonly Story[] = [
  {
    name: 'calm',
    tell: 'nothing fails',
    run: stage => stage.hold(stage.lasting(12_000, 60_000)),
  },
  {
    name: 'supernode',
    tell: 'one of three supernodes is killed with its seed, and starts again after 5 s',
    async run(stage) {
      const before = await stage.holdings('supernode-1')
      await stage.load.midPull()
      await stage.cluster.kill('supernode-1')
      await stage.hold(5_000)
      await stage.cluster.startAgain('supernode-1')
      stage.figures['tableWholeMs'] = await stage.untilWhole('supernode-1', before ?? new Map())
      await stage.hold(AFTER_MS)
    },
  },
  {
    name: 'supernodes in turn',
    tell: 'each of the three supernodes is killed with its seed, the next one 3 s after the one before, and starts again after 5 s',
    async run(stage) {
      await stage.load.midPull()
      const down: Promise<void>[] = []
      for (const one of supernodes) {
        down.push(stage.killSupernodes([one], 5_000))
        await stage.hold(3_000)
      }
      await Promise.all(down)
      await stage.hold(AFTER_MS)
    },
  },
  {
    name: 'all supernodes',
    tell: 'all three supernodes are killed with their seeds, and start again after 8 s',
    async run(stage) {
      const before = await stage.holdings('supernode-1')
      await stage.load.midPull()
      await Promise.all(supernodes.map(one => stage.cluster.kill(one)))
      await stage.hold(stage.lasting(8_000, 60_000))
      await Promise.all(supernodes.map(one => stage.cluster.startAgain(one)))
      stage.figures['tableWholeMs'] = await stage.untilWhole('supernode-1', before ?? new Map())
      await stage.hold(AFTER_MS)
    },
  },
  {
    name: 'seeds',
    tell: 'all seeds are killed; their supernodes start them again',
    async run(stage) {
      await stage.load.midPull()
      await Promise.all(supernodes.map(one => stage.cluster.killSeed(one)))
      await stage.hold(4_000 + AFTER_MS)
    },
  },
  {
    name: 'parent killed',
    tell: 'a host is killed while others read from it, and starts again after 3 s with what it has on disk',
    async run(stage) {
      await stage.load.midPull()
      await stage.killHost('dfdaemon-1', 3_000)
      await stage.hold(AFTER_MS)
    },
  },
  {
    name: 'parent frozen',
    tell: 'a host is frozen for 20 s: its connections stay, nothing is answered',
    async run(stage) {
      await stage.load.midPull()
      await stage.freezeHost('dfdaemon-2', 20_000)
      await stage.hold(AFTER_MS)
    },
  },
  {
    name: 'host cut off',
    tell: 'a host loses the cluster’s network for 8 s, and has only the registry left',
    async run(stage) {
      await stage.load.midPull()
      await stage.disconnected('dfdaemon-2', 'cluster', 8_000)
      await stage.hold(AFTER_MS)
    },
  },
  {
    name: 'host without registry',
    tell: 'a host loses the way to the registry for 8 s, and has only the cluster left',
    async run(stage) {
      await stage.load.midPull()
      await stage.disconnected('dfdaemon-1', 'registry', 8_000)
      await stage.hold(AFTER_MS)
    },
  },
  {
    name: 'supernodes cut off',
    tell: 'all supernodes lose the cluster’s network for 8 s',
    async run(stage) {
      await stage.load.midPull()
      await Promise.all(supernodes.map(one => stage.disconnected(one, 'cluster', 8_000)))
      await stage.hold(AFTER_MS)
    },
  },
  {
    name: 'halves',
    tell: 'the cluster falls into halves for 10 s, one supernode and two hosts here, two of each there, packets between them vanish; then it is whole again',
    async run(stage) {
      await stage.load.midPull()
      const some = ['supernode-1', 'dfdaemon-1', 'dfdaemon-2'] as const
      const others = ['supernode-2', 'supernode-3', 'dfdaemon-3', 'dfdaemon-4'] as const
      await stage.parted(some, others, 10_000)
      await stage.hold(AFTER_MS)
    },
  },
  {
    name: 'registry gone',
    tell: 'the registry is killed for 6 s; an image that one host has is pulled by the others meanwhile',
    async run(stage) {
      const image = await stage.origin.take()
      stage.load.idealBytes += image.bytes
      stage.load.records.push(await stage.load.pull('dfdaemon-1', image))
      await stage.load.midPull()
      const down = stage.registryDown(6_000)
      await stage.hold(500)
      const pulls = hosts.slice(1).map(host => stage.load.pull(host, image, undefined, true))
      stage.load.records.push(...(await Promise.all(pulls)))
      await down
      await stage.hold(AFTER_MS)
    },
  },
  {
    name: 'registry fails',
    tell: 'the registry answers 503 for a minute (15 s in the short form)',
    async run(stage) {
      await stage.load.midPull()
      await stage.registryFailing(stage.lasting(15_000, 60_000))
      await stage.hold(AFTER_MS)
    },
  },
  {
    name: 'disk full',
    tell: 'a host’s disk is filled for 8 s',
    async run(stage) {
      await stage.load.midPull()
      await stage.diskFull(8_000)
      await stage.hold(AFTER_MS)
    },
  },
  {
    name: 'lying host',
    tell: 'a host sends a flipped bit in every other piece to its children for 10 s',
    async run(stage) {
      const rejected = async () => {
        const each = hosts.map(host => stage.metric(host, 'pantala_dfdaemon_piece_rejected_total'))
        return (await Promise.all(each)).reduce((sum, count) => sum + count, 0)
      }
      const before = await rejected()
      await stage.lyingHost(10_000)
      stage.figures['piecesRejected'] = (await rejected()) - before
      await stage.hold(AFTER_MS)
    },
  },
  {
    name: 'rolling restart',
    tell: 'every dfdaemon is asked to stop and started again, one after the other',
    async run(stage) {
      for (const host of hosts) {
        await stage.load.midPull()
        await stage.restartHost(host)
      }
      await stage.hold(AFTER_MS)
    },
  },
]
