// The real scheduler under a simulated rush, small but as dense as the first seconds of thousands of hosts: it ends near the bound, and the source sends each piece once.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planRush } from '../bench/scheduler/plans.ts'
import { SwarmModel } from '../bench/scheduler/swarm-model.ts'

function pullAll(hosts: number, withinMs: number, seed: number) {
  const model = new SwarmModel(planRush(hosts, seed, withinMs))
  model.joinAll()
  model.run()
  const ratios = model.times.map(time => time.tookMs / time.boundMs).sort((a, b) => a - b)
  const imageBytes = model.tasks.reduce((sum, task) => sum + task.size, 0)
  return {
    pulls: ratios.length,
    median: ratios[Math.floor(ratios.length / 2)]!,
    last: ratios.at(-1)!,
    source: model.sourceBytes / imageBytes,
  }
}

test('300 hosts that begin within 2 s end within a few times the bound, and the source sends the image once', () => {
  const { pulls, median, last, source } = pullAll(300, 2000, 1)
  assert.equal(pulls, 300)
  // Link speed all the way is 1; the first seconds are the source’s and the seed’s. Where children starved each other it was 18.
  assert.ok(median < 5, `median ${median}`)
  assert.ok(last < 7, `last ${last}`)
  assert.ok(source <= 1.01, `source ${source}`)
})

test('200 hosts that begin within 30 s find the swarm there', () => {
  const { pulls, median, last, source } = pullAll(200, 30_000, 2)
  assert.equal(pulls, 200)
  assert.ok(median < 1.05, `median ${median}`)
  assert.ok(last < 5, `last ${last}`)
  assert.ok(source <= 1.01, `source ${source}`)
})
