// What a registry's own access log tells of a pull: who asked, and for how much. Runtimes quietly fall back, so that a pull that works proves nothing.
import assert from 'node:assert/strict'
import type { AccessLine } from '../harness/docker-registry.ts'
import type { LabImage } from './lab.ts'

/** Fails unless the registry sent each blob once, in whole or in parts, each manifest at most once, and to nobody but Pantala. */
export function assertOnceToPantala(log: readonly AccessLine[], image: LabImage): void {
  assertOnlyPantala(log)
  for (const blob of blobsOf(image)) {
    const bytes = sum(sent(log, `/blobs/${blob.digest}`))
    assert.equal(bytes, blob.size, `${bytes} bytes of ${blob.digest} were sent, which has ${blob.size}`)
  }
  for (const entry of [image.platform.index, image.platform.manifest]) {
    const { digest } = entry!.descriptor
    const bodies = sent(log, `/manifests/${digest}`)
    assert.ok(bodies.length <= 1, `manifest ${digest} was sent ${bodies.length} times`)
  }
}

/** Fails if the registry sent any blob, or if a runtime went to it by itself. */
export function assertNoBlob(log: readonly AccessLine[]): void {
  assertOnlyPantala(log)
  assert.deepEqual(sent(log, '/blobs/'), [])
}

/** Fails unless the runtime itself fetched all the blobs from the registry, and Pantala none. */
export function assertAllToRuntime(log: readonly AccessLine[], image: LabImage): void {
  assert.deepEqual(sent(log, '/blobs/').filter(isPantala), [], 'Pantala was sent a blob')
  for (const blob of blobsOf(image))
    assert.equal(sum(sent(log, `/blobs/${blob.digest}`)), blob.size, `${blob.digest} was not sent whole`)
}

/** Bytes of blobs that the registry sent to runtimes themselves. */
export function bytesPastPantala(log: readonly AccessLine[]): number {
  return sum(sent(log, '/blobs/').filter(line => !isPantala(line)))
}

export function assertOnlyPantala(log: readonly AccessLine[]): void {
  assert.deepEqual(
    log.filter(line => !isPantala(line)),
    [],
    'a runtime went past Pantala',
  )
}

function isPantala(line: AccessLine): boolean {
  return line.userAgent === 'pantala'
}

function sent(log: readonly AccessLine[], path: string): AccessLine[] {
  return log.filter(line => line.method === 'GET' && line.status < 300 && line.path.includes(path))
}

function sum(lines: readonly AccessLine[]): number {
  return lines.reduce((bytes, line) => bytes + line.bytes, 0)
}

function blobsOf(image: LabImage) {
  return [image.platform.config, ...image.platform.layers]
}
