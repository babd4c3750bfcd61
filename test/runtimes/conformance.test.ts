// The distribution specification, held against a dfdaemon before Debian's docker-registry, which itself misses some of it: what can be asked is.
import { test } from 'node:test'
import type { DistributionFeatures, DistributionTarget } from '../contracts/distribution-client.ts'
import { distributionPullSuite } from '../contracts/distribution-pull-suite.ts'
import { distributionPushSuite } from '../contracts/distribution-push-suite.ts'
import { DockerRegistry } from '../harness/docker-registry.ts'
import { requireCommands } from '../harness/packages.ts'
import { startPullThrough } from '../harness/pull-through.ts'

/** Version 2.8 has no referrers, pages, or deletion by tag, lists tags in any order, and does not look at Content-Range. */
const features: DistributionFeatures = {
  referrers: 'tag',
  sortedTags: false,
  tagPaging: false,
  tagDelete: false,
  chunkOrder: false,
  sha512: false,
}

async function open(): Promise<DistributionTarget> {
  const registry = new DockerRegistry()
  await registry.start()
  const pullThrough = await startPullThrough({ registry: registry.address, supernode: true })
  return {
    url: pullThrough.urls[0]!,
    stop: async () => {
      await pullThrough.stop()
      await registry.stop()
    },
  }
}

test('the distribution specification, before docker-registry', t => {
  if (!requireCommands(t, 'docker-registry')) return
  distributionPullSuite('a dfdaemon before docker-registry', features, open)
  distributionPushSuite('a dfdaemon before docker-registry', features, open)
})
