// One chaos run inside its namespaces: dockerd, images, cluster, then story after story, then the report.
import { basename, join } from 'node:path'
import { Cluster } from './cluster.ts'
import { Engine } from './engine.ts'
import { buildImages } from './images.ts'
import type { Wish } from './wish.ts'

export async function runChaos(_wish: Wish, directory: string): Promise<number> {
  const engine = new Engine({ directory: join(directory, 'engine'), cgroup: `/${basename(directory)}` })
  await timed('dockerd', () => engine.start())
  await timed('images', () => buildImages(engine, join(directory, 'images')))
  const cluster = new Cluster(engine, directory)
  await timed('cluster', () => cluster.start())
  process.stdout.write((await engine.docker('ps')).stdout)
  await cluster.stop()
  await engine.stop()
  return 0
}
async function timed(what: string, work: () => Promise<void>) {
  const started = performance.now()
  await work()
  process.stdout.write(`${what}: ${((performance.now() - started) / 1000).toFixed(1)} s\n`)
}
