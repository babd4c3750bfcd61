// Many children at one parent with few slots: all are served in turn, though some change their minds all the time and one leaves.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NotingListener } from '../contracts/piece-fetcher-suite.ts'
import { startChild, startParent } from '../harness/piece-peers.ts'
import { makeSoundBlob, storePieces } from '../harness/sample-blob.ts'
import { until } from '../harness/until.ts'

const MiB = 1024 * 1024
const soon = () => AbortSignal.timeout(20_000)

test('six children share two slots evenly', async t => {
  const parent = await startParent(t, { slots: 2 })
  const blob = makeSoundBlob('crowd', 12 * MiB)
  await storePieces(parent.store, blob)
  const progress = new Map<number, number>()
  let lead = 0
  const pull = async (index: number): Promise<void> => {
    const { fetcher } = await startChild(t)
    const link = await fetcher.connect(
      parent.candidate,
      blob.digest,
      blob.geometry,
      new NotingListener(),
      soon(),
    )
    progress.set(index, 0)
    await until(() => progress.size === 6)
    const fetches = Array.from({ length: 12 }, async (_, piece) => {
      const into = new Uint8Array(MiB)
      // Every other one is asked for, given up, and asked for again.
      if ((piece + index) % 2 === 0) {
        const stop = new AbortController()
        const given = link.fetch(piece, new Uint8Array(MiB), stop.signal)
        setTimeout(() => stop.abort(new Error('changed mind')), piece)
        await given.catch(() => {})
      }
      await link.fetch(piece, into, soon())
      assert.ok(Buffer.from(into).equals(blob.piece(piece)))
      progress.set(index, progress.get(index)! + 1)
      const counts = [...progress.values()]
      lead = Math.max(lead, Math.max(...counts) - Math.min(...counts))
    })
    await Promise.all(fetches)
    assert.equal(link.pending, 0)
    if (index === 0) await fetcher.stop()
    else link.close()
  }
  await Promise.all(Array.from({ length: 6 }, (_, index) => pull(index)))
  assert.ok(lead <= 8, `one child was ${lead} pieces ahead`)
  await until(() => parent.server.slotsBusy === 0)
  assert.ok(parent.server.uploadBytes >= 6 * blob.bytes.byteLength)
})
