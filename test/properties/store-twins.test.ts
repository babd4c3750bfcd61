// The disk store and its twin in memory, put through the same random lives, are never told apart: not by results, errors, evictions or bytes.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { BlobHandle, BlobStore } from '../../dfdaemon/store/blob-store.ts'
import type { Digest } from '../../shared/digest.ts'
import { MemoryBlobStore } from '../doubles/memory-blob-store.ts'
import { eventually, startStore, withDirectory } from '../harness/disk-store-fixture.ts'
import { type SampleBlob, sampleBlob, writePieces } from '../harness/store-samples.ts'

const blobs = [
  sampleBlob('a', 1000, 400),
  sampleBlob('b', 800, 400),
  sampleBlob('c', 350, 100),
  sampleBlob('d', 0, 100),
  sampleBlob('e', 2000, 500),
]

const indices = { blob: fc.nat(blobs.length - 1), handle: fc.nat(5), piece: fc.nat(5) }
const moves = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ act: fc.constant('create' as const), blob: indices.blob, cut: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('open' as const), blob: indices.blob }) },
  {
    weight: 8,
    arbitrary: fc.record({
      act: fc.constant('write' as const),
      handle: indices.handle,
      piece: indices.piece,
    }),
  },
  { weight: 4, arbitrary: fc.record({ act: fc.constant('writeAll' as const), handle: indices.handle }) },
  { weight: 4, arbitrary: fc.record({ act: fc.constant('commit' as const), handle: indices.handle }) },
  {
    weight: 2,
    arbitrary: fc.record({ act: fc.constant('drop' as const), handle: indices.handle, piece: indices.piece }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ act: fc.constant('read' as const), handle: indices.handle, piece: indices.piece }),
  },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('discard' as const), handle: indices.handle }) },
  { weight: 5, arbitrary: fc.record({ act: fc.constant('close' as const), handle: indices.handle }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('delete' as const), blob: indices.blob }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('restart' as const) }) },
)
type Move = typeof moves extends fc.Arbitrary<infer M> ? M : never

/** One store and the handles open on it; what each move gives is told as text, so that two lives can be compared. */
class Life {
  store: BlobStore
  readonly #told: string[] = []
  #handles: { handle: BlobHandle; blob: SampleBlob }[] = []

  constructor(store: BlobStore) {
    this.store = store
    this.listen()
  }

  listen(): void {
    this.store.onEvicted = digests => this.#told.push(`evicted ${digests.map(nameOf)}`)
    for (const blob of blobs)
      this.store.watch(blob.digest, {
        onPiece: piece => this.#told.push(`${nameOf(blob.digest)} has ${piece}`),
        onGone: () => this.#told.push(`${nameOf(blob.digest)} is gone`),
      })
  }

  /** Everything that can be seen after a move. */
  async see(move: Move): Promise<string> {
    this.#told.length = 0
    const outcome = await this.#act(move).then(
      result => `${result}`,
      error => `${error.code ?? error.name}`,
    )
    const held = [...this.store.list()].map(stat => {
      assert.equal(this.store.stat(stat.digest), stat)
      return `${nameOf(stat.digest)}:${[...stat.have.pieces()]}/${stat.pieceSize}${stat.complete ? '!' : ''}`
    })
    const open = this.#handles.map(
      ({ handle }) => `${nameOf(handle.stat.digest)}:${[...handle.stat.have.pieces()]}`,
    )
    return JSON.stringify({ outcome, told: this.#told, held: held.sort(), open, bytes: this.store.bytes })
  }

  async closeAll(): Promise<void> {
    for (const { handle } of this.#handles) await handle.close()
    this.#handles = []
  }

  async #act(move: Move): Promise<unknown> {
    switch (move.act) {
      case 'create': {
        const blob = blobs[move.blob]!
        const cut = move.cut ? sampleBlob('abcde'[move.blob]!, blob.geometry.size, 250) : blob
        const handle = await this.store.create(blob.digest, cut.geometry)
        this.#handles.push({ handle, blob: handle.stat.pieceSize === 250 ? cut : blob })
        return 'created'
      }
      case 'open': {
        const blob = blobs[move.blob]!
        const handle = await this.store.open(blob.digest)
        if (handle === undefined) return 'nothing'
        const cut = sampleBlob('abcde'[move.blob]!, blob.geometry.size, handle.stat.pieceSize)
        this.#handles.push({ handle, blob: cut })
        return 'opened'
      }
      case 'delete':
        return this.store.delete(blobs[move.blob]!.digest)
      case 'restart':
        return 'restarted'
    }
    const at = this.#handles.length === 0 ? undefined : move.handle % this.#handles.length
    if (at === undefined) return 'no handle'
    const { handle, blob } = this.#handles[at]!
    switch (move.act) {
      case 'write':
        return writePieces(handle, blob, [move.piece])
      case 'writeAll':
        return writePieces(handle, blob)
      case 'commit':
        return handle.commit()
      case 'drop':
        return handle.dropPiece(move.piece)
      case 'discard':
        return handle.discard()
      case 'close':
        this.#handles.splice(at, 1)
        return handle.close()
      case 'read': {
        const expected = blob.piece(move.piece)
        const into = new Uint8Array(expected.byteLength)
        await handle.read(move.piece * handle.stat.pieceSize, into)
        assert.deepEqual(into, Uint8Array.from(expected), 'wrong bytes')
        return 'read'
      }
    }
  }
}

function nameOf(digest: Digest): string {
  return 'abcde'[blobs.findIndex(blob => blob.digest === digest)]!
}

async function liveTwice(lived: readonly Move[], quotaBytes: number | undefined): Promise<void> {
  await withDirectory(async dataDir => {
    const settings = quotaBytes === undefined ? {} : { quotaBytes }
    const disk = await startStore(dataDir, settings)
    const real = new Life(disk)
    const twin = new Life(new MemoryBlobStore(settings))
    let store = disk
    try {
      for (const [step, move] of lived.entries()) {
        if (move.act === 'restart') {
          await real.closeAll()
          await twin.closeAll()
          const before = store.bytes
          await store.stop()
          store = await startStore(dataDir, settings)
          real.store = store
          await eventually(() => store.bytes === before)
          real.listen()
        }
        const [seen, expected] = [await real.see(move), await twin.see(move)]
        assert.equal(seen, expected, `step ${step}: ${JSON.stringify(move)}`)
      }
    } finally {
      await real.closeAll()
      await store.stop()
    }
  })
}

test('with room for all, and restarts', async () => {
  const lives = fc.asyncProperty(fc.array(moves, { maxLength: 60, size: 'max' }), lived =>
    liveTwice(lived, undefined),
  )
  await fc.assert(lives, { numRuns: 80 })
})

test('with a quota that is often full', async () => {
  // Without restarts: the order of use is recorded coarsely, so that evictions may differ after one.
  const steady = moves.filter(move => move.act !== 'restart')
  const lives = fc.asyncProperty(fc.array(steady, { maxLength: 60, size: 'max' }), lived =>
    liveTwice(lived, 2500),
  )
  await fc.assert(lives, { numRuns: 120 })
})
