// The distribution specification, held against the registry of the tests itself, then against dfdaemons before it.
import { MemoryRegistry, type MemoryRegistryOptions } from '../harness/memory-registry.ts'
import { type PullThroughInit, startPullThrough } from '../harness/pull-through.ts'
import type { DistributionTarget } from './distribution-client.ts'
import { distributionPullSuite } from './distribution-pull-suite.ts'
import { distributionPushSuite } from './distribution-push-suite.ts'

interface Way {
  readonly registry?: MemoryRegistryOptions
  /** Undefined: the registry itself. */
  readonly through?: Omit<PullThroughInit, 'registry'>
  readonly named?: 'prefix' | 'ns'
}

async function open({ registry: options = {}, through, named }: Way): Promise<DistributionTarget> {
  const registry = new MemoryRegistry(options)
  await registry.start()
  const pullThrough = through && (await startPullThrough({ ...through, registry: registry.name }))
  return {
    url: pullThrough?.urls[0] ?? registry.url,
    ...(named === 'prefix' ? { prefix: `${registry.name}/` } : {}),
    ...(named === 'ns' ? { ns: registry.name } : {}),
    stop: async () => {
      await pullThrough?.stop()
      await registry.stop()
    },
  }
}

const unnamed = 'other.lab'
const ways: Record<string, Way> = {
  'the registry itself': {},
  'a dfdaemon alone, registry of old with absolute Locations': {
    registry: { referrers: false, absoluteLocations: true },
    through: {},
  },
  'a dfdaemon with supernode': { through: { supernode: true } },
  'a dfdaemon, registry named by ns, lists in pages': {
    registry: { pageMax: 2, absoluteLocations: true },
    through: { unnamed },
    named: 'ns',
  },
  'a dfdaemon with supernode, registry named in the path, lists in pages': {
    registry: { pageMax: 2 },
    through: { supernode: true, unnamed },
    named: 'prefix',
  },
}

for (const [name, way] of Object.entries(ways)) {
  const features = {
    referrers: way.registry?.referrers === false ? 'tag' : 'api',
    sortedTags: true,
    tagPaging: true,
    tagDelete: true,
    chunkOrder: true,
    sha512: true,
  } as const
  distributionPullSuite(name, features, () => open(way))
  distributionPushSuite(name, features, () => open(way))
}
