// Judges a source's log: was any byte of a blob, or any manifest, asked for more than once?
import assert from 'node:assert/strict'
import type { PlatformImage } from '../../cli/demo/oci-layout.ts'
import type { LoggedRequest } from '../../cli/demo/registry.ts'

/** A run of bytes that the source sent, `first` to `end - 1`. */
interface Run {
  readonly first: number
  readonly end: number
}

/** Byte runs sent of a blob, in rising order. */
export function sentRuns(log: readonly LoggedRequest[], digest: string): Run[] {
  return log
    .filter(entry => entry.kind === 'blob' && entry.reference === digest && entry.bytes > 0)
    .map(entry => ({ first: entry.offset, end: entry.offset + entry.bytes }))
    .sort((a, b) => a.first - b.first)
}

/** Fails unless each byte of each blob was sent exactly once, and each manifest asked for at most once by each name. */
export function assertAskedOnce(log: readonly LoggedRequest[], image: PlatformImage): void {
  for (const blob of [image.config, ...image.layers]) {
    let expected = 0
    for (const run of sentRuns(log, blob.digest)) {
      assert.equal(
        run.first,
        expected,
        `byte ${Math.min(run.first, expected)} of blob ${blob.digest} was not sent once`,
      )
      expected = run.end
    }
    assert.equal(expected, blob.size, `blob ${blob.digest} was not sent whole`)
  }
  const manifests = log
    .filter(entry => entry.kind === 'manifest')
    .map(entry => `${entry.method} ${entry.reference}`)
  assert.deepEqual(manifests.toSorted(), [...new Set(manifests)].toSorted(), 'a manifest was asked for twice')
  const bodies = log.filter(entry => entry.kind === 'manifest').reduce((sum, entry) => sum + entry.bytes, 0)
  const manifestBytes = (image.index?.body.byteLength ?? 0) + image.manifest.body.byteLength
  assert.ok(bodies <= manifestBytes, `${bodies} bytes of manifests were sent, they have ${manifestBytes}`)
}

/** Bytes of manifests and blobs that the source sent. */
export function sourceBytes(log: readonly LoggedRequest[]): number {
  return log.reduce(
    (sum, entry) => (entry.kind === 'blob' || entry.kind === 'manifest' ? sum + entry.bytes : sum),
    0,
  )
}
