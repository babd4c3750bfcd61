// A registry that fails in every way at once, a layer for each: all hosts get the image, and no fault costs more than what was on the wire.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findPlatformImage } from '../../cli/demo/oci-layout.ts'
import type { SourceFault } from '../../cli/demo/registry-faults.ts'
import { sentRuns } from '../harness/asked-once.ts'
import { Swarm } from '../harness/swarm.ts'

const MiB = 1024 * 1024
const size = 5 * MiB
const breakAt = 3 * MiB + 12_345

/** What each layer suffers, the largest first; `times` bounds it, so that the pull can succeed. */
const troubles: readonly {
  readonly name: string
  readonly faults: readonly SourceFault[]
  readonly resumes?: true
}[] = [
  { name: '429 with Retry-After', faults: [{ kind: 'status', status: 429, retryAfterSeconds: 1, times: 2 }] },
  { name: '503', faults: [{ kind: 'status', status: 503, times: 2 }] },
  { name: 'cut before the answer', faults: [{ kind: 'reset', afterBytes: 0, times: 2 }] },
  {
    name: 'reset mid-body, three times',
    faults: [{ kind: 'reset', afterBytes: MiB, times: 3 }],
    resumes: true,
  },
  { name: 'hangs mid-body', faults: [{ kind: 'stall', afterBytes: breakAt, times: 1 }], resumes: true },
  { name: 'ends early', faults: [{ kind: 'short', afterBytes: breakAt, times: 1 }], resumes: true },
  { name: 'no length', faults: [{ kind: 'no-length' }] },
  {
    name: 'no length, ends early',
    faults: [{ kind: 'no-length' }, { kind: 'short', afterBytes: breakAt, times: 1 }],
  },
  { name: 'no ranges', faults: [{ kind: 'no-range' }] },
  {
    name: 'no ranges, reset',
    faults: [{ kind: 'no-range' }, { kind: 'reset', afterBytes: breakAt, times: 1 }],
  },
  { name: 'hangs before the answer', faults: [{ kind: 'late', delayMs: 2000, times: 1 }] },
]

test('a registry that fails in every way', async t => {
  const swarm = await Swarm.start(t, {
    hosts: 3,
    layerBytes: troubles.map((_, index) => size + index * 4096),
    dfdaemon: { 'source.stallTimeoutMs': '500ms' },
    supernode: { 'source.stallTimeoutMs': '500ms' },
  })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const layers = image.layers.filter(layer => layer.size > MiB)
  assert.equal(layers.length, troubles.length)
  for (const [index, { faults }] of troubles.entries())
    for (const fault of faults) swarm.source.fail({ ...fault, reference: layers[index]!.digest })
  const startedAt = performance.now()
  for (const pulled of await swarm.pullAll()) assert.equal(pulled.bytes, image.bytes)
  const tookMs = performance.now() - startedAt
  for (const [index, { name, resumes }] of troubles.entries()) {
    await t.test(name, () => {
      const layer = layers[index]!
      const requests = swarm.source.log.filter(
        entry => entry.kind === 'blob' && entry.reference === layer.digest && entry.method === 'GET',
      )
      assert.ok(requests.length <= 8, `asked ${requests.length} times`)
      if (name.startsWith('429')) {
        const pausesMs = requests.slice(1).map((request, number) => request.atMs - requests[number]!.atMs)
        assert.ok(Math.min(...pausesMs) >= 990, `it was asked again after ${pausesMs} ms`)
      }
      if (resumes !== true) return
      const runs = sentRuns(swarm.source.log, layer.digest)
      assert.ok(runs.length > 1)
      // What was sent and never arrived is sent again; what arrived is not.
      const sent = runs.reduce((sum, run) => sum + run.end - run.first, 0)
      assert.ok(sent < layer.size + runs.length * MiB, `${sent} bytes were sent of ${layer.size}`)
      assert.ok(
        runs.slice(1).every(run => run.first > 0),
        JSON.stringify(runs),
      )
    })
  }
  assert.ok(tookMs < 20_000, `it took ${tookMs} ms`)
})
