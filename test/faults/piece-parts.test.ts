// Children that read ranges: none of them is kept waiting for the word that a piece is there. Over real libp2p streams.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ParentLink } from '../../dfdaemon/fetch/piece-fetcher.ts'
import type { FewFirstInit } from '../../dfdaemon/upload/piece-reveal.ts'
import { NotingListener } from '../contracts/piece-fetcher-suite.ts'
import { startChild, startParent } from '../harness/piece-peers.ts'
import { makeSoundBlob, storePieces } from '../harness/sample-blob.ts'
import { until } from '../harness/until.ts'

const blob = makeSoundBlob('parts', 4 * 1024 * 1024)

test('once ranges are read, all children are told at once, also of what was held back from some', async t => {
  let isReadInParts = false
  // No time would let the others hear of a piece.
  const reveal: FewFirstInit = { firstChildren: 1, holdMs: 3_600_000 }
  const { candidate, store } = await startParent(t, { isReadInParts: () => isReadInParts, reveal })
  const links: ParentLink[] = []
  for (let child = 0; child < 3; child++) {
    const { fetcher } = await startChild(t)
    const listener = new NotingListener()
    const link = await fetcher.connect(
      candidate,
      blob.digest,
      blob.geometry,
      listener,
      AbortSignal.timeout(10_000),
    )
    t.after(() => link.close())
    links.push(link)
  }
  const told = (piece: number) => links.filter(link => link.have.has(piece)).length
  await storePieces(store, blob, [0])
  await until(() => told(0) === 1)
  isReadInParts = true
  await storePieces(store, blob, [2])
  await until(() => told(2) === 3 && told(0) === 3)
  assert.equal(told(1), 0)
})
