// What every PieceFetcher must do, told once and run against the one over libp2p and its twin in memory.
import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import type { LinkListener, PieceFetcher } from '../../dfdaemon/fetch/piece-fetcher.ts'
import type { BlobStore } from '../../dfdaemon/store/blob-store.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { hashPiece } from '../../shared/piece-hash.ts'
import type { Candidate } from '../../shared/protocol/messages.ts'
import { makeSoundBlob, storePieces } from '../harness/sample-blob.ts'

const MiB = 1024 * 1024

/** Parents that serve from their stores, and a fetcher that can reach them. */
export interface FetcherFixture {
  readonly fetcher: PieceFetcher
  addParent(): Promise<{ candidate: Candidate; store: BlobStore; die(): Promise<void> }>
}

/** Notes what a link says and lets a test wait for it. */
export class NotingListener implements LinkListener {
  readonly pieces: number[] = []
  readonly closed = Promise.withResolvers<Error>()
  closes = 0
  #wake = (): void => {}
  #wakeHashes = (): void => {}

  onHave(pieces: readonly number[]): void {
    this.pieces.push(...pieces)
    this.#wake()
  }

  readonly hashes = new Map<number, Uint8Array>()

  onHashes(pieces: readonly number[], hashes: Uint8Array): void {
    for (const [index, piece] of pieces.entries())
      this.hashes.set(piece, Uint8Array.from(hashes.subarray(index * 32, index * 32 + 32)))
    this.#wakeHashes()
  }

  async untilHashes(count: number, signal: AbortSignal): Promise<void> {
    while (this.hashes.size < count) {
      signal.throwIfAborted()
      await new Promise<void>((resolve, reject) => {
        this.#wakeHashes = resolve
        signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      })
    }
  }

  onClose(error: Error): void {
    this.closes++
    this.closed.resolve(error)
  }

  async until(count: number, signal: AbortSignal): Promise<void> {
    while (this.pieces.length < count) {
      signal.throwIfAborted()
      await new Promise<void>((resolve, reject) => {
        this.#wake = resolve
        signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      })
    }
  }
}

export function pieceFetcherSuite(
  name: string,
  makeFixture: (t: TestContext) => Promise<FetcherFixture>,
): void {
  const blob = makeSoundBlob('suite', 3 * MiB + 4321)
  const soon = () => AbortSignal.timeout(10_000)

  describe(`PieceFetcher: ${name}`, () => {
    test('fetches pieces, several at once, the short last one too', async t => {
      const { fetcher, addParent } = await makeFixture(t)
      const { candidate, store } = await addParent()
      await storePieces(store, blob)
      const link = await fetcher.connect(candidate, blob.digest, blob.geometry, new NotingListener(), soon())
      t.after(() => link.close())
      assert.equal(link.host, candidate.host)
      assert.ok(link.have.isFull)
      const buffers = [0, 1, 2, 3].map(piece => new Uint8Array(blob.piece(piece).byteLength))
      const fetches = buffers.map((into, piece) => link.fetch(piece, into, soon()))
      assert.equal(link.pending, 4)
      await Promise.all(fetches)
      assert.equal(link.pending, 0)
      for (const [piece, into] of buffers.entries())
        assert.deepEqual(into, Uint8Array.from(blob.piece(piece)))
    })

    test('tells hashes of a complete blob to a child that is alone, and to no other', async t => {
      const { fetcher, addParent } = await makeFixture(t)
      const { candidate, store } = await addParent()
      await storePieces(store, blob)
      const handle = await store.open(blob.digest)
      await handle!.commit()
      await handle!.close()
      const helped = new NotingListener()
      const alone = new NotingListener()
      const links = [
        await fetcher.connect(candidate, blob.digest, blob.geometry, helped, soon()),
        await fetcher.connect(candidate, blob.digest, blob.geometry, alone, soon()),
      ]
      t.after(() => links.forEach(link => void link.close()))
      links[1]!.alone([])
      links[1]!.alone([])
      await alone.untilHashes(4, soon())
      for (const [piece, hash] of alone.hashes)
        assert.deepEqual(hash, Uint8Array.from(hashPiece(blob.piece(piece))))
      assert.equal(helped.hashes.size, 0)
    })

    test('tells of pieces as they land, also of a blob not held at first', async t => {
      const { fetcher, addParent } = await makeFixture(t)
      const { candidate, store } = await addParent()
      const listener = new NotingListener()
      const link = await fetcher.connect(candidate, blob.digest, blob.geometry, listener, soon())
      t.after(() => link.close())
      assert.equal(link.have.count, 0)
      await storePieces(store, blob, [2])
      await listener.until(1, soon())
      assert.deepEqual(listener.pieces, [2])
      assert.ok(link.have.has(2))
      const into = new Uint8Array(MiB)
      await link.fetch(2, into, soon())
      assert.ok(Buffer.from(into).equals(blob.piece(2)))
      await storePieces(store, blob)
      await listener.until(4, soon())
      assert.ok(link.have.isFull)
    })

    test('two tasks of one parent do not mix', async t => {
      const { fetcher, addParent } = await makeFixture(t)
      const { candidate, store } = await addParent()
      const other = makeSoundBlob('other', 2 * MiB)
      await storePieces(store, blob)
      await storePieces(store, other)
      const links = await Promise.all(
        [blob, other].map(task =>
          fetcher.connect(candidate, task.digest, task.geometry, new NotingListener(), soon()),
        ),
      )
      for (const [index, task] of [blob, other].entries()) {
        const into = new Uint8Array(MiB)
        await links[index]!.fetch(1, into, soon())
        assert.ok(Buffer.from(into).equals(task.piece(1)))
      }
      links[0]!.close()
      const into = new Uint8Array(MiB)
      await links[1]!.fetch(0, into, soon())
      assert.ok(Buffer.from(into).equals(other.piece(0)))
      links[1]!.close()
    })

    test('refuses a piece that is not held, and goes on', async t => {
      const { fetcher, addParent } = await makeFixture(t)
      const { candidate, store } = await addParent()
      await storePieces(store, blob, [0])
      const link = await fetcher.connect(candidate, blob.digest, blob.geometry, new NotingListener(), soon())
      t.after(() => link.close())
      await assert.rejects(link.fetch(1, new Uint8Array(MiB), soon()), isRefusal)
      await link.fetch(0, new Uint8Array(MiB), soon())
    })

    test('an aborted fetch rejects with the reason, leaves its buffer alone, and does no harm to others', async t => {
      const { fetcher, addParent } = await makeFixture(t)
      const { candidate, store } = await addParent()
      await storePieces(store, blob)
      const link = await fetcher.connect(candidate, blob.digest, blob.geometry, new NotingListener(), soon())
      t.after(() => link.close())
      const reason = new Error('enough')
      const stop = new AbortController()
      const into = new Uint8Array(MiB)
      const after = new Uint8Array(MiB)
      const aborted = link.fetch(0, into, stop.signal)
      const kept = link.fetch(1, after, soon())
      stop.abort(reason)
      await assert.rejects(aborted, error => error === reason)
      into.fill(0xee)
      await kept
      assert.ok(Buffer.from(after).equals(blob.piece(1)))
      assert.ok(into.every(byte => byte === 0xee))
      assert.equal(link.pending, 0)
      await assert.rejects(link.fetch(0, into, stop.signal), error => error === reason)
    })

    test('a buffer of a wrong length is the caller’s mistake', async t => {
      const { fetcher, addParent } = await makeFixture(t)
      const { candidate, store } = await addParent()
      await storePieces(store, blob)
      const link = await fetcher.connect(candidate, blob.digest, blob.geometry, new NotingListener(), soon())
      t.after(() => link.close())
      for (const [piece, length] of [
        [0, MiB - 1],
        [3, MiB],
        [4, 0],
        [-1, MiB],
      ])
        assert.throws(() => link.fetch(piece!, new Uint8Array(length!), soon()), TypeError)
    })

    test('another geometry than the parent’s is refused', async t => {
      const { fetcher, addParent } = await makeFixture(t)
      const { candidate, store } = await addParent()
      await storePieces(store, blob)
      const other = { size: blob.geometry.size, pieceSize: 2 * MiB }
      await assert.rejects(
        fetcher.connect(candidate, blob.digest, other, new NotingListener(), soon()),
        isRefusal,
      )
    })

    test('the end of the blob at the parent closes the link', async t => {
      const { fetcher, addParent } = await makeFixture(t)
      const { candidate, store } = await addParent()
      await storePieces(store, blob)
      const listener = new NotingListener()
      const link = await fetcher.connect(candidate, blob.digest, blob.geometry, listener, soon())
      await store.delete(blob.digest)
      assert.ok(isRefusal(await listener.closed.promise))
      await assert.rejects(link.fetch(0, new Uint8Array(MiB), soon()))
      assert.equal(listener.closes, 1)
    })

    test('a parent that dies rejects its fetches and closes its links with the same error', async t => {
      const { fetcher, addParent } = await makeFixture(t)
      const { candidate, store, die } = await addParent()
      await storePieces(store, blob)
      const listener = new NotingListener()
      const link = await fetcher.connect(candidate, blob.digest, blob.geometry, listener, soon())
      const dying = die()
      const fetching = link.fetch(0, new Uint8Array(MiB), soon())
      const [outcome] = await Promise.allSettled([fetching])
      const error = await listener.closed.promise
      assert.ok(isPantalaError(error, 'PARENT_GONE'))
      if (outcome.status === 'rejected') assert.equal(outcome.reason, error)
      await assert.rejects(link.fetch(0, new Uint8Array(MiB), soon()))
      await dying
      await assert.rejects(
        fetcher.connect(candidate, blob.digest, blob.geometry, new NotingListener(), soon()),
        gone => isPantalaError(gone, 'PARENT_GONE'),
      )
    })

    test('nothing is heard after close', async t => {
      const { fetcher, addParent } = await makeFixture(t)
      const { candidate, store } = await addParent()
      const listener = new NotingListener()
      const witness = new NotingListener()
      const link = await fetcher.connect(candidate, blob.digest, blob.geometry, listener, soon())
      const other = await fetcher.connect(candidate, blob.digest, blob.geometry, witness, soon())
      link.close()
      await storePieces(store, blob, [1])
      await witness.until(1, soon())
      assert.deepEqual(listener.pieces, [])
      assert.equal(listener.closes, 0)
      other.close()
    })

    test('a connect that is aborted rejects with the reason', async t => {
      const { fetcher, addParent } = await makeFixture(t)
      const { candidate } = await addParent()
      const reason = new Error('no longer')
      const aborted = AbortSignal.abort(reason)
      await assert.rejects(
        fetcher.connect(candidate, blob.digest, blob.geometry, new NotingListener(), aborted),
        error => error === reason,
      )
    })
  })
}

function isRefusal(error: unknown): boolean {
  return isPantalaError(error, 'PARENT_REFUSED')
}
