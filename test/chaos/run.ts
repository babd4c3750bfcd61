// One chaos run inside its namespaces: dockerd, images, cluster, then story after story, then the report.
import { readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { describeMachine } from '../bench/measure.ts'
import { Cluster, hosts, supernodes } from './cluster.ts'
import { Engine } from './engine.ts'
import { buildImages } from './images.ts'
import { Origin } from './origin.ts'
import { PullLoad } from './pull-load.ts'
import { makeRandomStory } from './random-story.ts'
import { type ChaosRecord, missedGoals, renderPage, renderTable, type StoryRow, summarize } from './report.ts'
import { Stage } from './stage.ts'
import { type Story, stories } from './stories.ts'
import { TroubleLog } from './trouble.ts'
import type { Wish } from './wish.ts'

const docs = join(import.meta.dirname, '../../docs')
const LOG_LINES_SHOWN = 60

/** Exit code: 0 if every goal was met. */
export async function runChaos(wish: Wish, directory: string): Promise<number> {
  const engine = new Engine({ directory: join(directory, 'engine'), cgroup: `/${basename(directory)}` })
  const cluster = new Cluster(engine, directory)
  try {
    await timed('dockerd', () => engine.start())
    await timed('images', () => buildImages(engine, join(directory, 'images')))
    await timed('cluster', () => cluster.start())
    const record = await runStories(wish, cluster)
    say(`\n${renderTable(record)}\n`)
    if (wish.writes) await write(wish.only === undefined ? record : await fillUp(record))
    const missed = missedGoals(record)
    for (const line of missed) say(`MISSED ${line}`)
    return missed.length === 0 ? 0 : 1
  } finally {
    await cluster.stop().catch(error => say(`taking down: ${error.message}`))
    await engine.stop()
  }
}

async function runStories(wish: Wish, cluster: Cluster): Promise<ChaosRecord> {
  say(`seed ${wish.seed}`)
  const all = [...stories, ...(wish.minutes > 0 ? [makeRandomStory(wish.minutes, wish.seed, say)] : [])]
  const chosen = all.filter(({ name }) => wish.only?.split(',').some(part => name.includes(part)) ?? true)
  const origin = new Origin()
  await timed('first images', () => origin.fill())
  const rows: StoryRow[] = []
  for (const story of chosen) {
    const row = await runStory(story, { wish, cluster, origin })
    rows.push(row)
    if (row.failed + row.wrong > 0) await showLogs(cluster)
  }
  const { seed, full } = wish
  return { takenAt: new Date().toISOString(), machine: describeMachine(), seed, full, rows }
}

async function runStory(
  story: Story,
  { wish, cluster, origin }: { wish: Wish; cluster: Cluster; origin: Origin },
): Promise<StoryRow> {
  const troubles = new TroubleLog()
  const load = new PullLoad(origin, troubles)
  const stage = new Stage({ cluster, origin, load, troubles, full: wish.full })
  const started = performance.now()
  const before = await origin.bytesSent()
  load.start()
  try {
    await story.run(stage)
  } finally {
    await load.stop()
  }
  const row = summarize(
    {
      name: story.name,
      tell: story.tell,
      seconds: (performance.now() - started) / 1000,
      sourceBytes: (await origin.bytesSent()) - before,
      idealBytes: load.idealBytes,
      figures: stage.figures,
    },
    load.records,
  )
  const ratio = (row.sourceBytes / row.idealBytes).toFixed(2)
  const times = `median ${row.medianMs} ms, worst ${row.worstMs} ms (${row.worstHost}), of all ${row.worstOfAllMs} ms`
  say(
    `${row.name}: ${row.seconds.toFixed(1)} s, ${row.pulls} pulls, ${row.failed} failed, ${row.wrong} wrong, ${row.excused} retried, ${times}, source ${ratio}x ${JSON.stringify(row.figures)}`,
  )
  for (const error of row.errors) say(`  ${error}`)
  for (const one of supernodes) await cluster.waitUntilReady(one)
  for (const one of hosts) await cluster.waitUntilReady(one)
  return row
}

async function showLogs(cluster: Cluster): Promise<void> {
  for (const service of [...supernodes, ...hosts]) {
    const lines = (await cluster.logs(service)).trimEnd().split('\n').slice(-LOG_LINES_SHOWN)
    process.stderr.write(`\nlast log lines of ${service}:\n${lines.join('\n')}\n`)
  }
}

/** Rows of stories that were not asked for stay as they were written before. */
async function fillUp(record: ChaosRecord): Promise<ChaosRecord> {
  const text = await readFile(join(docs, 'benchmarks', 'chaos.json'), 'utf8').catch(() => undefined)
  if (text === undefined) return record
  const before = (JSON.parse(text) as ChaosRecord).rows
  const rows = [...stories.map(story => story.name), 'random'].flatMap(name => {
    const row = [...record.rows, ...before].find(one => one.name === name)
    return row === undefined ? [] : [row]
  })
  return { ...record, rows }
}

async function write(record: ChaosRecord): Promise<void> {
  await writeFile(join(docs, 'benchmarks', 'chaos.json'), `${JSON.stringify(record, undefined, 2)}\n`)
  await writeFile(join(docs, 'chaos.md'), renderPage(record))
}

async function timed(what: string, work: () => Promise<void>): Promise<void> {
  const started = performance.now()
  await work()
  say(`${what}: ${((performance.now() - started) / 1000).toFixed(1)} s`)
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
