// The demo's table, picture and metrics reading: what people see adds up.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseMetrics, sumMetric } from '../../cli/demo/metrics-text.ts'
import { formatBytes, paintNever, renderResult } from '../../cli/demo/report.ts'
import { type DemoState, renderState } from '../../cli/demo/view.ts'

test('metrics are summed by name and labels', () => {
  const samples = parseMetrics(`# HELP x y
blob_bytes_total{from="peer"} 10
blob_bytes_total{from="source",zone="a"} 5
blob_bytes_total_more 7
other 1e3
`)
  assert.equal(sumMetric(samples, 'blob_bytes_total'), 15)
  assert.equal(sumMetric(samples, 'blob_bytes_total', { from: 'source' }), 5)
  assert.equal(sumMetric(samples, 'other'), 1000)
  assert.equal(sumMetric(samples, 'absent'), 0)
})

test('bytes are written in decimal units', () => {
  const written = [0, 999, 1000, 99_949, 99_951, 164_184_882, 999_600_000].map(formatBytes)
  assert.deepEqual(written, ['0 B', '999 B', '1.0 kB', '99.9 kB', '100 kB', '164 MB', '1.0 GB'])
})

test('the table has a line per host and says what the registry sent', () => {
  const lines = renderResult(
    {
      imageBytes: 100_000_000,
      sourceBytes: 100_500_000,
      sourceRatio: 1.005,
      hosts: [
        { host: 'host-1', ms: 1234, bytesFromPeers: 100_000_000, bytesFromSource: 0, verified: true },
        {
          host: 'host-10',
          ms: 1500,
          bytesFromPeers: 99_000_000,
          bytesFromSource: 1_000_000,
          verified: false,
        },
      ],
      ok: false,
    },
    paintNever,
  )
  assert.deepEqual(lines, [
    '  host        time   from hosts   from source   digests',
    '  host-1    1.23 s       100 MB           0 B   ✔ verified',
    '  host-10   1.50 s      99.0 MB        1.0 MB   ✘ WRONG',
    '',
    '  2 hosts have the image (100 MB) after 1.50 s.',
    '  The registry sent 101 MB: 1.00 × the image. Each host pulling by itself: 200 MB, 2.00 ×.',
  ])
})

test('the picture fits the screen, however many hosts there are', () => {
  const state: DemoState = {
    stage: '64 hosts pull the same image at once',
    imageBytes: 1000,
    imageDigests: 14,
    imagePieces: 93,
    layers: 11,
    sourceBytes: 500,
    elapsedMs: 0,
    hosts: Array.from({ length: 64 }, (_, number) => ({
      name: `host-${number + 1}`,
      phase: number % 2 === 0 ? 'pulling' : 'verified',
      bytes: 500,
      pieces: 40,
      downRate: 123_456_789,
      upRate: 1_000_000_000,
      ms: 1000,
    })),
  }
  for (const [columns, rows] of [
    [80, 24],
    [200, 100],
  ] as const) {
    const lines = renderState(state, { columns, rows, spinner: '*', paint: paintNever })
    assert.ok(lines.length < rows, `${lines.length} lines of ${rows}`)
    for (const line of lines) assert.ok(line.length <= columns, line)
  }
})
